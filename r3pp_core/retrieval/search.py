"""Search in a built index: exact scores, no self-retrieval, an explicit "no hit".

FAISS proposes candidates; their scores are then computed again from the stored vectors, one query at a time in
float64, so that a query gets the same hits alone and in a batch, ties fall to the lower id, and an approximate
index is re-ranked. Shapes: n queries, k hits, d dimensions. Id -1 means "no hit" everywhere.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from r3pp_core.artefact import Manifest, Target, cached_file_hash, require_manifest
from r3pp_core.errors import R3Error
from r3pp_core.retrieval.encoders import Encoder
from r3pp_core.retrieval.faiss_index import read_faiss_index
from r3pp_core.retrieval.index_type import EXACT_TYPE
from r3pp_core.retrieval.metadata import IndexEntry, Metadata

VECTORS, FAISS_INDEX, METADATA = "vectors.npy", "index.faiss", "metadata.parquet"
NO_HIT = -1
NUM_SPARE_CANDIDATES = 8
RERANK_FACTOR = 10  # an approximate index proposes this many times more than is asked of it
FLOAT32_TIE = 1e-5  # above FAISS's float32 rounding of an inner product of unit vectors
MAX_RANKED_VALUES = 1 << 23


@dataclass(frozen=True)
class Hits:
    """Best first. ids int64, scores and weights float32, mask bool, all [n, k]; weights of a row sum to 1 or are 0."""

    ids: np.ndarray
    scores: np.ndarray
    weights: np.ndarray
    mask: np.ndarray


def query_text(question: str, pseudo_text: str) -> str:
    """The text query of METHOD 4: the question and what the (damaged) picture says."""
    return f"{question}\n{pseudo_text}".strip()


def rebuild_command(folder: Path) -> str:
    return f"r3pp index --jsonl JSONL --image_root IMAGE_ROOT --out_dir {folder.parent} --force"


class Index:
    """A loaded index. Nothing changes after loading, so threads may share it."""

    def __init__(self, vectors: np.ndarray, faiss_index: Any, metadata: Metadata, details: dict[str, Any]) -> None:
        self._vectors = vectors
        self._faiss = faiss_index
        self._metadata = metadata
        self.details = details

    @classmethod
    def load(cls, folder: Path, encoder: Encoder | None = None, corpus_hash: str | None = None) -> "Index":
        """The index in `folder` (`indices/text`), its vectors memory-mapped.

        Raises R3Error, naming the file and how to rebuild, when a file is missing or not the one that was built,
        or when the index was made by another encoder or from another corpus than those given.
        """
        manifest = require_manifest(Target(folder), rebuild_command(folder))
        if not manifest.stage.startswith("index/"):
            raise R3Error(f"{folder} holds {manifest.stage}, not an index; give the folder of an index")
        require_files(folder, manifest)
        _require_origin(folder, manifest, encoder, corpus_hash)
        return cls(
            vectors=np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False),
            faiss_index=read_faiss_index(folder / FAISS_INDEX),
            metadata=Metadata.read(folder / METADATA),
            details=manifest.details,
        )

    def __len__(self) -> int:
        return len(self._metadata)

    @property
    def kind(self) -> str:
        return str(self.details["kind"])

    @property
    def dim(self) -> int:
        return int(self._vectors.shape[1])

    @property
    def all_vectors(self) -> np.ndarray:
        """float32 [count, d], memory-mapped when loaded."""
        return self._vectors

    @property
    def image_sha256s(self) -> list[str]:
        return list(self._metadata.image_sha256s)

    @property
    def searchable(self) -> np.ndarray:
        """bool [count]: False for an entry that can never be a hit (a text entry without text)."""
        return self._metadata.searchable.copy()

    def id_of(self, image_sha256: str) -> int | None:
        """The entry of a picture, or None."""
        return self._metadata.id_of(image_sha256)

    def entry(self, entry_id: int) -> IndexEntry:
        """Raises R3Error for -1 and every other id that is no entry."""
        if not 0 <= entry_id < len(self):
            raise R3Error(f"no entry {entry_id} in an index of {len(self)}; -1 marks 'no hit'")
        return self._metadata.entry(int(entry_id))

    def vectors(self, ids: np.ndarray) -> np.ndarray:
        """ids int [...] -> float32 [..., d], zeros where the id is -1. Raises R3Error for any other non-entry."""
        ids = np.asarray(ids, np.int64)
        if ids.size and (ids.min() < NO_HIT or ids.max() >= len(self)):
            raise R3Error(f"ids from {ids.min()} to {ids.max()} asked of an index of {len(self)} entries")
        found = np.zeros((*ids.shape, self.dim), np.float32)
        found[ids >= 0] = self._vectors[ids[ids >= 0]]
        return found

    def search(
        self,
        queries: np.ndarray,
        k: int,
        exclude: Sequence[Collection[str]] | None = None,
        min_score: float | None = None,
        temperature: float = 1.0,
    ) -> Hits:
        """The k best entries for each of `queries` (float [n, d], unit length).

        `exclude[i]` are the picture hashes that query i may not find, its own above all. Weights are the softmax of
        the scores over the hits at `temperature`. Raises R3Error for queries, k or exclusions of the wrong shape.
        """
        queries = self._checked_queries(queries, k)
        banned = self._banned_ids(exclude, len(queries))
        ids = np.full((len(queries), k), NO_HIT, np.int64)
        scores = np.zeros((len(queries), k), np.float32)
        num_banned = np.array([len(row) for row in banned], np.int64)
        for count in np.unique(num_banned) if self._faiss.ntotal else ():
            rows = np.flatnonzero(num_banned == count)
            self._fill(queries, banned, rows, k + int(count), ids, scores)
        mask = ids != NO_HIT
        if min_score is not None:
            mask &= scores >= min_score
        ids, scores = np.where(mask, ids, NO_HIT), np.where(mask, scores, np.float32(0))
        return Hits(ids, scores, softmax_weights(scores, mask, temperature), mask)

    def _checked_queries(self, queries: np.ndarray, k: int) -> np.ndarray:
        queries = np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise R3Error(f"queries have shape {queries.shape}, but this {self.kind} index needs [n, {self.dim}]")
        if not np.isfinite(queries).all():
            raise R3Error("a query vector is not finite; check the encoder that made it")
        if k < 1:
            raise R3Error(f"k is {k}, but at least 1 hit must be asked for")
        return queries

    def _banned_ids(self, exclude: Sequence[Collection[str]] | None, num_queries: int) -> list[np.ndarray]:
        """Per query the searchable ids of its excluded pictures."""
        if exclude is None:
            return [np.zeros(0, np.int64)] * num_queries
        if len(exclude) != num_queries:
            raise R3Error(f"{len(exclude)} exclusions for {num_queries} queries; give one collection for each")
        banned = []
        for sha256s in exclude:
            if isinstance(sha256s, str):
                raise R3Error(f"exclude holds the bare string {sha256s!r}; give a list of picture hashes per query")
            found = [row for sha256 in set(sha256s) if (row := self._metadata.id_of(sha256)) is not None]
            ids = np.array(found, np.int64)
            banned.append(ids[self._metadata.searchable[ids]])
        return banned

    def _fill(
        self,
        queries: np.ndarray,
        banned: list[np.ndarray],
        rows: np.ndarray,
        num: int,
        ids: np.ndarray,
        scores: np.ndarray,
    ) -> None:
        """Write the best hits of queries `rows` into ids and scores; `num` is k plus the ids banned per row.

        An exact index is asked for more while a candidate that it did not name could still tie with the last hit.
        """
        k, exact = ids.shape[1], self.details["index_type"] == EXACT_TYPE
        num_candidates = (num if exact else num * RERANK_FACTOR) + NUM_SPARE_CANDIDATES
        while len(rows):
            num_candidates = min(num_candidates, self._faiss.ntotal)
            proposed_scores, proposed = self._faiss.search(queries[rows], num_candidates)
            step = max(1, MAX_RANKED_VALUES // (num_candidates * self.dim))
            for start in range(0, len(rows), step):
                part = slice(start, start + step)
                row_bans = [banned[row] for row in rows[part]]
                ids[rows[part]], scores[rows[part]] = self._rank(queries[rows[part]], proposed[part], row_bans, k)
            if not exact or num_candidates == self._faiss.ntotal:
                return
            rows = rows[scores[rows, -1] <= proposed_scores[:, -1] + FLOAT32_TIE]
            num_candidates *= 4

    def _rank(
        self, queries: np.ndarray, proposed: np.ndarray, banned: list[np.ndarray], k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best of `proposed` (ids [n, m]) by exact score, then by id, without the banned ones."""
        allowed = proposed != NO_HIT
        for row, ids in enumerate(banned):
            if len(ids):
                allowed[row] &= ~np.isin(proposed[row], ids)
        candidates = self._vectors[np.where(allowed, proposed, 0)].astype(np.float64)
        exact = (candidates * queries[:, None, :]).sum(axis=-1).astype(np.float32)
        exact = np.where(allowed, exact, -np.inf)
        order = np.lexsort((proposed, -exact), axis=-1)[:, :k]
        kept = np.take_along_axis(allowed, order, axis=-1)
        ids = np.full((len(queries), k), NO_HIT, np.int64)
        scores = np.zeros((len(queries), k), np.float32)
        width = order.shape[1]
        ids[:, :width] = np.where(kept, np.take_along_axis(proposed, order, axis=-1), NO_HIT)
        scores[:, :width] = np.where(kept, np.take_along_axis(exact, order, axis=-1), 0)
        return ids, scores


def softmax_weights(scores: np.ndarray, mask: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax of `scores` over the hits of each row, float32 [n, k]: exactly 0 at "no hit", all 0 without any hit."""
    if temperature <= 0:
        raise R3Error(f"temperature is {temperature}, but it must be above 0")
    logits = np.where(mask, scores.astype(np.float64) / temperature, -np.inf)
    top = np.where(mask.any(axis=-1, keepdims=True), logits.max(axis=-1, keepdims=True), 0.0)
    powers = np.exp(logits - top)
    return np.asarray(powers / np.maximum(powers.sum(axis=-1, keepdims=True), 1e-300), np.float32)


def require_files(folder: Path, manifest: Manifest) -> None:
    """Each file is the one that the manifest names, by size and hash: a file swapped between two indices shows.

    Raises R3Error that names the file.
    """
    for name, built in manifest.files.items():
        path = folder / name
        if not path.is_file():
            fault = "is missing"
        elif path.stat().st_size != built["bytes"]:
            fault = f"has {path.stat().st_size} bytes instead of {built['bytes']}"
        elif cached_file_hash(path) != built["sha256"]:
            fault = "is not the file that was built here"
        else:
            continue
        raise R3Error(f"{path} {fault}; rebuild the index with `{rebuild_command(folder)}`")


def _require_origin(folder: Path, manifest: Manifest, encoder: Encoder | None, corpus_hash: str | None) -> None:
    built = manifest.details
    if encoder is not None and encoder.hash != built["encoder_hash"]:
        raise R3Error(
            f"the index in {folder} was made by encoder {built['encoder']} ({built['encoder_hash'][:12]}), not by "
            f"{encoder.name} ({encoder.hash[:12]}); rebuild it with `{rebuild_command(folder)}`"
        )
    if corpus_hash is not None and corpus_hash != built["corpus_hash"]:
        raise R3Error(
            f"the index in {folder} was made from corpus {built['corpus_hash'][:12]}, not from {corpus_hash[:12]}; "
            f"rebuild it with `{rebuild_command(folder)}`"
        )
