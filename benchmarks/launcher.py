"""What the launcher costs, and how long anything stays after it was cancelled or killed.

    python benchmarks/launcher.py [faults|start|reporting ...] [--rounds 5]

faults     for torchrun and deepspeed with two ranks: seconds from a cancel, or from kill -9 of the step, the starter or
           a rank, to the last process gone, and how many stayed (none may, 60 s at most).
start      seconds until the last rank has begun, under the launcher and under plain torchrun, in turn.
reporting  a training run of the small model: share of a step that its messages, curves and log take, and what the
           launcher takes of a core meanwhile.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "faults"), str(ROOT / "tests")]

from ingest import say, verdict  # noqa: E402
from launch_faults import FAULTS, GONE_S, RANKS, Launched, suffer  # noqa: E402
from small_world import small_config, write_world  # noqa: E402

from r3pp_core.launch.interface import LaunchConfig  # noqa: E402
from r3pp_core.launch.local import LocalLauncher  # noqa: E402
from r3pp_core.launch.messages import MessageWriter  # noqa: E402
from r3pp_core.launch.run_dir import stop_requested  # noqa: E402
from r3pp_core.progress import silent  # noqa: E402
from r3pp_core.training.job import training_job  # noqa: E402
from r3pp_core.training.log import StepLog  # noqa: E402
from r3pp_core.training.loop import train  # noqa: E402

START_TARGET_S = 1.5
REPORTING_TARGET = 0.01
STARTERS = ("torchrun", "deepspeed")


def faults(folder: Path, rounds: int) -> None:
    say(f"seconds until the last process was gone, of {rounds} rounds: median and longest; how many stayed")
    for starter in STARTERS:
        for number, fault in enumerate(FAULTS):
            outcomes = [suffer(folder / f"{starter}_{number}_{index}", starter, fault, 0.2) for index in range(rounds)]
            seconds = [outcome.seconds for outcome in outcomes]
            stayed = sum(len(outcome.survivors) for outcome in outcomes)
            figures = f"{statistics.median(seconds):6.2f} s {max(seconds):6.2f} s  {stayed} stayed"
            say(f"  {starter:<10} {fault.name:<48} {figures} {verdict(max(seconds), GONE_S, at_least=False)}")


def start(folder: Path, rounds: int) -> None:
    under, plain = [], []
    for index in range(rounds + 1):
        under.append(seconds_to_begin(folder / f"under_{index}", is_plain=False))
        plain.append(seconds_to_begin(folder / f"plain_{index}", is_plain=True))
    del under[0], plain[0]  # their files are read from the disk for the first time
    overhead = statistics.median(one - other for one, other in zip(under, plain, strict=True))
    say(
        f"start: the last of {RANKS} ranks begins after {statistics.median(under):.2f} s, under plain torchrun after "
        f"{statistics.median(plain):.2f} s; overhead {overhead:+.2f} s, "
        f"{verdict(overhead, START_TARGET_S, at_least=False)}"
    )


def seconds_to_begin(run_dir: Path, *, is_plain: bool) -> float:
    run_dir.mkdir()
    began = time.monotonic()
    if is_plain:
        command = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node", str(RANKS)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([*command, "--module", "faulty_job", str(run_dir), "at_once"], env=environment)
    else:
        process = Launched(run_dir, "torchrun", "at_once").process
    while not all((run_dir / f"began_{rank}").exists() for rank in range(RANKS)):
        if process.poll() not in (None, 0):
            raise RuntimeError(f"{run_dir} ended with {process.returncode}")
        time.sleep(0.005)
    seconds = time.monotonic() - began
    process.wait()
    return seconds


def reporting(folder: Path, rounds: int) -> None:
    """The small model's steps take tens of milliseconds; a real one's take seconds, and the share falls with them."""
    world = write_world(folder)
    fields = {"max_steps": 40 * rounds, "save_every": 100_000, "num_threads": 1}
    config = small_config(world, folder / "alone", **fields)
    config.run_dir.mkdir(parents=True)
    in_step, began = 0.0, time.monotonic()
    written = StepLog.step

    def timed(*arguments: Any) -> None:
        nonlocal in_step
        before = time.perf_counter()
        written(*arguments)
        in_step += time.perf_counter() - before

    StepLog.step = timed  # type: ignore[method-assign]
    train(config, MessageWriter(config.run_dir).send, lambda: stop_requested(config.run_dir), silent)
    whole = time.monotonic() - began
    StepLog.step = written  # type: ignore[method-assign]

    own = psutil.Process()
    before, began = own.cpu_times(), time.monotonic()
    config = small_config(world, folder / "launched", **fields)
    LocalLauncher(LaunchConfig(env={"OMP_NUM_THREADS": "1"})).run(training_job(config), lambda message: None, silent)
    after, wall = own.cpu_times(), time.monotonic() - began
    core = (after.user + after.system - before.user - before.system) / wall
    step_ms, report_ms = whole / config.max_steps * 1e3, in_step / config.max_steps * 1e3
    bound = verdict(report_ms / step_ms, REPORTING_TARGET, at_least=False)
    say(
        f"reporting: {report_ms:.2f} ms of a step of {step_ms:.0f} ms, {report_ms / step_ms:.2%}, {bound}; "
        f"the launcher takes {core:.1%} of a core"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"faults": faults, "start": start, "reporting": reporting}
    parser.add_argument("parts", nargs="*", choices=[[], *parts], help="all without one")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for name in args.parts or parts:
        with tempfile.TemporaryDirectory() as folder:
            parts[name](Path(folder), args.rounds)


if __name__ == "__main__":
    main()
