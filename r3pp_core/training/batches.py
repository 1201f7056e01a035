"""From prepared rows to what a training step takes; a row that does not fit is left out and the step goes on."""

from collections.abc import Sequence
from typing import Any

from r3pp_core.model.collation import Batch, collate_encoded, encode_row, split_by_length, to_device
from r3pp_core.model.config import ARMS
from r3pp_core.model.preparation import Preparation, RejectedRow


def training_batch(model: Any, prepared: Preparation, max_length: int) -> tuple[Batch | None, list[RejectedRow]]:
    """Rows with their answers on the model's device, None where no row is usable; and every row that was left out."""
    arm = ARMS["r3"]
    encoded = [encode_row(row, model.tokenizer, model.config, arm, True, model.merge_size) for row in prepared.rows]
    fitting, too_long = split_by_length(encoded, max_length)
    rejected = [*prepared.rejected, *too_long]
    if not fitting:
        return None, rejected
    batch = collate_encoded(fitting, model.tokenizer, model.config, arm=arm, padding_side="right")
    return to_device(batch, model.device), rejected


def step_batches(model: Any, prepared: Sequence[Preparation], max_length: int) -> tuple[list[Batch], list[RejectedRow]]:
    """A step's micro-batches, less those without a usable row, and the rows that were left out of the step."""
    made = [training_batch(model, part, max_length) for part in prepared]
    batches = [batch for batch, _ in made if batch is not None]
    return batches, [row for _, rejected in made for row in rejected]
