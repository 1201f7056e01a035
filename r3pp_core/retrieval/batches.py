"""Batches through an encoder: on CPU a thread for each core and each batch in one of them, results in order.

A matrix product that is split over more threads rounds differently. With one thread a batch, a vector depends
neither on the number of cores nor on how many processes share them.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic

import numpy as np

from r3pp_core.in_order import Item, mapped_in_order
from r3pp_core.retrieval.encoders import Encoder

NUM_WAITING = 1  # batches beyond those being encoded, so that no thread is idle while results are taken


@dataclass(frozen=True)
class Batch(Generic[Item]):
    """Items of one shard with their positions in it; `rejected` maps positions met on the way to why they have none."""

    shard: int
    positions: list[int] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    rejected: dict[int, str] = field(default_factory=dict)

    def add(self, position: int, item: Item) -> None:
        self.positions.append(position)
        self.items.append(item)


def encoded_batches(
    encoder: Encoder, batches: Iterable[Batch[Item]], device: str
) -> Iterator[tuple[Batch[Item], np.ndarray]]:
    """Each batch with its vectors, float32 [n, d], in order. Batches are taken only a few ahead."""

    def encode(batch: Batch[Item]) -> tuple[Batch[Item], np.ndarray]:
        return batch, encoder.encode(batch.items, max(1, len(batch.items)))

    with _threads(device) as (pool, num_threads):
        yield from mapped_in_order(pool, encode, batches, num_threads + NUM_WAITING)


@contextmanager
def _threads(device: str) -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """Threads that encode, as many as torch would use for one batch; a GPU is fed by one."""
    import torch

    before = torch.get_num_threads()
    num_threads = before if device == "cpu" else 1
    pool = ThreadPoolExecutor(num_threads, "encode", torch.set_num_threads, (1 if device == "cpu" else before,))
    try:
        yield pool, num_threads
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)
