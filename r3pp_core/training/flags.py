"""Command-line flags from TrainConfig: one for each plain field, whole nested parts by --config FILE.json."""

import argparse
import json
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from r3pp_core.errors import UsageError
from r3pp_core.training.config import TrainConfig


def parse(arguments: Sequence[str]) -> TrainConfig:
    """Flags win over --config, --config over the defaults. Dashes and underscores are the same.

    Raises UsageError naming the field that does not fit; argparse itself exits with code 2 on an unknown flag.
    """
    given = vars(_parser().parse_args([_underscored(argument) for argument in arguments]))
    file = given.pop("config", None)
    values = _read(Path(file)) if file else {}
    return checked({**values, **given})


def checked(values: dict[str, Any]) -> TrainConfig:
    """A TrainConfig of these values. Raises UsageError naming the first field that does not fit."""
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "config"
        raise UsageError(f"{name}: {first['msg']} (given: {first['input']!r})") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m r3pp_core.training", description="Train R3++.", allow_abbrev=False)
    parser.add_argument("--config", help="JSON file with a whole or partial configuration", default=argparse.SUPPRESS)
    for name, field in TrainConfig.model_fields.items():
        kind = _plain_type(field.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            continue
        options: dict[str, Any] = {"help": field.description, "default": argparse.SUPPRESS}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif get_origin(kind) is Literal:
            options["choices"] = get_args(kind)
        else:
            options["type"] = kind
        parser.add_argument(f"--{name}", **options)
    # Launchers add this one; the rank is read from the environment.
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS, default=argparse.SUPPRESS)
    return parser


def _plain_type(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        return next(part for part in get_args(annotation) if part is not type(None))
    return annotation


def _underscored(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument[2:].partition("=")
    name = name.replace("-", "_")
    return f"--{'no-' + name[3:] if name.startswith('no_') else name}{equals}{value}"


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--config {path} is not a readable JSON file ({error})") from error
    if not isinstance(values, dict):
        raise UsageError(f"--config {path} holds no JSON object")
    return values
