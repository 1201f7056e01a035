"""The validation loss: the answer's cross-entropy on fixed clean rows."""

from typing import Any

import numpy as np

from r3pp_core.model.collation import collate, to_device
from r3pp_core.model.preparation import Preparer
from r3pp_core.training.config import TrainConfig
from r3pp_core.training.order import RowFile


def validation_loss(model: Any, preparer: Preparer, rows: RowFile, config: TrainConfig) -> dict[str, float]:
    """Mean over answer tokens at level 0, and how many rows it is over; the same rows every time."""
    import torch

    chosen = np.linspace(0, len(rows) - 1, min(config.eval_rows, len(rows))).round().astype(int)
    ce_sum, num_tokens, num_rows = 0.0, 0, 0
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(chosen), config.batch_size):
                part = [rows.row(int(number)) for number in chosen[start : start + config.batch_size]]
                prepared = preparer.prepare(part, level=0.0)
                if not prepared.rows:
                    continue
                batch = collate(
                    prepared.rows,
                    model.tokenizer,
                    model.config,
                    with_answers=True,
                    padding_side="right",
                    merge_size=model.merge_size,
                    max_length=config.max_length,
                )
                losses = model(to_device(batch, model.device))
                ce_sum += float(losses.ce_sum)
                num_tokens += losses.num_answer_tokens
                num_rows += len(prepared.rows)
    finally:
        model.train()
    return {"val_loss": ce_sum / max(1, num_tokens), "val_rows": num_rows}
