"""A tiny job for the launcher's tests: `python -m launched RUN_DIR BEHAVIOUR`, started by torchrun in every rank.

Imports nothing heavy. Each rank leaves its pid in RUN_DIR/rank_<r>.pid.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from r3pp_core.errors import UsageError
from r3pp_core.launch.child import run_child
from r3pp_core.launch.messages import MessageWriter
from r3pp_core.launch.run_dir import stop_requested

RUN_DIR = Path(sys.argv[1])
RANK = int(os.environ.get("RANK", "0"))


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def is_living(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def steps() -> None:
    """Two messages; the second only once the launcher's callback has answered the first."""
    writer = MessageWriter(RUN_DIR)
    environment = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "PYTHONUNBUFFERED", "WORLD_SIZE")}
    writer.send("step", step=1, **environment)
    wait_for(RUN_DIR / "answered")
    writer.send("step", step=2, loss=float("nan"))


def until_stopped() -> None:
    writer = MessageWriter(RUN_DIR)
    writer.send("step", step=1)
    while not stop_requested(RUN_DIR):
        time.sleep(0.01)
    writer.send("stopped", step=1)


def stubborn() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if RANK == 0:
        wait_for(RUN_DIR / "rank_1.stubborn")
        MessageWriter(RUN_DIR).send("step", step=1)
    else:
        (RUN_DIR / "rank_1.stubborn").touch()
    time.sleep(600)


def planned() -> None:
    writer = MessageWriter(RUN_DIR)
    writer.send("plan", table="", smaller=[], stop_grace_s=0.5)
    writer.send("step", step=1)
    time.sleep(60)


def memory_after_plan() -> None:
    MessageWriter(RUN_DIR).send("plan", table="the plan's table", smaller=["--use_lora", "--max_pixels 9"])
    raise MemoryError("CUDA out of memory")


def devices() -> None:
    MessageWriter(RUN_DIR).send("step", devices=os.environ.get("CUDA_VISIBLE_DEVICES"))


def bad_input() -> None:
    raise UsageError("max_pixels is 7, which is under one patch; give at least 784")


def memory_on_rank_1() -> None:
    if RANK == 1:
        raise MemoryError("Unable to allocate 140 GiB")
    time.sleep(600)


def killed_rank_1() -> None:
    """Rank 0 notices before torchrun may end it, and raises what a broken connection raises."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if RANK == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    wait_for(RUN_DIR / "rank_1.pid")
    peer = int((RUN_DIR / "rank_1.pid").read_text())
    while is_living(peer):
        time.sleep(0.01)
    raise RuntimeError("Connection closed by peer")


def killed_agent() -> None:
    if RANK == 0:
        wait_for(RUN_DIR / "rank_1.pid")
        MessageWriter(RUN_DIR).send("step", step=1)
        os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


def main() -> None:
    unfinished = RUN_DIR / f"rank_{RANK}.writing"
    unfinished.write_text(str(os.getpid()))
    unfinished.rename(RUN_DIR / f"rank_{RANK}.pid")
    behaviours: list[Callable[[], None]] = [
        steps,
        until_stopped,
        stubborn,
        planned,
        memory_after_plan,
        devices,
        bad_input,
        memory_on_rank_1,
        killed_rank_1,
        killed_agent,
    ]
    {behaviour.__name__: behaviour for behaviour in behaviours}[sys.argv[2]]()


if __name__ == "__main__":
    sys.exit(run_child(RUN_DIR, main))
