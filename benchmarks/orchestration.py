"""What Dagster costs.

    python benchmarks/orchestration.py [demo|definitions ...] [--source DIR] [--rounds 9]

demo         the share of a fresh demo's wall time (in a folder that is removed afterwards) outside the functions of
             r3pp_core. Each of them is wrapped with a clock; time counts from the outermost call on the main thread to
             its end. What is left of the whole command is Dagster's: starting Python, loading definitions, planning,
             events, storage, metadata. The physical limit is zero.
definitions  processor time of a process that loads the definitions and resolves every asset, over that of one that
             imports dagster, in turn (medians). The physical limit is one, and what Dagster takes for so many assets
             and checks.
"""

import argparse
import functools
import importlib
import inspect
import os
import pkgutil
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

STARTED = time.monotonic()
ROOT = Path(__file__).resolve().parents[1]
TARGET_SHARE = 1 / 3
TARGET_LOADING = 1.5
LOADING = "from r3pp_assets.definitions import defs; defs().resolve_all_asset_specs()"
# With bytecode, as in every use but the first.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


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
    from r3pp_core.launch.local import LocalLauncher

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


def demo(source: Path | None) -> bool:
    from r3pp_assets.definitions import defs
    from r3pp_assets.demo import materialize_stale, set_environment

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "workspace"
        set_environment(root, "sample", source.resolve() if source else None)
        defs().resolve_all_asset_specs()  # the modules of defs/ are imported here and wrapped below
        num_wrapped = install(clock)
        success = not materialize_stale(root)
    total_s = time.monotonic() - STARTED
    share = 1 - clock.seconds / total_s
    verdict = "within" if share < TARGET_SHARE else "ABOVE"
    say(f"{num_wrapped} functions wrapped; run {'succeeded' if success else 'FAILED'}")
    say(f"whole command {total_s:.1f} s, in r3pp_core {clock.seconds:.1f} s")
    say(f"outside r3pp_core: {share:.1%} of the wall time, {verdict} the target of {TARGET_SHARE:.0%}")
    return success


def definitions(rounds: int) -> None:
    bare, loaded = [], []
    for index in range(rounds + 1):
        pair = processor_s("import dagster"), processor_s(LOADING)
        if index:  # the first writes bytecode
            bare.append(pair[0])
            loaded.append(pair[1])
    bare_s, loaded_s = statistics.median(bare), statistics.median(loaded)
    ratio = loaded_s / bare_s
    verdict = "within" if ratio < TARGET_LOADING else "ABOVE"
    say(f"import dagster {bare_s:.2f} s, definitions {loaded_s:.2f} s of processor time")
    say(f"loading the definitions: {ratio:.2f} times import dagster, {verdict} the target of {TARGET_LOADING}")


def processor_s(code: str) -> float:
    """Of a fresh process that runs `code`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], "demo", "definitions"], help="all without one")
    parser.add_argument("--source", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    parts = args.parts or ["demo", "definitions"]
    success = demo(args.source) if "demo" in parts else True  # first: it counts from the start of this process
    if "definitions" in parts:
        definitions(args.rounds)
    os._exit(0 if success else 1)


if __name__ == "__main__":
    main()
