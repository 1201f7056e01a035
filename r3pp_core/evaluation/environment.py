"""What an evaluation was made with, beside its artefact: it changes where no byte of that does, so it is not hashed."""

import json
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from r3pp_core.artefact import unfinished

FILE = "environment.json"
LIBRARIES = ("r3pp", "torch", "transformers", "peft", "numpy")
PROJECT = Path(__file__).resolve().parents[2]


def write_environment(folder: Path) -> None:
    """Write `folder/environment.json`: date (UTC), commit, machine, and the versions of Python and of what computes."""
    described: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_hash": git_hash(PROJECT),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in LIBRARIES},
    }
    path = folder / FILE
    staging = unfinished(path)
    staging.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    staging.replace(path)


def git_hash(project: Path) -> str | None:
    """The commit that `project` is a checkout of, with `-dirty` where files differ; None where it is none."""
    if not (project / ".git").exists():  # installed into somebody else's checkout is none
        return None
    command = ["git", "-C", str(project), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git here
        return None
    return done.stdout.strip() or None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
