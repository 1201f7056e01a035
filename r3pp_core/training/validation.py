"""The validation loss: the answer's cross-entropy on fixed clean rows."""

import numpy as np

from r3pp_core.errors import R3Error
from r3pp_core.model.collation import to_device
from r3pp_core.model.preparation import RejectedRow, refuse_nothing_usable
from r3pp_core.training.batches import Batcher, RankStep
from r3pp_core.training.setup import Training


def validation_loss(run: Training) -> tuple[dict[str, float], list[RejectedRow]]:
    """Mean over answer tokens at level 0, and how many rows it is over; the same rows every time, shared by the ranks.

    Besides, the rows that were left out. Raises R3Error when none is left.
    """
    import torch

    rows, config, group, model = run.val_rows, run.config, run.group, run.model
    assert rows is not None, "asked for with eval_rows"
    chosen = np.linspace(0, len(rows) - 1, min(config.eval_rows, len(rows))).round().astype(int)
    mine = [int(number) for number in chosen[group.rank :: group.size]]
    batcher = Batcher(model, config.batch_size, config.max_length, arm=run.batcher.arm)
    ce_sum, num_tokens, num_rows = 0.0, 0, 0
    left_out: list[RejectedRow] = []
    most_rows = -(-len(chosen) // group.size)
    model.eval()
    try:
        with torch.no_grad():
            for start in range(0, most_rows, config.batch_size):
                part = _prepared(run, batcher, mine[start : start + config.batch_size])
                left_out += part.rejected
                batch = part.batches[0] if part.batches else run.stand_in
                if batch is None:
                    continue
                losses = model(to_device(batch, model.device))
                if part.batches:
                    ce_sum += float(losses.ce_sum)
                    num_tokens += losses.num_answer_tokens
                    num_rows += len(batch.row_ids)
    finally:
        model.train()
    told = group.gather((ce_sum, num_tokens, num_rows, left_out))
    left_out = [row for _, _, _, rejected in told for row in rejected]
    ce_sum, num_tokens, num_rows = (sum(values) for values in zip(*(one[:3] for one in told), strict=True))
    if not num_rows:
        refuse_nothing_usable(left_out)
    return {"val_loss": ce_sum / num_tokens, "val_rows": num_rows}, left_out


def _prepared(run: Training, batcher: Batcher, numbers: list[int]) -> RankStep:
    """One batch. A failure becomes that of all ranks."""
    assert run.val_rows is not None
    error, part = None, RankStep([], [])
    try:
        part = batcher.step(run.preparer.prepare([run.val_rows.row(number) for number in numbers], level=0.0))
    except R3Error as met:
        error = met
    run.group.raise_together(error)
    return part
