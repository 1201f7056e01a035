"""What the launchpad shows and refuses: the ranges of fields in words, and a run of nonsense before it exists.

Dagster plans a run in the code server before it creates it, whoever asks for it: the launchpad, a schedule, a sensor,
a backfill or `execute_in_process`. While it plans, a config's type may refuse the config (`ConfigType.post_process`).
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

import dagster as dg
from pydantic.fields import FieldInfo

from r3pp_core.errors import UsageError
from r3pp_core.flags import validated

C = TypeVar("C", bound=dg.Config)

LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def refused_at_launch(means: Callable[[Any], Any] | None = None) -> Callable[[type[C]], type[C]]:
    """Decorates a config or resource: its fields say their ranges, and a run that breaks one is never created.

    `means` makes of a config what its step would, and raises UsageError where that cannot be.
    """

    def decorated(config: type[C]) -> type[C]:
        def accepted(value: dict[str, Any]) -> dict[str, Any]:
            try:
                made = validated(config, value)
                if means:
                    means(made)
            except UsageError as error:
                raise UsageError(f"nothing was started: {_told(config, str(error))}") from None
            return value

        for field in config.model_fields.values():
            field.description = _with_range(field)
        # Dagster keeps one type for equal fields: what the asset, op or resource of this config gets is this very one.
        setattr(config.to_config_schema().config_type, "post_process", accepted)  # noqa: B010  # mypy: a method
        return config

    return decorated


def one_of(*words: str) -> Any:
    """A choice that may stay empty, or of which there may be several: as a Literal there Dagster does not take it.

    Under TYPE_CHECKING it is a `str`, and with `use_enum_values` it is one as well.
    """
    return StrEnum(f"one of {', '.join(words)}", {word: word for word in words})


def empty_means(owner: str, field: FieldInfo) -> Any:
    """A field of the core that may stay empty, with its range; then `owner` (the recipe, the profile) has it."""
    about = (field.description or "").partition("; empty:")[0].partition("; none:")[0]
    found = FieldInfo(default=None, description=f"{about}; empty: the {owner}'s")
    found.metadata = list(field.metadata)
    return found


def _with_range(field: FieldInfo) -> str:
    """The description with the range before what it says of an empty field."""
    about, semicolon, rest = (field.description or "").partition(";")
    bounds = {name: getattr(limit, name) for limit in field.metadata for name in LIMITS if hasattr(limit, name)}
    words = " and ".join(f"{LIMITS[name]} {bound:,}" for name, bound in sorted(bounds.items()))
    if not words or about.endswith(words):  # it was inherited
        return field.description or ""
    return f"{about}, {words}{semicolon}{rest}"


def _told(config: type[dg.Config], refusal: str) -> str:
    """A refusal that begins with a field's name, with what that field is."""
    refusal = refusal.removeprefix("--").replace("Value error, ", "")
    field = config.model_fields.get(refusal.partition(":")[0].partition(".")[0])
    return f"{refusal} [{field.description}]" if field and field.description else refusal
