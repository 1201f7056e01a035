"""What a run's folder says to everyone: who trains in it, and whether that trainer should stop."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from r3pp_core.errors import R3Error


def stop_file(run_dir: Path) -> Path:
    return run_dir / "stop.requested"


def request_stop(run_dir: Path, reason: str) -> None:
    """Ask whatever trains in `run_dir` to save and end at its next step boundary."""
    stop_file(run_dir).write_text(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {reason}\n", encoding="utf-8")


def stop_requested(run_dir: Path) -> bool:
    """Whether a stop was asked for.

    Ranks may look at different moments: all-reduce the answer (maximum) at the step boundary before acting on it,
    since the checkpoint that follows is collective.
    """
    return stop_file(run_dir).exists()


def clear_stop(run_dir: Path) -> None:
    stop_file(run_dir).unlink(missing_ok=True)


class Stopped(Exception):  # noqa: N818 - no error: a rank ended where it was asked to
    """Raised at a stop point; `run_child` reports it as a clean end."""


StopPoint = Callable[[], None]


def no_stop() -> None:
    """The stop point of work that nobody asks to stop."""


def stop_point(run_dir: Path) -> StopPoint:
    """For ranks that work alone: called between two pieces that are kept, it raises Stopped where a stop was asked
    for.
    """

    def look() -> None:
        if stop_requested(run_dir):
            raise Stopped

    return look


_held_here: set[Path] = set()


@contextmanager
def hold_run_dir(run_dir: Path) -> Iterator[None]:
    """Be the only trainer of `run_dir`. Raises R3Error that names the process which is it already.

    The kernel frees the lock with the process, however it dies. Forked children (data loader workers) drop it at
    once, so that a worker that outlives its trainer does not keep the next one out.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with _open_lock(run_dir) as file:
        _take(file, run_dir, fcntl.LOCK_EX)
        os.register_at_fork(after_in_child=file.close)
        file.truncate(0)
        file.write(f"pid {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        _held_here.add(run_dir.resolve())
        try:
            yield
        finally:
            _held_here.discard(run_dir.resolve())


def refuse_if_held(run_dir: Path) -> None:
    """Raise R3Error when a trainer holds `run_dir`: a launcher asks before it touches anything there."""
    if run_dir.is_dir():
        with _open_lock(run_dir) as file:
            _take(file, run_dir, fcntl.LOCK_SH)


def is_held_by_another(run_dir: Path) -> bool:
    """Whether a process other than this one works in `run_dir`."""
    if run_dir.resolve() in _held_here:
        return False
    try:
        refuse_if_held(run_dir)
    except R3Error:
        return True
    return False


def _open_lock(run_dir: Path) -> IO[str]:
    return (run_dir / ".trainer.lock").open("a+", encoding="utf-8")


def _take(file: IO[str], run_dir: Path, lock: int) -> None:
    try:
        fcntl.flock(file, lock | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise R3Error(
            f"{run_dir} is in use by another trainer ({file.read().strip() or 'pid unknown'}); "
            f"wait for it, stop it with `touch {stop_file(run_dir)}`, or choose another folder"
        ) from None
