"""What a step needs is prepared ahead of it: pictures damaged in threads, queries encoded and searched in one more.

So neither is on the way of the step, and the queries of a micro-batch are encoded together, on the training device.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from r3pp_core.model.preparation import Preparation, Preparer
from r3pp_core.training.order import MixedOrder, RowFile


class StepsAhead:
    """Prepared micro-batches of step after step. At most `lookahead` steps wait, so memory is bounded.

    What a step holds depends on its number alone: on the order, on `level_of(step)` and on the rows' visits.
    """

    def __init__(
        self,
        preparer: Preparer,
        rows: RowFile,
        order: MixedOrder,
        level_of: Callable[[int], float],
        *,
        first_step: int,
        batch_size: int,
        grad_accum: int,
        num_workers: int,
        lookahead: int,
    ) -> None:
        self.preparer, self.rows, self.order, self.level_of = preparer, rows, order, level_of
        self.batch_size, self.grad_accum, self.lookahead = batch_size, grad_accum, lookahead
        self._next_to_start = first_step
        self._waiting: deque[Future[list[Preparation]]] = deque()
        self._damage_pool = ThreadPoolExecutor(num_workers, thread_name_prefix="damage")
        self._retrieve_pool = ThreadPoolExecutor(1, thread_name_prefix="retrieve")

    def take(self) -> list[Preparation]:
        """The next step's micro-batches. Raises what a worker raised."""
        while len(self._waiting) <= self.lookahead:
            self._start(self._next_to_start)
            self._next_to_start += 1
        return self._waiting.popleft().result()

    def close(self) -> None:
        self._damage_pool.shutdown(wait=True, cancel_futures=True)
        self._retrieve_pool.shutdown(wait=True, cancel_futures=True)

    def _start(self, step: int) -> None:
        rows_a_step = self.batch_size * self.grad_accum
        level = self.level_of(step)
        draws = [self.order.at(step * rows_a_step + number) for number in range(rows_a_step)]
        damaged = [
            self._damage_pool.submit(self.preparer.damage, self.rows.row(draw.row), level, draw.visit) for draw in draws
        ]
        self._waiting.append(self._retrieve_pool.submit(self._retrieve, damaged))

    def _retrieve(self, damaged: list[Future[Any]]) -> list[Preparation]:
        rows, size = [future.result() for future in damaged], self.batch_size
        return [self.preparer.retrieve(rows[start : start + size]) for start in range(0, len(rows), size)]
