"""The FAISS part of an index: made from a factory string, and exact search as the oracle.

Letters as FAISS uses them: xb the vectors [n, d], xq the queries, D scores, I ids. Inner product throughout.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from r3pp_core.errors import R3Error, UsageError
from r3pp_core.progress import Progress, silent
from r3pp_core.retrieval.index_type import AUTO_TYPE, EXACT_TYPE

GRAPH_TYPES = ("HNSW", "NSG", "NNDescent")
BLOCK_ROWS = 65_536
MIN_TRAINING_ROWS = 65_536  # FAISS takes at most 256 for each of a quantizer's 256 centroids
TRAINING_ROWS_A_CELL = 64  # FAISS warns below 39
SOME_DIMS = (3072, 1152, 640, 1000)  # what divides an encoder's dimension (384, 512, 768, ...) divides one of them


def require_known(index_type: str, search_parameters: str | None) -> None:
    """Raise UsageError for a factory string, or parameters of it, that FAISS would refuse whatever the corpus."""
    if index_type == AUTO_TYPE:
        return
    refusals = []
    for dim in SOME_DIMS:
        refusal = _refusal(index_type, search_parameters, dim)
        if refusal is None:
            return
        refusals.append(refusal)
    raise UsageError(refusals[0])


def _refusal(index_type: str, search_parameters: str | None, dim: int) -> str | None:
    import faiss

    field, given = "index_type", index_type
    try:
        index = faiss.index_factory(dim, f"IDMap,{index_type}", faiss.METRIC_INNER_PRODUCT)
        if search_parameters:
            field, given = "search_parameters", search_parameters
            space: Any = faiss.ParameterSpace()
            space.set_index_parameters(index, search_parameters)
    except RuntimeError as error:
        return f"{field}: {str(error).rsplit(': ', 1)[-1]} (got {given!r})"
    return None


def make_faiss_index(
    xb: np.ndarray, ids: np.ndarray, index_type: str, search_parameters: str | None, progress: Progress = silent
) -> Any:
    """A trained FAISS index of the rows `ids` (int64 [n], rising) of `xb` (float32 [m, d]), by their row numbers.

    `xb` may be memory-mapped: it is read in blocks, and a sample trains. Without rows there is nothing to train on,
    so an empty corpus gets an empty exact index. Raises R3Error when FAISS refuses the factory string, the number of
    training vectors or a search parameter.
    """
    import faiss

    dim = xb.shape[1]
    try:
        kind = index_type if len(ids) else EXACT_TYPE
        index = faiss.index_factory(dim, f"IDMap,{kind}", faiss.METRIC_INNER_PRODUCT)
        cells = faiss.try_extract_index_ivf(index)
        with _gpu_for(cells, progress) as gpu, _reproducible_order(kind):
            if not index.is_trained:
                index.train(xb[_training_rows(ids, cells.nlist if cells else 0)])
            if gpu:
                gpu.take_over_cells()
            for start in range(0, len(ids), BLOCK_ROWS):
                rows = ids[start : start + BLOCK_ROWS]
                index.add_with_ids(xb[rows], rows)
        if search_parameters and len(ids):
            space: Any = faiss.ParameterSpace()
            space.set_index_parameters(index, search_parameters)
    except RuntimeError as error:
        reason = str(error).rsplit(": ", 1)[-1]
        settings = f"index_type {index_type!r}" + (f" with {search_parameters!r}" if search_parameters else "")
        raise R3Error(
            f"FAISS cannot build {settings} from {len(ids)} vectors of dimension {dim}: {reason}; "
            f"use index_type {EXACT_TYPE!r} or one that fits this corpus"
        ) from error
    return index


def _training_rows(ids: np.ndarray, num_cells: int) -> np.ndarray:
    """All rows, or as many as training needs, drawn by a fixed seed."""
    num_rows = max(MIN_TRAINING_ROWS, TRAINING_ROWS_A_CELL * num_cells)
    if len(ids) <= num_rows:
        return ids
    return np.sort(np.random.default_rng(0).choice(ids, num_rows, replace=False))


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


def use_all_cores() -> None:
    """Undo torchrun's one thread a rank, for the rank that trains alone: as fast and of the same bytes as elsewhere."""
    import faiss

    faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))


def num_gpus() -> int:
    """How many GPUs FAISS can use: 0 with faiss-cpu."""
    import faiss

    return int(faiss.get_num_gpus())


def trains_on_gpu(index_type: str) -> bool:
    """Whether the bytes are a GPU's: cells are found there when FAISS can, and rounding differs from a CPU's."""
    return ("IVF" in index_type or index_type == "auto") and num_gpus() > 0


class _GpuCells:
    """Finds the cells of an IVF index on the GPUs: first their centres, then the cell of each vector."""

    def __init__(self, cells: Any) -> None:
        import faiss

        self._cells = cells
        self._quantizer: Any = None
        cells.clustering_index = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(cells.d))

    def take_over_cells(self) -> None:
        import faiss
        from faiss.contrib.ivf_tools import replace_ivf_quantizer

        on_gpus = faiss.index_cpu_to_all_gpus(self._cells.quantizer)
        self._quantizer = replace_ivf_quantizer(self._cells, on_gpus)

    def give_back(self) -> None:
        from faiss.contrib.ivf_tools import replace_ivf_quantizer

        self._cells.clustering_index = None
        if self._quantizer is not None:
            replace_ivf_quantizer(self._cells, self._quantizer)


@contextmanager
def _gpu_for(cells: Any, progress: Progress) -> Iterator[_GpuCells | None]:
    if cells is None or not num_gpus():
        yield None
        return
    progress(f"FAISS finds the {cells.nlist} cells of the index on {num_gpus()} GPUs")
    gpu = _GpuCells(cells)
    try:
        yield gpu
    finally:
        gpu.give_back()


def write_faiss_index(index: Any, path: Path) -> None:
    import faiss

    faiss.write_index(index, str(path))


def read_faiss_index(path: Path) -> Any:
    """The index in a file, its codes memory-mapped where FAISS can."""
    import faiss

    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def exact_search(xq: np.ndarray, xb: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Brute force over the rows `ids` of `xb`, block by block: scores float32 [q, k], falling, and rows int64 [q, k].

    `k` is at most the number of rows.
    """
    import faiss

    D, I = np.zeros((len(xq), 0), np.float32), np.zeros((len(xq), 0), np.int64)  # noqa: E741 - FAISS's own letters
    for start in range(0, len(ids), BLOCK_ROWS):
        rows = ids[start : start + BLOCK_ROWS]
        scores, places = faiss.knn(xq, xb[rows], min(k, len(rows)), metric=faiss.METRIC_INNER_PRODUCT)
        D, I = np.hstack([D, scores]), np.hstack([I, rows[places]])  # noqa: E741
        best = np.argsort(-D, axis=1, kind="stable")[:, :k]
        D, I = np.take_along_axis(D, best, axis=1), np.take_along_axis(I, best, axis=1)  # noqa: E741
    return D, I
