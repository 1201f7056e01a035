"""The ranks of one torchrun talk through torchrun's own store: no network of tensors is needed for a few words."""

from datetime import timedelta
from typing import Any

LONGEST_WAIT = timedelta(days=30)  # torchrun ends everyone as soon as one rank fails, so this never runs out


class Peers:
    """Rank `rank` of `num_ranks`. Alone, nothing is sent anywhere."""

    def __init__(self, rank: int, num_ranks: int) -> None:
        self.rank = rank
        self.num_ranks = num_ranks
        self._store: Any = None
        if num_ranks > 1:
            from torch.distributed import rendezvous

            self._store, _, _ = next(rendezvous("env://"))

    def tell(self, name: str, value: bool) -> None:
        if self._store is not None:
            self._store.set(name, str(int(value)))

    def hear(self, name: str) -> bool:
        """What another rank tells under that name, as soon as it does."""
        self._store.wait([name], LONGEST_WAIT)
        return bool(int(self._store.get(name)))

    def tell_done(self, name: str) -> None:
        self.tell(f"{name}/{self.rank}", True)

    def wait_for_all(self, name: str) -> None:
        """Until every other rank has told that it is done."""
        others = [f"{name}/{rank}" for rank in range(self.num_ranks) if rank != self.rank]
        if others:
            self._store.wait(others, LONGEST_WAIT)
