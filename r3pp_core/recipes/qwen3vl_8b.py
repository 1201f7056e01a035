"""Qwen3-VL-8B-Instruct with everything on in a single stage: LoRA on one card, all weights on eight."""

from r3pp_core.corruption.curriculum import CurriculumConfig
from r3pp_core.recipes.paths import RunPaths
from r3pp_core.training.config import TrainConfig

MAX_STEPS = 10_000
ROWS_A_STEP = 8
CLEAN_SHARE = 0.2  # so that the last step still knows what a whole picture looks like


def qwen3vl_8b_lora(paths: RunPaths) -> TrainConfig:
    """The runbook's step 5. One card of 40 GB or more; METHOD 7's numbers, on the pinned backbone in the workspace."""
    return TrainConfig(
        **paths.data_fields(),
        model_name=paths.backbone_dir,
        use_lora=True,
        bf16=True,
        batch_size=1,
        grad_accum=ROWS_A_STEP,
        max_steps=MAX_STEPS,
        gradient_checkpointing=True,
        curriculum=CurriculumConfig(spread_rows=True, clean_share=CLEAN_SHARE),
    )


def qwen3vl_8b_fsdp(paths: RunPaths) -> TrainConfig:
    """The runbook's step 5b: all weights under torch FSDP2. Eight cards of 80 GB; `--num_processes 8`."""
    return _all_weights(paths).model_copy(update={"backend": "fsdp"})


def qwen3vl_8b_zero3(paths: RunPaths) -> TrainConfig:
    """The runbook's step 5c: all weights under DeepSpeed ZeRO-3 with the packaged JSON. As qwen3vl_8b_fsdp besides."""
    return _all_weights(paths).model_copy(update={"backend": "deepspeed"})


def _all_weights(paths: RunPaths) -> TrainConfig:
    """One row a card and step: the same eight rows a step as with LoRA on one card."""
    return qwen3vl_8b_lora(paths).model_copy(update={"use_lora": False, "grad_accum": 1})
