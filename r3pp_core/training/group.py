"""The processes of a run and what they tell each other. One process alone is a group too, and talks to nobody."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from r3pp_core.errors import R3Error

T = TypeVar("T")
LONGEST_WAIT = timedelta(hours=12)  # while one rank hashes a checkpoint; a rank that is lost ends all without it


class Group:
    """`rank` of `size` processes. Every rank makes the same calls in the same order.

    Values travel pickled between processes of one run, over gloo on the CPU: they are small and never read from disk.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self._channel: Any = None
        if size > 1:
            from torch import distributed

            self._channel = distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in order."""
        if self.size == 1:
            return [value]
        from torch import distributed

        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value, group=self._channel)
        return values

    def from_first(self, work: Callable[[], T]) -> T:
        """What `work` returns on rank 0, on every rank. An R3Error that it raises is raised on every rank."""
        done: list[T] = []
        error = None
        if self.is_first:
            try:
                done.append(work())
            except R3Error as raised:
                error = raised
        done, error = self.gather((done, error))[0]
        if error is not None:
            raise error
        return done[0]

    def raise_together(self, error: R3Error | None) -> None:
        """Raise on every rank what the first of them met; None: this one met nothing."""
        for met in self.gather(error):
            if met is not None:
                raise met

    def leave(self) -> None:
        """End the group, when all are done."""
        if self.size > 1:
            from torch import distributed

            distributed.destroy_process_group()
