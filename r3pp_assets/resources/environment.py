"""The one place where the environment is read: R3PP_PROFILE, R3PP_ROOT, R3PP_SOURCE, R3PP_LAUNCH."""

import os
from pathlib import Path

import dagster as dg

from r3pp_assets.resources.launchers import LauncherResource
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.errors import UsageError
from r3pp_core.flags import read_json_object, validated
from r3pp_core.launch import LaunchConfig
from r3pp_core.profiles import profile_named

PROJECT_DIR = Path(__file__).resolve().parents[2]


def resources_from_environment() -> dict[str, dg.ConfigurableResource]:
    return {"workspace": workspace_from_environment(), "launcher": launcher_from_environment()}


def launcher_from_environment() -> LauncherResource:
    """R3PP_LAUNCH names a JSON file with the resource's fields, so that no asset has to be touched.

    Raises UsageError naming the file and the field that does not fit.
    """
    named = os.environ.get("R3PP_LAUNCH")
    if not named:
        return LauncherResource()
    values = read_json_object(Path(named), "R3PP_LAUNCH")
    try:
        validated(LaunchConfig, values)
    except UsageError as error:
        raise UsageError(f"R3PP_LAUNCH {named}: {str(error).removeprefix('--')}") from None
    return LauncherResource(**values)


def workspace_from_environment() -> WorkspaceResource:
    profile = profile_named(os.environ.get("R3PP_PROFILE", "sample"))
    root = os.environ.get("R3PP_ROOT") or str(default_root(profile.name))
    source = os.environ.get("R3PP_SOURCE") or None
    return WorkspaceResource(root=str(Path(root).resolve()), profile=profile.name, source=source)


def default_root(profile: str) -> Path:
    return PROJECT_DIR / "workspace" / profile
