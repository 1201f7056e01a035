"""The work folder of a stage whose shards ranks make: one folder of shards for each request, and the launch's own."""

from contextlib import suppress
from pathlib import Path
from shutil import rmtree

from r3pp_core.launch.run_dir import is_held_by_another


def clear_abandoned(shards_dir: Path, launch_dir: Path) -> None:
    """Remove other requests' shards, unless ranks that lost their launcher may still be making them."""
    if not is_held_by_another(launch_dir):
        for abandoned in set(shards_dir.parent.glob("*")) - {shards_dir, launch_dir}:
            rmtree(abandoned)


def clear_done(shards_dir: Path, launch_dir: Path) -> None:
    """Remove what was put together, and the work folder where nothing else is left in it."""
    rmtree(shards_dir, ignore_errors=True)
    if not is_held_by_another(launch_dir):
        rmtree(launch_dir, ignore_errors=True)
    with suppress(OSError):  # not there, or not empty
        shards_dir.parent.rmdir()
