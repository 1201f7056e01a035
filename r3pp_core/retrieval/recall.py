"""How much an approximate index finds of what exact search finds."""

import numpy as np

from r3pp_core.retrieval.faiss_index import exact_search
from r3pp_core.retrieval.search import Index

SCORE_TIE = 1e-6


def recall_at_k(index: Index, k: int, num_queries: int, seed: int) -> float:
    """Share of the k nearest other entries that `index` finds, asked with its own entries as at training.

    Entries drawn by `seed` are the queries, each with its own picture excluded. A hit that ties with the exact k-th
    score counts, whichever of the tied entries it is. Without two searchable entries there is nothing to miss: 1.0.
    """
    ids = np.flatnonzero(index.searchable)
    if len(ids) < 2:
        return 1.0
    k = min(k, len(ids) - 1)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(ids))[:num_queries])
    queries = index.vectors(ids[drawn])
    D, I = exact_search(queries, index.all_vectors, ids, k + 1)  # noqa: E741 - FAISS's own letters
    others = np.sort(np.where(ids[drawn][:, None] == I, -np.inf, D), axis=1)[:, ::-1]
    bound = others[:, k - 1 : k] - SCORE_TIE
    sha256s = index.image_sha256s
    hits = index.search(queries, k, exclude=[[sha256s[row]] for row in ids[drawn]])
    return float((hits.mask & (hits.scores >= bound)).sum() / (len(drawn) * k))
