"""One optimizer step over the micro-batches of all ranks: the mathematics, without files or clocks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from r3pp_core.launch.failures import NonFiniteLossError
from r3pp_core.model.collation import Batch, to_device
from r3pp_core.training.config import TrainConfig
from r3pp_core.training.teacher import Teacher

TERMS = ("loss", "ce", "kl", "conf", "entropy", "router", "align")


@dataclass(frozen=True)
class StepResult:
    """Terms averaged as they entered the loss; gate and confidence as means over rows, None where the module is off.

    Everything is over all ranks. `is_skipped`: an fp16 gradient overflowed, so the loss scale fell and nothing moved.
    """

    terms: dict[str, float]
    grad_norm: float
    num_rows: int
    num_answer_tokens: int
    num_tokens: int
    gate: dict[str, float] | None
    confidence_error: float | None
    num_align_pairs: int
    is_skipped: bool


@dataclass
class _Seen:
    """What one rank saw in its micro-batches, for the others."""

    terms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TERMS, 0.0))
    gate: list[list[float]] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    num_align_pairs: int = 0
    not_finite: tuple[float, list[str]] | None = None


def train_step(
    backend: Any, batches: Sequence[Batch], config: TrainConfig, teacher: Teacher | None = None, stand_in: Any = None
) -> StepResult:
    """Forward, backward, clip, step. The answer loss is divided by the answer tokens of all micro-batches of all ranks.

    Alignment contrasts the rows of the whole step, so it does not depend on how they are cut into micro-batches.
    Ranks run equally many micro-batches: a rank that has fewer than `grad_accum` runs `stand_in`, which weighs nothing.

    Raises NonFiniteLossError on every rank, before the optimizer, naming the rows of the micro-batch whose loss, or of
    the step whose gradient, is not finite.
    """
    from r3pp_core.model.reconstruction import StepMeans, step_means

    group, model = backend.group, backend.model
    ids = [row for batch in batches for row in batch.row_ids]
    counts = (sum(batch.num_answer_tokens for batch in batches), sum(int(b.attention_mask.sum()) for b in batches))
    own_means = step_means([batch.evidence for batch in batches or [stand_in]])
    # A rank without a row gives its stand-in's means: as rows of no use.
    told = group.gather((ids, counts, own_means if batches else own_means.unused()))
    all_ids = [row for rank_ids, _, _ in told for row in rank_ids]
    num_answer_tokens = sum(tokens for _, (tokens, _), _ in told)
    means = StepMeans.joined([part for _, _, part in told]).to(model.device)

    run = list(batches)
    if group.size > 1:
        run += [stand_in] * (config.grad_accum - len(batches))
    teacher_logits = teacher.logits(run) if teacher else [None] * len(run)
    seen = _Seen()
    backend.zero_grad()
    for number, batch in enumerate(run):
        counts_once = number < len(batches)
        share = len(batch.row_ids) / len(all_ids) if counts_once else 0.0
        losses = backend.forward(to_device(batch, model.device), means if number == 0 else None, teacher_logits[number])
        per_token = 1 / num_answer_tokens if counts_once else 0.0
        loss = losses.total(config.losses, per_token, share, 1 / group.size)
        backend.backward(loss, is_last=number == len(run) - 1)
        _note(seen, losses, batch, float(loss.detach()), per_token, share, 1 / group.size)
    return _finish(backend, group.gather(seen), all_ids, num_answer_tokens, sum(told_[1][1] for told_ in told))


def _note(
    seen: _Seen, losses: Any, batch: Batch, loss: float, per_token: float, share: float, share_of_align: float
) -> None:
    import torch

    if loss - loss != 0 and seen.not_finite is None:
        seen.not_finite = loss, batch.row_ids
    terms = seen.terms
    terms["loss"] += loss
    terms["ce"] += per_token * float(losses.ce_sum.detach())
    terms["kl"] += per_token * float(losses.kl_sum.detach())
    for name in ("conf", "entropy", "router"):
        terms[name] += share * float(getattr(losses, name).detach())
    terms["align"] += share_of_align * float(losses.align.detach())
    seen.num_align_pairs += losses.num_align_pairs
    if not share:
        return
    if losses.gate is not None:
        seen.gate += losses.gate.detach().float().tolist()
    if losses.confidence is not None:
        truth = torch.stack([batch.evidence.c_vis, batch.evidence.c_text], dim=-1)
        seen.errors += (losses.confidence.detach().cpu() - truth).abs().mean(dim=-1).tolist()


def _finish(
    backend: Any, ranks: Sequence[_Seen], row_ids: list[str], num_answer_tokens: int, num_tokens: int
) -> StepResult:
    """Update the weights, unless a rank saw a loss that is not finite."""
    for seen in ranks:
        if seen.not_finite:
            raise NonFiniteLossError(_message("loss", *seen.not_finite))
    update = backend.update()
    if not update.is_done and (backend.is_scale_exhausted or not backend.may_skip):
        raise NonFiniteLossError(_message("gradient norm", update.grad_norm, row_ids))
    gate = [row for seen in ranks for row in seen.gate]
    errors = [error for seen in ranks for error in seen.errors]
    names = ("text", "image", "vision")
    return StepResult(
        terms={name: sum(seen.terms[name] for seen in ranks) for name in TERMS},
        grad_norm=update.grad_norm,
        num_rows=len(row_ids),
        num_answer_tokens=num_answer_tokens,
        num_tokens=num_tokens,
        gate={name: sum(row[n] for row in gate) / len(gate) for n, name in enumerate(names)} if gate else None,
        confidence_error=sum(errors) / len(errors) if errors else None,
        num_align_pairs=ranks[0].num_align_pairs,
        is_skipped=not update.is_done,
    )


def _message(what: str, value: float, row_ids: list[str]) -> str:
    return (
        f"the {what} is {value} in the rows {', '.join(row_ids)}; the weights were not touched by it. "
        "Look at these rows, or lower the learning rate, and resume"
    )
