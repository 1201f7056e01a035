"""Qwen3-VL-8B-Instruct with LoRA: the runbook's step 5, everything on in a single stage."""

from r3pp_core.recipes.paths import RunPaths
from r3pp_core.training.config import TrainConfig


def qwen3vl_8b_lora(paths: RunPaths) -> TrainConfig:
    """One card of 40 GB or more; METHOD 7's numbers, on the pinned backbone in the workspace."""
    return TrainConfig(
        **paths.data_fields(),
        model_name=paths.backbone_dir,
        use_lora=True,
        bf16=True,
        batch_size=1,
        grad_accum=8,
        max_steps=10_000,
        gradient_checkpointing=True,
    )
