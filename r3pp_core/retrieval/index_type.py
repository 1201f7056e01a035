"""Which FAISS index `auto` means: exact while that is cheap, then the one that finds most within a memory budget."""

from typing import NamedTuple

from r3pp_core.errors import R3Error

AUTO_TYPE, EXACT_TYPE = "auto", "Flat"
MAX_EXACT_VECTORS = 1_000_000
HNSW_LINKS = 32
HNSW_BYTES = 2 * HNSW_LINKS * 4 + 24  # a vector's links: 2 x 32 in the lowest layer, with the layers above and its id
PQ_BYTES = 16  # a vector's id in its cell and in the index
PROBED_SHARE = 8  # of the cells; recall is lost to cells that are not looked into before it is to short codes
FILE_BYTES = 1024  # headers
CODE_SHARES = (4, 6, 8, 12, 16, 24, 32)  # dimensions for each byte of a code
MIN_TRAINABLE = 10_000  # below, product quantization has too little to learn its 256 centroids from


class IndexType(NamedTuple):
    factory: str
    search_parameters: str | None


def resolve_index_type(
    index_type: str, search_parameters: str | None, num_vectors: int, dim: int, max_bytes: int
) -> IndexType:
    """`index_type` itself, or what `auto` means for so many vectors; parameters that were given are kept.

    Flat up to a million vectors; above, or where those do not fit into `max_bytes`: HNSW32 where that fits, otherwise
    IVF with the longest product-quantized codes that fit. Raises R3Error when nothing fits.
    """
    if index_type != AUTO_TYPE:
        return IndexType(index_type, search_parameters)
    if num_vectors <= MAX_EXACT_VECTORS and num_vectors * dim * 4 <= max_bytes:
        return IndexType(EXACT_TYPE, search_parameters)
    if num_vectors * (dim * 4 + HNSW_BYTES) <= max_bytes:
        return IndexType(f"HNSW{HNSW_LINKS}", search_parameters or "efSearch=128")
    num_cells = _num_cells(num_vectors)
    codes = [dim // share for share in CODE_SHARES if dim % share == 0]
    fixed = FILE_BYTES + num_cells * 8 + (num_cells + 256) * dim * 4
    for code in codes:
        if num_vectors >= MIN_TRAINABLE and fixed + num_vectors * (code + PQ_BYTES) <= max_bytes:
            return IndexType(
                f"IVF{num_cells},PQ{code}", search_parameters or f"nprobe={max(1, num_cells // PROBED_SHARE)}"
            )
    least = fixed + num_vectors * (min(codes, default=dim * 4) + PQ_BYTES)
    raise R3Error(
        f"no index of {num_vectors} vectors of dimension {dim} fits into max_index_bytes {max_bytes}; "
        f"give at least {least}, or an index_type of your own"
    )


def _num_cells(num_vectors: int) -> int:
    """The power of two next to the square root: as many cells as vectors in each."""
    return int(2 ** round(0.5 * (max(1, num_vectors) - 1).bit_length()))
