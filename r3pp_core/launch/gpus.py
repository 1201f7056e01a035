"""Which GPUs there are, without loading torch."""

import os
import subprocess
from collections.abc import Sequence

from r3pp_core.errors import UsageError
from r3pp_core.launch.interface import LaunchConfig


def visible_gpus() -> list[str]:
    """Indices, or what CUDA_VISIBLE_DEVICES names instead; empty without a driver."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return found.stdout.split()


def chosen_gpus(config: LaunchConfig) -> list[str]:
    """Of the visible ones those that the config allows. Raises UsageError for one that is not there, or too few."""
    visible = visible_gpus()
    if config.gpus is None:
        return visible
    if missing := [index for index in config.gpus if not 0 <= index < len(visible)]:
        raise UsageError(f"GPU {missing[0]} is not here: this machine shows {len(visible)} GPUs, counted from 0")
    if len(config.gpus) < config.num_processes:
        raise UsageError(f"{config.num_processes} processes need a GPU each, the choice names {len(config.gpus)}")
    return [visible[index] for index in config.gpus]


def default_num_processes(gpus: Sequence[int] | None) -> int:
    """One a GPU; one process without any."""
    return max(1, len(visible_gpus()) if gpus is None else len(gpus))
