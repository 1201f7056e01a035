"""The one place where the environment is read: R3PP_PROFILE, R3PP_ROOT, R3PP_SOURCE, R3PP_LAUNCH,
R3PP_GATE, R3PP_TICK_S."""

import os
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from r3pp_assets.resources.launchers import LauncherResource
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.champion.config import GateConfig
from r3pp_core.errors import UsageError
from r3pp_core.flags import read_json_object, validated
from r3pp_core.launch.interface import LaunchConfig
from r3pp_core.profiles import profile_named

PROJECT_DIR = Path(__file__).resolve().parents[2]


def resources_from_environment() -> dict[str, dg.ConfigurableResource]:
    return {"workspace": workspace_from_environment(), "launcher": launcher_from_environment()}


def launcher_from_environment() -> LauncherResource:
    """R3PP_LAUNCH names a JSON file with the resource's fields, so that no asset has to be touched.

    Raises UsageError naming the file and the field that does not fit.
    """
    return LauncherResource(**_fields_in("R3PP_LAUNCH", LaunchConfig))


def workspace_from_environment() -> WorkspaceResource:
    """R3PP_GATE names a JSON file with what a champion has to show. Raises UsageError as for R3PP_LAUNCH."""
    profile = profile_named(os.environ.get("R3PP_PROFILE", "sample"))
    root = os.environ.get("R3PP_ROOT") or str(default_root(profile.name))
    source = os.environ.get("R3PP_SOURCE") or None
    gate = _fields_in("R3PP_GATE", GateConfig)
    return WorkspaceResource(root=str(Path(root).resolve()), profile=profile.name, source=source, gate=gate)


def tick_s() -> int:
    """Seconds between two looks of the sensors that retrain and that watch a folder. Raises UsageError."""
    value = os.environ.get("R3PP_TICK_S") or "30"
    if not value.isdigit() or int(value) < 1:
        raise UsageError(f"R3PP_TICK_S is {value!r}; give whole seconds, at least 1")
    return int(value)


def _fields_in(variable: str, config: type[BaseModel]) -> dict[str, Any]:
    """The fields of `config` in the JSON file that an environment variable names; none where it is not set."""
    named = os.environ.get(variable)
    if not named:
        return {}
    values = read_json_object(Path(named), variable)
    try:
        validated(config, values)
    except UsageError as error:
        raise UsageError(f"{variable} {named}: {str(error).removeprefix('--')}") from None
    return values


def default_root(profile: str) -> Path:
    return PROJECT_DIR / "workspace" / profile
