"""From prepared rows to what a training step takes; a row that does not fit is left out and the step goes on."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from r3pp_core.model.collation import Batch, EncodedRow, collate_encoded, encode_row, split_by_length, words_by_trust
from r3pp_core.model.config import ARMS, Arm
from r3pp_core.model.preparation import Preparation, PreparedRow, RejectedRow
from r3pp_core.model.probe import probe_row

TEACHER = ARMS["base_ocr"]


@dataclass(frozen=True)
class RankStep:
    """One rank's part of a step: its micro-batches, and the rows that were left out of them."""

    batches: list[Batch]
    rejected: list[RejectedRow]


class Batcher:
    """Encodes and collates on the CPU, for one model; in any one thread, with a tokenizer of its own.

    `for_teacher`: batches hold their rows' clean view as well, with the picture's text and without evidence.
    """

    def __init__(
        self, model: Any, batch_size: int, max_length: int, *, arm: Arm = ARMS["r3"], for_teacher: bool = False
    ) -> None:
        self.tokenizer = copy.deepcopy(model.tokenizer)  # a call changes its state
        self.config, self.merge_size = model.config, model.merge_size
        self.batch_size, self.max_length = batch_size, max_length
        self.arm, self.for_teacher = arm, for_teacher

    def step(self, prepared: Preparation, *, all_words: bool = False) -> RankStep:
        """Rows of similar length share a micro-batch, so little is padded. `all_words`: also where none are needed."""
        rows = prepared.rows
        if self.config.use_confidence and not all_words:
            rows = words_by_trust(rows, self.config, [row.damaged.c_text for row in rows])
        encoded = [self._encode(row, self.arm) for row in rows]
        fitting, too_long = split_by_length(encoded, self.max_length)
        clean: dict[str, EncodedRow] = {}
        if self.for_teacher:
            seen, too_long_clean = split_by_length(
                [self._encode(one.row.undamaged(), TEACHER) for one in fitting], self.max_length
            )
            clean = {one.row.row_id: one for one in seen}
            too_long = too_long + too_long_clean
            fitting = [one for one in fitting if one.row.row_id in clean]
        fitting.sort(key=lambda one: one.length)
        size = self.batch_size
        cut = [fitting[start : start + size] for start in range(0, len(fitting), size)]
        batches = [self._collate(part, [clean[one.row.row_id] for one in part if clean]) for part in cut]
        return RankStep(batches, [*prepared.rejected, *too_long])

    def stand_in(self, image_processor: Any) -> Batch:
        """A batch that weighs nothing, for a rank that has fewer than the others."""
        probe = probe_row(self.config, image_processor)
        clean = [self._encode(probe.undamaged(), TEACHER)] if self.for_teacher else []
        return self._collate([self._encode(probe, self.arm)], clean)

    def _encode(self, row: PreparedRow, arm: Arm) -> EncodedRow:
        return encode_row(row, self.tokenizer, self.config, arm, True, self.merge_size)

    def _collate(self, rows: Sequence[EncodedRow], clean: Sequence[EncodedRow]) -> Batch:
        batch = collate_encoded(rows, self.tokenizer, self.config, arm=self.arm, padding_side="right")
        if not clean:
            return batch
        return replace(
            batch, clean=collate_encoded(clean, self.tokenizer, self.config, arm=TEACHER, padding_side="right")
        )
