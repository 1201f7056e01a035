"""Qwen3-VL-8B-Instruct with LoRA in five stages (METHOD 7), each from the weights of the one before it.

Each is a run of its own below `output_dir`, so it can be looked at, evaluated and repeated by itself.
"""

from typing import Any

from r3pp_core.corruption.curriculum import CurriculumConfig
from r3pp_core.model.config import LossWeights
from r3pp_core.recipes.paths import RunPaths
from r3pp_core.recipes.qwen3vl_8b import CLEAN_SHARE, qwen3vl_8b_lora
from r3pp_core.training.config import TrainConfig

CLEAN = CurriculumConfig(kind="constant", max_level=0.0)
NO_TEACHER = LossWeights(kl=0.0)
ROBUST_STEPS = 10_000
WARMUP_STEPS = 1_000


def stage1_clean(paths: RunPaths) -> TrainConfig:
    """Clean adaptation: no retrieval, no corruption."""
    return _stage(paths, "stage1_clean", None, max_steps=1_000, evidence="none")


def stage2_text(paths: RunPaths) -> TrainConfig:
    """Text retrieval."""
    return _stage(paths, "stage2_text", "stage1_clean", max_steps=1_000, evidence="text")


def stage3_image(paths: RunPaths) -> TrainConfig:
    """Image retrieval."""
    return _stage(paths, "stage3_image", "stage2_text", max_steps=1_500, evidence="image")


def stage4_joint(paths: RunPaths) -> TrainConfig:
    """Both kinds of evidence, clean rows."""
    return _stage(paths, "stage4_joint", "stage3_image", max_steps=2_000)


def stage5_robust(paths: RunPaths) -> TrainConfig:
    """Corruption that grows, with the teacher."""
    return _stage(
        paths,
        "stage5_robust",
        "stage4_joint",
        max_steps=ROBUST_STEPS,
        curriculum=CurriculumConfig(
            warmup_steps=WARMUP_STEPS, total_steps=ROBUST_STEPS, spread_rows=True, clean_share=CLEAN_SHARE
        ),
        losses=LossWeights(),
    )


def _stage(paths: RunPaths, run: str, before: str | None, **fields: Any) -> TrainConfig:
    config = qwen3vl_8b_lora(paths)
    own = {
        "run": run,
        "init_from": f"{config.output_dir}/{before}" if before else None,
        "curriculum": CLEAN,
        "losses": NO_TEACHER,
        **fields,
    }
    return config.model_copy(update=own)
