"""Two steps on the longest rows, a save, a reload and a validation: what would fail in hour nine fails now."""

import heapq
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from r3pp_core.errors import R3Error
from r3pp_core.jsonl import read_jsonl
from r3pp_core.model.collation import Batch
from r3pp_core.progress import Progress
from r3pp_core.training import checkpoints
from r3pp_core.training.capacity.check import message
from r3pp_core.training.capacity.held import held_bytes
from r3pp_core.training.capacity.memory import Held
from r3pp_core.training.capacity.plan import Plan, in_words
from r3pp_core.training.config import TrainConfig
from r3pp_core.training.log import Send
from r3pp_core.training.setup import Training, set_up
from r3pp_core.training.step import train_step
from r3pp_core.training.validation import validation_loss

NUM_STEPS = 2
CANDIDATES_A_ROW = 4  # rows whose pictures are opened, for each that a step takes: the longest by text


@dataclass(frozen=True)
class Rehearsed:
    """What two steps took, the slowest rank and the fullest card counted."""

    num_tokens: int
    step_s: float
    peak_bytes: int | None
    held: Held
    checkpoint_bytes: int
    save_s: float
    reload_s: float
    val_loss: float | None


def rehearse(config: TrainConfig, send: Send, progress: Progress) -> Rehearsed:
    """Every rank calls this. Nothing stays but the messages. Raises what the run itself would raise."""
    trial = config.model_copy(
        update={
            "output_dir": str(config.run_dir / "rehearsal"),
            "run": None,
            "resume": "never",
            "keep": 1,
            "eval_rows": config.batch_size if config.eval_rows else 0,
        }
    )
    plans: list[Plan] = []
    with _folder(trial.run_dir):
        run = set_up(trial, progress, plans.append)
        send("plan", **message(plans[0]))
        found = _measured(run)
        send("rehearsed", text=told(found, plans[0], config))
        run.group.gather(None)
        run.group.leave()
    return found


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measured(run: Training) -> Rehearsed:
    batches = _longest(run)
    run.model.train()
    times = []
    for _ in range(NUM_STEPS):
        start = time.monotonic()
        train_step(run.backend, batches, run.config, run.teacher, run.stand_in)
        if run.teacher:
            run.teacher.update(run.step)
        run.step += 1
        times.append(time.monotonic() - start)
    held = held_bytes(run)
    start = time.monotonic()
    saved = checkpoints.save(run, {})
    save_s = time.monotonic() - start
    start = time.monotonic()
    checkpoints.restore(saved, run)
    reload_s = time.monotonic() - start
    val_loss = validation_loss(run)[0]["val_loss"] if run.val_rows else None
    size = sum(path.stat().st_size for path in saved.rglob("*") if path.is_file())
    peak = _peak_bytes()
    told_by_all = run.group.gather((times[-1], peak, sum(int(batch.attention_mask.sum()) for batch in batches)))
    peaks = [one for _, one, _ in told_by_all if one is not None]
    return Rehearsed(
        num_tokens=sum(tokens for _, _, tokens in told_by_all),
        step_s=max(seconds for seconds, _, _ in told_by_all),
        peak_bytes=max(peaks) if peaks else None,
        held=held,
        checkpoint_bytes=size,
        save_s=save_s,
        reload_s=reload_s,
        val_loss=val_loss,
    )


def _longest(run: Training) -> list[Batch]:
    """This rank's micro-batches of the longest rows that fit into max_length."""
    wanted = run.rows_a_rank * run.group.size
    lengths = enumerate(len(row["question"]) + len(row["pseudo_text"]) for row in read_jsonl(run.train_rows.path))
    longest = heapq.nlargest(CANDIDATES_A_ROW * wanted, lengths, key=lambda item: item[1])
    mine = [number for number, _ in longest[run.group.rank :: run.group.size]]
    error, batches = None, []
    try:
        prepared = run.preparer.prepare([run.train_rows.row(number) for number in mine], level=0.0)
        batches = run.batcher.step(prepared, all_words=True).batches[-run.config.grad_accum :]
    except R3Error as met:
        error = met
    run.group.raise_together(error)
    if not any(run.group.gather(len(batches))):
        raise R3Error(f"none of the {len(longest)} longest rows of {run.train_rows.path} can be used")
    return batches


def _peak_bytes() -> int | None:
    import torch

    return int(torch.cuda.max_memory_reserved()) if torch.cuda.is_available() else None


def told(found: Rehearsed, made: Plan, config: TrainConfig) -> str:
    """What was measured, beside what was planned."""
    planned = made.demand.held
    lines = [f"rehearsal: {NUM_STEPS} steps of the longest rows ({found.num_tokens} tokens a step), saved and reloaded"]
    for name in ("weights", "gradients", "optimizer", "teacher"):
        lines.append(
            f"  {name:<12}{in_words(getattr(found.held, name)):>12}, planned {in_words(getattr(planned, name))}"
        )
    if found.peak_bytes is not None:
        lines.append(f"  {'peak':<12}{in_words(found.peak_bytes):>12}, planned {in_words(made.demand.total)}")
    hours = config.max_steps * found.step_s / 3600
    lines.append(f"  a step {found.step_s:.2f} s: {config.max_steps} steps take at most {hours:.1f} h")
    lines.append(
        f"  a checkpoint {found.checkpoint_bytes / 1e9:.3f} GB (planned {made.demand.checkpoint_bytes / 1e9:.3f}), "
        f"saved in {found.save_s:.1f} s, reloaded in {found.reload_s:.1f} s"
    )
    if found.val_loss is not None:
        lines.append(f"  validation loss of one batch after reloading {found.val_loss:.4f}")
    return "\n".join(lines)
