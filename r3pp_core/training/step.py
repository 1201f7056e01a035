"""One optimizer step over several micro-batches: the mathematics, without files or clocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from r3pp_core.launch.failures import NonFiniteLossError
from r3pp_core.model.collation import Batch
from r3pp_core.training.config import TrainConfig


@dataclass(frozen=True)
class StepResult:
    """Terms averaged as they entered the loss; gate and confidence as means over rows, None where the module is off."""

    terms: dict[str, float]
    grad_norm: float
    num_rows: int
    num_answer_tokens: int
    num_tokens: int
    gate: dict[str, float] | None
    confidence_error: float | None
    num_align_pairs: int


def train_step(model: Any, optimizer: Any, scaler: Any, batches: Sequence[Batch], config: TrainConfig) -> StepResult:
    """Forward, backward, clip, step. The answer loss is divided by the answer tokens of all micro-batches together.

    Alignment contrasts the rows of the whole step, so it does not depend on how they are cut into micro-batches.

    Raises NonFiniteLossError, before the optimizer, naming the rows of the micro-batch whose loss, or of the step whose
    gradient, is not finite.
    """
    import torch

    from r3pp_core.model.reconstruction import step_means

    num_answer_tokens = sum(batch.num_answer_tokens for batch in batches)
    num_rows = sum(len(batch.row_ids) for batch in batches)
    terms = dict.fromkeys(("loss", "ce", "conf", "entropy", "router", "align"), 0.0)
    gates, errors, num_align_pairs = [], [], 0
    optimizer.zero_grad(set_to_none=True)
    means = step_means([batch.evidence for batch in batches])
    for number, batch in enumerate(batches):
        share = len(batch.row_ids) / num_rows
        losses = model(batch, means if number == 0 else None)
        loss = losses.total(config.losses, num_answer_tokens, share)
        if not bool(torch.isfinite(loss)):
            raise NonFiniteLossError(_message("loss", float(loss), batch.row_ids))
        (loss if scaler is None else scaler.scale(loss)).backward()
        terms["loss"] += float(loss.detach())
        terms["ce"] += float(losses.ce_sum.detach()) / num_answer_tokens
        for name in ("conf", "entropy", "router"):
            terms[name] += share * float(getattr(losses, name).detach())
        terms["align"] += float(losses.align.detach())
        num_align_pairs += losses.num_align_pairs
        if losses.gate is not None:
            gates.append(losses.gate.detach().float())
        if losses.confidence is not None:
            truth = torch.stack([batch.evidence.c_vis, batch.evidence.c_text], dim=-1)
            errors.append((losses.confidence.detach() - truth).abs().mean(dim=-1))
    grad_norm = _update(model, optimizer, scaler, [row for batch in batches for row in batch.row_ids], config)
    gate = torch.cat(gates).mean(dim=0).tolist() if gates else None
    return StepResult(
        terms=terms,
        grad_norm=grad_norm,
        num_rows=num_rows,
        num_answer_tokens=num_answer_tokens,
        num_tokens=sum(int(batch.attention_mask.sum()) for batch in batches),
        gate=dict(zip(("text", "image", "vision"), gate, strict=True)) if gate else None,
        confidence_error=float(torch.cat(errors).mean()) if errors else None,
        num_align_pairs=num_align_pairs,
    )


def _update(model: Any, optimizer: Any, scaler: Any, row_ids: list[str], config: TrainConfig) -> float:
    import torch

    if scaler is not None:
        scaler.unscale_(optimizer)
    grad_norm = float(torch.nn.utils.clip_grad_norm_(model.trainable().values(), config.max_grad_norm))
    if scaler is not None:
        scaler.step(optimizer)  # skips the step, and lowers its scale, when a gradient overflowed
        scaler.update()
    elif grad_norm == grad_norm and abs(grad_norm) != float("inf"):
        optimizer.step()
    else:
        raise NonFiniteLossError(_message("gradient norm", grad_norm, row_ids))
    return grad_norm


def _message(what: str, value: float, row_ids: list[str]) -> str:
    return (
        f"the {what} is {value} in the rows {', '.join(row_ids)}; the weights were not touched by it. "
        "Look at these rows, or lower the learning rate, and resume"
    )
