"""The embedded sample on two CPU cores: LoRA and the R3 modules on the small backbone that comes with the package."""

from r3pp_core.corruption.curriculum import CurriculumConfig
from r3pp_core.model.config import LossWeights, PromptConfig, R3Config
from r3pp_core.recipes.paths import RunPaths
from r3pp_core.training.config import TrainConfig

NUM_STEPS = 70
SMOKE_STEPS = 12


def sample(paths: RunPaths) -> TrainConfig:
    """At most 90 s of training. Pictures and prompts of the size that the backbone was pre-trained on."""
    return TrainConfig(
        **paths.data_fields(),
        model_name=paths.backbone_dir,
        use_lora=True,
        batch_size=8,
        grad_accum=1,
        lr=3e-2,  # the modules start from nothing and have seventy steps
        lora_lr=3e-4,
        warmup_steps=5,
        max_steps=NUM_STEPS,
        max_pixels=65_536,
        max_length=2048,
        eval_every=NUM_STEPS // 2,
        eval_rows=32,
        save_every=NUM_STEPS // 2,
        keep=2,
        num_workers=1,
        num_threads=2,
        curriculum=CurriculumConfig(kind="constant", spread_rows=True, clean_share=0.25),
        losses=LossWeights(conf=1.0),  # in seventy steps the gate follows the answer's noise else
        r3=R3Config(
            bottleneck=64,
            max_query_chars=160,
            words_below=0.7,
            tokens_from=0.15,
            prompt=PromptConfig(max_ocr_chars=300, max_context_chars=600),
        ),
    )


def smoke(paths: RunPaths) -> TrainConfig:
    """The sample's recipe cut to a few steps: that everything runs, in seconds."""
    shorter = {
        "batch_size": 4,
        "max_steps": SMOKE_STEPS,
        "warmup_steps": 2,
        "eval_every": SMOKE_STEPS // 2,
        "eval_rows": 8,
        "save_every": SMOKE_STEPS // 2,
    }
    return sample(paths).model_copy(update=shorter)
