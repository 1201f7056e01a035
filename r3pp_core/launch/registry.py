"""The launcher that a config asks for."""

from r3pp_core.errors import UsageError
from r3pp_core.launch.interface import LaunchConfig, Launcher
from r3pp_core.launch.local import LocalLauncher


def launcher_for(config: LaunchConfig) -> Launcher:
    if config.launcher == "slurm":
        raise UsageError("launcher 'slurm' is not there yet; use --launcher local on the machine that has the GPUs")
    return LocalLauncher(config)
