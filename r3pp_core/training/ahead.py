"""What a step needs is prepared ahead of it: pictures damaged in threads, queries encoded and searched in one more.

So neither is on the way of the step, and the queries of a rank's whole step are encoded together, on the training
device, however small its micro-batches are.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from r3pp_core.model.preparation import Preparer
from r3pp_core.training.batches import Batcher, RankStep
from r3pp_core.training.order import MixedOrder, RowFile


@dataclass(frozen=True)
class Share:
    """Which rows of a step are this rank's: `rows_a_rank` of every `rows_a_rank * num_ranks`.

    `first_step` is the next step, and `first_position` where the order goes on with it.
    """

    first_step: int
    first_position: int
    rows_a_rank: int
    rank: int = 0
    num_ranks: int = 1

    @property
    def rows_a_step(self) -> int:
        return self.rows_a_rank * self.num_ranks

    def positions(self, step: int) -> range:
        start = self.first_position + (step - self.first_step) * self.rows_a_step + self.rank * self.rows_a_rank
        return range(start, start + self.rows_a_rank)


class StepsAhead:
    """This rank's micro-batches of step after step. At most `lookahead` steps wait, so memory is bounded.

    What a step holds depends on its positions in the order and on `level_of(step, row id, visit)` alone.
    """

    def __init__(
        self,
        preparer: Preparer,
        batcher: Batcher,
        rows: RowFile,
        order: MixedOrder,
        level_of: Callable[[int, str, int], float],
        share: Share,
        *,
        num_workers: int,
        lookahead: int,
    ) -> None:
        self.preparer, self.batcher, self.rows = preparer, batcher, rows
        self.order, self.level_of, self.share, self.lookahead = order, level_of, share, lookahead
        self._next_to_start = share.first_step
        self._waiting: deque[Future[RankStep]] = deque()
        self._damage_pool = ThreadPoolExecutor(num_workers, thread_name_prefix="damage")
        self._retrieve_pool = ThreadPoolExecutor(1, thread_name_prefix="retrieve")

    def take(self) -> RankStep:
        """The next step. Raises what a worker raised."""
        while len(self._waiting) <= self.lookahead:
            self._start(self._next_to_start)
            self._next_to_start += 1
        return self._waiting.popleft().result()

    def close(self) -> None:
        self._damage_pool.shutdown(wait=True, cancel_futures=True)
        self._retrieve_pool.shutdown(wait=True, cancel_futures=True)

    def _start(self, step: int) -> None:
        draws = [self.order.at(position) for position in self.share.positions(step)]
        drawn = [(self.rows.row(draw.row), draw.visit) for draw in draws]
        damaged = [
            self._damage_pool.submit(self.preparer.damage, row, self.level_of(step, row["id"], visit), visit)
            for row, visit in drawn
        ]
        self._waiting.append(self._retrieve_pool.submit(self._finish, damaged))

    def _finish(self, damaged: list[Future[Any]]) -> RankStep:
        return self.batcher.step(self.preparer.retrieve([future.result() for future in damaged]))
