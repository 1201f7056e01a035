"""The validation loss: the answer's cross-entropy on fixed clean rows."""

from collections.abc import Callable
from typing import Any

import numpy as np

from r3pp_core.model.preparation import Preparer, RejectedRow, refuse_nothing_usable
from r3pp_core.training.batches import training_batch
from r3pp_core.training.config import TrainConfig
from r3pp_core.training.order import RowFile


def validation_loss(
    model: Any,
    preparer: Preparer,
    rows: RowFile,
    config: TrainConfig,
    tell: Callable[[list[RejectedRow]], None],
) -> dict[str, float]:
    """Mean over answer tokens at level 0, and how many rows it is over; the same rows every time.

    `tell` gets the rows that were left out. Raises R3Error when none is left.
    """
    import torch

    chosen = np.linspace(0, len(rows) - 1, min(config.eval_rows, len(rows))).round().astype(int)
    ce_sum, num_tokens, num_rows = 0.0, 0, 0
    left_out: list[RejectedRow] = []
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(chosen), config.batch_size):
                part = [rows.row(int(number)) for number in chosen[start : start + config.batch_size]]
                batch, rejected = training_batch(model, preparer.prepare(part, level=0.0), config.max_length)
                left_out += rejected
                if batch is None:
                    continue
                losses = model(batch)
                ce_sum += float(losses.ce_sum)
                num_tokens += losses.num_answer_tokens
                num_rows += len(batch.row_ids)
    finally:
        model.train()
    tell(left_out)
    if not num_rows:
        refuse_nothing_usable(left_out)
    return {"val_loss": ce_sum / num_tokens, "val_rows": num_rows}
