"""Controls that show whether evidence is used: other evidence in the place of what was retrieved.

shuffled: as many hits with the same scores, of pictures drawn by chance. A model that reads its evidence loses by it.
oracle: pictures of the index that say a reference answer, those nearest to the question first. It bounds from above
what better retrieval could bring, and uses the references, so its score is no score of the model.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from r3pp_core.retrieval.search import NO_HIT, Hits, softmax_weights

if TYPE_CHECKING:
    from r3pp_core.model.evidence import Retriever, RowEvidence, RowHits
    from r3pp_core.model.preparation import PreparedRow


class EvidenceControls:
    """Deterministic in the row's id, so that neither batch nor rank shows in an answer."""

    def __init__(self, retriever: "Retriever") -> None:
        self.retriever = retriever
        text, image = retriever.text_index, retriever.image_index
        # Of each text entry that can be a hit, the same picture's entry in the image index.
        pairs = [(entry, image.id_of(text.image_sha256s[entry])) for entry in np.flatnonzero(text.searchable).tolist()]
        self.pictures = np.array([pair for pair in pairs if pair[1] is not None], np.int64).reshape(-1, 2)
        self._texts: list[str] | None = None
        self._oracle: dict[tuple[str, ...], list[int]] = {}  # by all that it depends on, for the levels to come

    def apply(self, control: str, rows: "Sequence[PreparedRow]") -> "list[PreparedRow]":
        change = {"shuffled": self._shuffled, "oracle": self._with_oracle}[control]
        return [replace(row, evidence=change(row)) for row in rows]

    def _shuffled(self, row: "PreparedRow") -> "RowEvidence":
        text, image = row.evidence.text, row.evidence.image
        seen = {row.damaged.row["image_sha256"]} | {entry.image_sha256 for entry in (*text.entries, *image.entries)}
        rng = np.random.default_rng(zlib.crc32(f"shuffled {row.row_id}".encode()))
        k = len(text.ids)
        drawn = rng.choice(len(self.pictures), min(len(self.pictures), k + len(seen)), replace=False)
        sha256s = self.retriever.text_index.image_sha256s
        others = [pair for pair in self.pictures[drawn] if sha256s[pair[0]] not in seen][:k]
        return replace(
            row.evidence,
            text=self._hits("text", [pair[0] for pair in others], text.scores, text.mask),
            image=self._hits("image", [pair[1] for pair in others], image.scores, image.mask),
        )

    def _with_oracle(self, row: "PreparedRow") -> "RowEvidence":
        """What was retrieved stays where no picture says an answer."""
        asked = row.damaged.row
        key = (asked["image_sha256"], asked["question"], *asked["answers"])
        if key not in self._oracle:
            self._oracle[key] = self._says_answer(row)
        places = self._oracle[key][: len(row.evidence.text.ids)]
        if not places:
            return row.evidence
        text_ids, image_ids = self.pictures[places].T
        question = self.retriever.text_encoder.encode([row.damaged.row["question"]])[0]
        mask = np.arange(len(row.evidence.text.ids)) < len(places)
        return replace(
            row.evidence,
            text=self._hits("text", text_ids, self._scores("text", text_ids, question, mask), mask),
            image=self._hits(
                "image", image_ids, self._scores("image", image_ids, row.evidence.image_query, mask), mask
            ),
        )

    def _says_answer(self, row: "PreparedRow") -> list[int]:
        """Places in `pictures`, those nearest to the question first, the row's own picture not among them."""
        index = self.retriever.text_index
        if self._texts is None:
            self._texts = [_plain(index.entry(entry).pseudo_text) for entry in self.pictures[:, 0].tolist()]
        answers = [_plain(answer) for answer in row.damaged.row["answers"] if _plain(answer)]
        own, sha256s = row.damaged.row["image_sha256"], index.image_sha256s
        found = [
            place
            for place, text in enumerate(self._texts)
            if any(says(text, answer) for answer in answers) and sha256s[self.pictures[place, 0]] != own
        ]
        if not found:
            return []
        question = self.retriever.text_encoder.encode([row.damaged.row["question"]])[0]
        scores = index.vectors(self.pictures[found, 0]) @ question
        return [found[place] for place in np.argsort(-scores, kind="stable").tolist()]

    def _scores(self, kind: str, ids: np.ndarray, query: np.ndarray, mask: np.ndarray) -> np.ndarray:
        index = self.retriever.text_index if kind == "text" else self.retriever.image_index
        scores = np.zeros(len(mask), np.float32)
        scores[mask] = index.vectors(ids) @ query
        return scores

    def _hits(self, kind: str, ids: Sequence[int] | np.ndarray, scores: np.ndarray, mask: np.ndarray) -> "RowHits":
        """The first of `ids` in the places of real hits, with those scores."""
        filled = np.full(len(mask), NO_HIT, np.int64)
        mask = mask & (np.cumsum(mask) <= len(ids))
        filled[mask] = np.asarray(ids, np.int64)[: int(mask.sum())]
        scores = np.where(mask, scores, np.float32(0))
        index = self.retriever.text_index if kind == "text" else self.retriever.image_index
        weights = softmax_weights(scores[None], mask[None])
        return self.retriever.rows(index, Hits(filled[None], scores[None], weights, mask[None]))[0]


def says(text: str, answer: str) -> bool:
    """Whether the words of `answer` stand in `text`: 12 is not said by 123."""
    return answer in text and re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) is not None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
