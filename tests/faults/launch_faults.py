"""Faults around a launcher with two ranks on this machine: what is done to whom, and how long anything then stays.

Also a program: `python launch_faults.py RUN_DIR STARTER BEHAVIOUR` is the process that a person or Dagster starts.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from r3pp_core.launch.interface import Job, LaunchConfig
from r3pp_core.launch.local import LocalLauncher

RANKS = 2
GONE_S = 60.0
LOOK_S = 0.02
STUBBORN_GRACE_S = 1.0
MARK = "R3PP_FAULT_MARK"


@dataclass(frozen=True)
class Fault:
    """`hit`: what is sent to whom. `behaviour`: of the ranks, see faulty_job."""

    name: str
    behaviour: str
    hit: Callable[["Launched"], None]


@dataclass(frozen=True)
class Outcome:
    """`moment`: what the job was doing when it was hit. `seconds`: until the last process was gone."""

    moment: str
    seconds: float
    survivors: list[str]


class Launched:
    """A launcher in a process of its own, with everything that descends from it."""

    def __init__(self, run_dir: Path, starter: str, behaviour: str) -> None:
        self.run_dir, self.starter, self.mark = run_dir, starter, uuid.uuid4().hex
        command = [sys.executable, __file__, str(run_dir), starter, behaviour]
        environment = {**os.environ, MARK: self.mark, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with (run_dir / "output").open("wb") as output:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    @property
    def has_begun(self) -> bool:
        return all((self.run_dir / f"began_{rank}").exists() for rank in range(RANKS))

    def rank(self, number: int) -> psutil.Process:
        return psutil.Process(int((self.run_dir / f"began_{number}").read_text()))

    def starter_process(self) -> psutil.Process:
        (child,) = psutil.Process(self.process.pid).children()
        return child

    def living(self) -> list[psutil.Process]:
        self.process.poll()  # reaps it
        return [process for process in psutil.process_iter() if self._is_mine(process)]

    def _is_mine(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self.mark
        except (psutil.Error, OSError):
            return False


def interrupt(launched: Launched) -> None:
    launched.process.send_signal(signal.SIGINT)


def terminate(launched: Launched) -> None:
    launched.process.send_signal(signal.SIGTERM)


def kill_launcher(launched: Launched) -> None:
    launched.process.kill()


def kill_starter(launched: Launched) -> None:
    launched.starter_process().kill()


def kill_rank(number: int) -> Callable[[Launched], None]:
    return lambda launched: launched.rank(number).kill()


FAULTS = [
    Fault("cancel", "willing", interrupt),
    Fault("SIGTERM to the launcher", "willing", terminate),
    Fault("cancel, shell wrapper", "wrapped", interrupt),
    Fault("cancel, ranks ignore SIGTERM", "stubborn", interrupt),
    Fault("kill -9 the step or run", "willing", kill_launcher),
    Fault("kill -9 the step or run, ranks ignore SIGTERM", "stubborn", kill_launcher),
    Fault("kill -9 the starter", "willing", kill_starter),
    Fault("kill -9 the starter, ranks ignore SIGTERM", "stubborn", kill_starter),
    Fault("kill -9 rank 0", "willing", kill_rank(0)),
    Fault("kill -9 rank 1, the other ignores SIGTERM", "stubborn", kill_rank(1)),
]


def suffer(run_dir: Path, starter: str, fault: Fault, wait_s: float, *, while_starting: bool = False) -> Outcome:
    """Launch, wait until all ranks have begun (or not), wait `wait_s` more, hit, and watch until all are gone."""
    run_dir.mkdir(parents=True)
    launched = Launched(run_dir, starter, fault.behaviour)
    while not while_starting and not launched.has_begun:
        assert launched.process.poll() is None, (run_dir / "output").read_text()
        time.sleep(LOOK_S)
    time.sleep(wait_s)
    moment = "running" if launched.has_begun else "starting"
    try:
        fault.hit(launched)
    except (psutil.NoSuchProcess, FileNotFoundError, ValueError):  # not there yet: nothing to kill but the launcher
        launched.process.kill()
        moment = "starting, the launcher killed instead"
    start = time.monotonic()
    while (living := launched.living()) and time.monotonic() - start < GONE_S:
        time.sleep(LOOK_S)
    outcome = Outcome(moment, time.monotonic() - start, [str(process) for process in living])
    for process in living:
        process.kill()
    launched.process.wait()
    return outcome


def main() -> None:
    run_dir, starter, behaviour = sys.argv[1:]
    grace_s = STUBBORN_GRACE_S if behaviour == "stubborn" else None
    config = LaunchConfig(num_processes=RANKS, starter=starter, stop_grace_s=grace_s)
    job = Job("faulty_job", [run_dir, behaviour], Path(run_dir), "trial")
    LocalLauncher(config).run(job, lambda message: None, lambda text: sys.stderr.write(f"{text}\n"))


if __name__ == "__main__":
    main()
