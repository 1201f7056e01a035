"""What share of a demo's wall time Dagster costs: everything outside the functions of r3pp_core.

    python benchmarks/orchestration.py [--source DIR]    a fresh demo, in a folder that is removed afterwards

Every function of r3pp_core is wrapped with a clock; time counts from the outermost call on the main thread to its end.
What is left of the whole command is Dagster's: starting Python, loading definitions, planning, events, storage,
metadata. The physical limit is zero: `r3pp_core` is what the same functions take with nothing around them.
"""

import argparse
import functools
import importlib
import inspect
import os
import pkgutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

STARTED = time.monotonic()
TARGET_SHARE = 1 / 3


class Clock:
    """Seconds inside wrapped calls, nested calls counted once; other threads work for the main one and are left out."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.depth = 0

    def wrap(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return function(*args, **kwargs)
            self.depth += 1
            started = time.monotonic()
            try:
                return function(*args, **kwargs)
            finally:
                self.depth -= 1
                if self.depth == 0:
                    self.seconds += time.monotonic() - started

        return timed


def core_modules() -> list[ModuleType]:
    import r3pp_core

    names = [module.name for module in pkgutil.walk_packages(r3pp_core.__path__, "r3pp_core.")]
    return [importlib.import_module(name) for name in names if not name.endswith("__main__")]


def install(clock: Clock) -> int:
    """Wrap every public function and launcher method of r3pp_core, wherever it was imported to."""
    from r3pp_core.launch import LocalLauncher

    modules = core_modules()
    wrapped = {
        function: clock.wrap(function)
        for module in modules
        for _, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not inspect.isgeneratorfunction(function)
    }
    importers = [module for name, module in sys.modules.items() if name.split(".")[0] in ("r3pp_core", "r3pp_assets")]
    for module in importers:
        for name, value in list(vars(module).items()):
            if inspect.isfunction(value) and value in wrapped:
                setattr(module, name, wrapped[value])
    LocalLauncher.run = clock.wrap(LocalLauncher.run)  # type: ignore[method-assign]
    return len(wrapped)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path)
    source = parser.parse_args().source
    from r3pp_assets import demo
    from r3pp_assets.definitions import defs

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "workspace"
        demo.set_environment(root, "sample", source.resolve() if source else None)
        defs().resolve_all_asset_specs()  # the modules of defs/ are imported here and wrapped below
        num_wrapped = install(clock)
        success = not demo.materialize_stale(root)
    total_s = time.monotonic() - STARTED
    share = 1 - clock.seconds / total_s
    verdict = "within" if share < TARGET_SHARE else "ABOVE"
    sys.stdout.write(f"{num_wrapped} functions wrapped; run {'succeeded' if success else 'FAILED'}\n")
    sys.stdout.write(f"whole command {total_s:.1f} s, in r3pp_core {clock.seconds:.1f} s\n")
    sys.stdout.write(f"outside r3pp_core: {share:.1%} of the wall time, {verdict} the target of {TARGET_SHARE:.0%}\n")
    sys.stdout.flush()
    os._exit(0 if success else 1)


if __name__ == "__main__":
    main()
