"""The embedded sample on two CPU cores: a random backbone, so all of its weights are trained."""

from r3pp_core.corruption.curriculum import CurriculumConfig
from r3pp_core.model.config import PromptConfig, R3Config
from r3pp_core.recipes.paths import RunPaths
from r3pp_core.training.config import TrainConfig

NUM_STEPS = 70


def sample(paths: RunPaths) -> TrainConfig:
    """At most 80 s of training; short prompts and small pictures, everything else as in the full run."""
    return TrainConfig(
        **paths.data_fields(),
        model_name=paths.backbone_dir,
        use_lora=False,
        batch_size=8,
        grad_accum=1,
        lr=2e-3,
        full_lr=2e-3,
        warmup_steps=10,
        max_steps=NUM_STEPS,
        max_pixels=16_384,
        max_length=2048,
        eval_every=35,
        eval_rows=32,
        save_every=35,
        keep=2,
        num_workers=1,
        num_threads=1,  # on busy cores two threads of small products mostly wait for each other
        curriculum=CurriculumConfig(warmup_steps=20, total_steps=NUM_STEPS),
        r3=R3Config(bottleneck=64, max_query_chars=160, prompt=PromptConfig(max_ocr_chars=160, max_context_chars=120)),
    )
