"""Progress as plain messages: whoever calls a stage decides where they go (terminal, Dagster's log)."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Progress = Callable[[str], None]
T = TypeVar("T")


def silent(message: str) -> None:
    """Progress that goes nowhere."""


def counted(items: Iterable[T], total: int | None, what: str, progress: Progress, every_s: float = 5.0) -> Iterator[T]:
    """Pass `items` through and report how many have passed, with the time left, at most once in `every_s`."""
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= every_s:
            last = now
            rate = done / (now - start)
            left = f" of {total}, about {(total - done) / rate:.0f} s left" if total else ""
            progress(f"{what}: {done}{left} ({rate:.1f}/s)")
