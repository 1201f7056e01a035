"""The FAISS part of an index: made from a factory string, and exact search as the oracle.

Letters as FAISS uses them: xb the vectors [n, d], xq the queries, D scores, I ids. Inner product throughout.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from r3pp_core.errors import R3Error

EXACT_TYPE = "Flat"
GRAPH_TYPES = ("HNSW", "NSG", "NNDescent")


def make_faiss_index(xb: np.ndarray, ids: np.ndarray, index_type: str, search_parameters: str | None) -> Any:
    """A trained FAISS index of `xb` (float32 [n, d]) that answers with `ids` (int64 [n]).

    Without vectors there is nothing to train on, so an empty corpus gets an empty exact index. Raises R3Error when
    FAISS refuses the factory string, the number of training vectors or a search parameter.
    """
    import faiss

    dim = xb.shape[1]
    try:
        kind = index_type if len(xb) else EXACT_TYPE
        index = faiss.index_factory(dim, f"IDMap,{kind}", faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(xb)
        with _reproducible_order(kind):
            index.add_with_ids(xb, ids)
        if search_parameters and len(xb):
            space: Any = faiss.ParameterSpace()
            space.set_index_parameters(index, search_parameters)
    except RuntimeError as error:
        reason = str(error).rsplit(": ", 1)[-1]
        settings = f"index_type {index_type!r}" + (f" with {search_parameters!r}" if search_parameters else "")
        raise R3Error(
            f"FAISS cannot build {settings} from {len(xb)} vectors of dimension {dim}: {reason}; "
            f"use index_type {EXACT_TYPE!r} or one that fits this corpus"
        ) from error
    return index


@contextmanager
def _reproducible_order(index_type: str) -> Iterator[None]:
    """One thread while a graph grows: its edges depend on the order of insertion, and equal inputs give equal bytes."""
    import faiss

    if not any(name in index_type for name in GRAPH_TYPES):
        yield
        return
    num_threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(num_threads)


def write_faiss_index(index: Any, path: Path) -> None:
    import faiss

    faiss.write_index(index, str(path))


def read_faiss_index(path: Path) -> Any:
    """The index in a file, its codes memory-mapped where FAISS can."""
    import faiss

    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def exact_search(xq: np.ndarray, xb: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Brute force: scores float32 [q, k], falling, and positions int64 [q, k] in `xb`."""
    import faiss

    D, I = faiss.knn(  # noqa: E741 - FAISS's own letters
        np.ascontiguousarray(xq), np.ascontiguousarray(xb), k, metric=faiss.METRIC_INNER_PRODUCT
    )
    return D, I
