"""Looking evidence up: damaged queries in, hits of both indices out, the query's own picture never among them."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from r3pp_core.errors import R3Error
from r3pp_core.retrieval.metadata import IndexEntry
from r3pp_core.retrieval.neighbours import Neighbours
from r3pp_core.retrieval.search import NO_HIT, Hits, Index

if TYPE_CHECKING:
    from PIL import Image

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RowHits:
    """k hits of one query in one index, best first; all zero and id -1 where `mask` is False. `vectors` [k, d].

    `entries` has one entry per real hit.
    """

    ids: npt.NDArray[np.int64]
    scores: Floats
    weights: Floats
    mask: npt.NDArray[np.bool_]
    vectors: Floats
    entries: list[IndexEntry]

    @classmethod
    def none(cls, k: int, dim: int) -> "RowHits":
        zeros = np.zeros(k, np.float32)
        vectors = np.zeros((k, dim), np.float32)
        return cls(np.full(k, NO_HIT), zeros, zeros, np.zeros(k, bool), vectors, [])

    @property
    def texts(self) -> list[str]:
        """What the hits say, best first."""
        return [entry.pseudo_text for entry in self.entries]


@dataclass(frozen=True)
class RowEvidence:
    """What one row's query found, and its own picture's embedding (unit length, zero without an image encoder)."""

    text: RowHits
    image: RowHits
    image_query: Floats

    @classmethod
    def none(cls, k: int, text_dim: int, image_dim: int) -> "RowEvidence":
        return cls(RowHits.none(k, text_dim), RowHits.none(k, image_dim), np.zeros(image_dim, np.float32))


class Retriever:
    """Both encoders and both indices. Threads may share it; they look up one after the other."""

    def __init__(
        self,
        text_encoder: Any,
        image_encoder: Any,
        text_index: Index,
        image_index: Index,
        k: int = 3,
        min_score: float | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        self.text_encoder, self.image_encoder = text_encoder, image_encoder
        self.text_index, self.image_index = text_index, image_index
        self.k, self.min_score = k, min_score
        self.neighbours = neighbours
        self._one_at_a_time = threading.Lock()

    @classmethod
    def load(
        cls,
        index_dir: Path,
        text_encoder_dir: Path,
        image_encoder_dir: Path,
        k: int = 3,
        min_score: float | None = None,
        device: str = "cpu",
        corpus_hash: str | None = None,
    ) -> "Retriever":
        """From `index_dir/text`, `image` and, where they are there, `neighbours`; encoders on `device`.

        Raises R3Error when an index was built by another encoder, or from another table than that of `corpus_hash`.
        """
        from r3pp_core.retrieval.encoders import load_image_encoder, load_text_encoder

        text_encoder = load_text_encoder(text_encoder_dir, device)
        image_encoder = load_image_encoder(image_encoder_dir, device)
        text_index = Index.load(Path(index_dir) / "text", text_encoder, corpus_hash)
        image_index = Index.load(Path(index_dir) / "image", image_encoder, corpus_hash)
        return cls(text_encoder, image_encoder, text_index, image_index, k, min_score, Neighbours.load(Path(index_dir)))

    def look_up(
        self, texts: Sequence[str], pictures: "Sequence[Image.Image]", own_sha256: Sequence[str]
    ) -> list[RowEvidence]:
        """One batch of queries; entries with the query's own picture hash are left out."""
        if not texts:
            return []
        exclude = [{sha} for sha in own_sha256]
        with self._one_at_a_time:
            text = self._search(self.text_index, self.text_encoder.encode(list(texts)), exclude)
            image_queries = self.image_encoder.encode(list(pictures))
            image = self._search(self.image_index, image_queries, exclude)
        return [RowEvidence(*row) for row in zip(text, image, image_queries, strict=True)]

    def neighbours_problem(self, max_query_chars: int) -> str | None:
        """Why undamaged rows have to be encoded as damaged ones are; None where what was looked up once serves."""
        kept = self.neighbours
        if kept is None:
            return "there are no neighbours of these indices (`r3pp index` makes them)"
        if kept.max_query_chars != max_query_chars:
            return (
                f"the neighbours are those of queries cut at {kept.max_query_chars} characters "
                f"(`r3pp index --max_query_chars {max_query_chars}` makes them anew)"
            )
        return f"only {kept.k} neighbours are kept, fewer than the {self.k} asked for" if kept.k < self.k else None

    def look_up_clean(
        self, row_ids: Sequence[str], own_sha256: Sequence[str], max_query_chars: int
    ) -> list[RowEvidence] | None:
        """As `look_up` for undamaged train rows, from the neighbours that were looked up once; nothing is encoded.

        None where they do not serve (`neighbours_problem`), or hold no such row or picture.
        """
        kept = self.neighbours
        if kept is None or self.neighbours_problem(max_query_chars):
            return None
        places, entries = kept.find(row_ids), [self.image_index.id_of(sha256) for sha256 in own_sha256]
        if places is None or any(entry is None for entry in entries):
            return None
        text = self.rows(self.text_index, kept.hits("text", places, self.k, self.min_score))
        image = self.rows(self.image_index, kept.hits("image", places, self.k, self.min_score))
        queries = self.image_index.vectors(np.array(entries, np.int64))
        return [RowEvidence(*row) for row in zip(text, image, queries, strict=True)]

    def _search(self, index: Index, queries: Floats, exclude: list[set[str]]) -> list[RowHits]:
        return self.rows(index, index.search(queries, self.k, exclude=exclude, min_score=self.min_score))

    def rows(self, index: Index, found: Hits) -> list[RowHits]:
        """Hits of one of the two indices, a row each, with their vectors and entries."""
        vectors = index.vectors(found.ids)
        return [
            RowHits(ids, scores, weights, mask, row_vectors, [index.entry(int(entry)) for entry in ids[mask]])
            for ids, scores, weights, mask, row_vectors in zip(
                found.ids, found.scores, found.weights, found.mask, vectors, strict=True
            )
        ]


def refuse_other_sizes(retriever: Retriever, text_dim: int, image_dim: int) -> None:
    """Raise R3Error when the encoders are not those that the model was made for."""
    found = (retriever.text_encoder.dim, retriever.image_encoder.dim)
    if found != (text_dim, image_dim):
        raise R3Error(
            f"the encoders give {found[0]} and {found[1]} numbers, the model was trained with {text_dim} and "
            f"{image_dim}; use the encoders that it was trained with"
        )
