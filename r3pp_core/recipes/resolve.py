"""From a recipe's name and what was overridden to one complete config, and what was overridden in words."""

from collections.abc import Mapping
from typing import Any

from r3pp_core.flags import changed_fields, merged, validated
from r3pp_core.recipes.paths import RunPaths
from r3pp_core.recipes.registry import recipe
from r3pp_core.training.config import TrainConfig


def resolve(name: str, paths: RunPaths, overrides: Mapping[str, Any]) -> TrainConfig:
    """The recipe with the overridden fields; nested fields as `{"r3": {"k": 2}}`.

    Raises UsageError for an unknown recipe or field, or a value that does not fit.
    """
    return validated(TrainConfig, merged(recipe(name)(paths).model_dump(), overrides))


def difference(name: str, paths: RunPaths, config: TrainConfig) -> dict[str, dict[str, Any]]:
    """Fields in which `config` departs from the recipe: {field: {"recipe": ..., "here": ...}}."""
    changed = changed_fields(recipe(name)(paths).model_dump(), config.model_dump())
    return {field: {"recipe": values["before"], "here": values["now"]} for field, values in changed.items()}
