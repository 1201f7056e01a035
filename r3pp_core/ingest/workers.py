"""Worker processes for the stages: results in the order of the items, a bounded number of them in flight."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from r3pp_core.errors import R3Error
from r3pp_core.in_order import Item, Result, mapped_in_order
from r3pp_core.launch.orphans import die_with_parent

WORTH_PROCESSES_BYTES = 16 << 20
AHEAD = 2  # items that wait for each process, so that none is idle while results are taken in order


def _nothing() -> None: ...


def num_processes(wanted: int | None) -> int:
    return wanted or len(os.sched_getaffinity(0))


def processes_for(tables: Iterable[Path], wanted: int | None) -> int:
    """How many processes to read these tables with; none where starting them would take longer than the reading."""
    return num_processes(wanted) if sum(path.stat().st_size for path in tables) > WORTH_PROCESSES_BYTES else 0


class Workers:
    """A pool for functions of one item, or, with 0 processes, the same in this process. A context manager.

    Processes die with their parent; `prepare` runs once in each.
    """

    def __init__(self, num_workers: int, prepare: Callable[[], None] = _nothing) -> None:
        self.num_workers = num_workers
        self._pool = worker_pool(num_workers, prepare) if num_workers else None

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def mapped(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`function` of each item, in order, whatever process was first; items are taken only a few ahead.

        Raises what `function` raises, and R3Error when a process was killed.
        """
        if self._pool is None:
            yield from map(function, items)
            return
        try:
            yield from mapped_in_order(self._pool, function, items, self.num_workers * AHEAD)
        except BrokenProcessPool as error:
            raise process_killed() from error


def worker_pool(num_workers: int, prepare: Callable[[], None] = _nothing) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(num_workers, get_context("spawn"), _start, (os.getpid(), prepare))


def _start(parent: int, prepare: Callable[[], None]) -> None:
    die_with_parent()
    if os.getppid() != parent:  # it was killed while this process started, before the kernel was asked to tell
        os._exit(1)
    prepare()


def process_killed() -> R3Error:
    return R3Error(
        "a worker process was killed, perhaps for want of memory; what was finished is kept, "
        "run it again with fewer --num_workers"
    )
