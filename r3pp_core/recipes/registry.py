"""The recipes by name. One more is one function and one line here."""

from collections.abc import Callable

from r3pp_core.errors import UsageError
from r3pp_core.recipes.control import control_name, control_of
from r3pp_core.recipes.paths import RunPaths
from r3pp_core.recipes.qwen3vl_8b import qwen3vl_8b_fsdp, qwen3vl_8b_lora, qwen3vl_8b_zero3
from r3pp_core.recipes.sample import sample, smoke
from r3pp_core.recipes.stages import stage1_clean, stage2_text, stage3_image, stage4_joint, stage5_robust
from r3pp_core.training.config import TrainConfig

Recipe = Callable[[RunPaths], TrainConfig]

RECIPES: dict[str, Recipe] = {
    "sample": sample,
    control_name("sample"): control_of(sample),
    "smoke": smoke,
    control_name("smoke"): control_of(smoke),
    "qwen3vl_8b_lora": qwen3vl_8b_lora,
    control_name("qwen3vl_8b_lora"): control_of(qwen3vl_8b_lora),
    "qwen3vl_8b_fsdp": qwen3vl_8b_fsdp,
    "qwen3vl_8b_zero3": qwen3vl_8b_zero3,
    "stage1_clean": stage1_clean,
    "stage2_text": stage2_text,
    "stage3_image": stage3_image,
    "stage4_joint": stage4_joint,
    "stage5_robust": stage5_robust,
}


def recipe(name: str) -> Recipe:
    """The function behind a name. Raises UsageError that lists the names."""
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
