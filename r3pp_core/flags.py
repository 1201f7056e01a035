"""Command-line flags from a config class: one flag a field, its default and description from the class.

Words may be joined by `-` or `_`; a nested config's fields are `--outer.inner`. A wrong flag ends in one sentence and
exit code 2.
"""

import argparse
import json
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from r3pp_core.errors import UsageError

C = TypeVar("C", bound=BaseModel)


class OneSentenceParser(argparse.ArgumentParser):
    """Errors as UsageError, flags with `-` or `_`, no abbreviations."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "allow_abbrev": False})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        return super().parse_known_args([underscored(arg) for arg in args] if args is not None else None, namespace)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}; see {self.prog} --help")


def underscored(argument: str) -> str:
    """`--out-dir=x` as `--out_dir=x`, and `--no_bf16` as argparse's own `--no-bf16`; values are left alone."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument[2:].partition("=")
    name = name.replace("-", "_")
    return f"--{'no-' + name[3:] if name.startswith('no_') else name}{equals}{value}"


def add_config_flags(parser: argparse.ArgumentParser, config: type[BaseModel], prefix: str = "") -> None:
    """Add a flag for every field. Flags not given are absent from the namespace, so defaults stay the class's own."""
    for name, field in config.model_fields.items():
        kind = _without_none(field.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            add_config_flags(parser, kind, f"{prefix}{name}.")
            continue
        default = "required" if field.is_required() else f"default {field.get_default(call_default_factory=True)}"
        options: dict[str, Any] = {
            "dest": f"{prefix}{name}",
            "default": argparse.SUPPRESS,
            "help": f"{field.description or ''} ({default})".strip().replace("%", "%%"),
        }
        parser.add_argument(f"--{prefix}{name}", **options, **_type_options(kind, kind is not field.annotation))


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else str
    return annotation


def _type_options(kind: Any, is_optional: bool) -> dict[str, Any]:
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if typing.get_origin(kind) is Literal:
        return {"choices": list(typing.get_args(kind))}
    if typing.get_origin(kind) is list:
        return {"nargs": "+", "type": _scalar(typing.get_args(kind)[0])}
    if typing.get_origin(kind) is dict:
        return {"type": json_object}
    return {"type": _optional(_scalar(kind)) if is_optional else _scalar(kind)}


def _optional(scalar: type) -> Callable[[str], Any]:
    """`none` on the command line is the empty value."""

    def read(text: str) -> Any:
        return None if text.lower() == "none" else scalar(text)

    read.__name__ = scalar.__name__  # argparse names the type when a value does not fit
    return read


def json_object(text: str) -> dict[str, Any]:
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"{text} is no JSON object")
    return values


def _scalar(kind: Any) -> type:
    return kind if kind in (int, float) else str


def config_values(namespace: argparse.Namespace, config: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """The values that were given for this config, nested as the config is."""
    values: dict[str, Any] = {}
    for name, field in config.model_fields.items():
        kind = _without_none(field.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if inner := config_values(namespace, kind, f"{prefix}{name}."):
                values[name] = inner
        elif hasattr(namespace, f"{prefix}{name}"):
            values[name] = getattr(namespace, f"{prefix}{name}")
    return values


def config_from(namespace: argparse.Namespace, config: type[C], **fixed: Any) -> C:
    """The config with the flags that were given. Raises UsageError naming the flag, its value and what is allowed."""
    return validated(config, {**config_values(namespace, config), **fixed})


def changed_fields(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> dict[str, dict[str, Any]]:
    """Where two nested mappings differ: {"outer.inner": {"before": ..., "now": ...}}; a missing value is None."""
    found: dict[str, dict[str, Any]] = {}
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found.update(changed_fields(old, new, f"{prefix}{key}."))
        elif old != new:
            found[f"{prefix}{key}"] = {"before": old, "now": new}
    return found


def merged(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `overrides` on top, nested mappings merged field by field."""
    result = dict(values)
    for key, value in overrides.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return result


def validated(config: type[C], values: dict[str, Any]) -> C:
    try:
        return config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        flag = ".".join(str(part) for part in first["loc"])
        got = f" (got {first['input']!r})" if not isinstance(first["input"], dict) else ""
        raise UsageError(f"--{flag}: {first['msg']}{got}" if flag else first["msg"]) from None


def read_json_object(path: Path, named: str) -> dict[str, Any]:
    """`named`: the flag or variable that named the file. Raises UsageError when it is no JSON object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{named} {path} is not a readable JSON file ({error})") from error
    if not isinstance(values, dict):
        raise UsageError(f"{named} {path} holds no JSON object")
    return values
