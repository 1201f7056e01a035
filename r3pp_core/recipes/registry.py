"""The recipes by name. One more is one function and one line here."""

from collections.abc import Callable

from r3pp_core.errors import UsageError
from r3pp_core.recipes.paths import RunPaths
from r3pp_core.recipes.qwen3vl_8b import qwen3vl_8b_lora
from r3pp_core.recipes.sample import sample
from r3pp_core.training.config import TrainConfig

Recipe = Callable[[RunPaths], TrainConfig]

RECIPES: dict[str, Recipe] = {
    "sample": sample,
    "qwen3vl_8b_lora": qwen3vl_8b_lora,
}


def recipe(name: str) -> Recipe:
    """The function behind a name. Raises UsageError that lists the names."""
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
