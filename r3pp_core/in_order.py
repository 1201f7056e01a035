"""Work handed to a pool ahead of its results, which come in the order of the items."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def mapped_in_order(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], num_ahead: int
) -> Iterator[Result]:
    """`function` of each item, whatever was finished first; at most `num_ahead` items are taken ahead of a result.

    Raises what `function` raises, at its item's turn.
    """
    remaining = iter(items)
    waiting: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(remaining, num_ahead))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(pool.submit(function, item) for item in islice(remaining, 1))
