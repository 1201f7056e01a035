"""`python killed_pool.py FILE`: the worker of a pool writes its pid to FILE and waits for the end of its parent.

It does so while it starts, when the kernel was not yet asked to end it with its parent.
"""

import os
import sys
import time
from pathlib import Path

from r3pp_core.ingest.workers import worker_pool


class Slow:
    """What a worker is to do first; to be unpickled it takes as long as the parent lives."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return wait_for_the_end_of, (os.getpid(), self.path)


def wait_for_the_end_of(parent: int, path: Path):
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(str(os.getpid()))
    unfinished.rename(path)
    while os.getppid() == parent:
        time.sleep(0.01)
    return os.getpid


if __name__ == "__main__":
    pool = worker_pool(1, Slow(Path(sys.argv[1])))
    pool.submit(os.getpid)
    time.sleep(600)
