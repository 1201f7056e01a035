"""Where a run's numbers go: messages to the launcher, metrics.jsonl, TensorBoard, and a line of progress at times."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from r3pp_core.errors import R3Error
from r3pp_core.model.collation import IGNORED, Batch
from r3pp_core.model.preparation import RejectedRow
from r3pp_core.progress import Progress, silent
from r3pp_core.training.config import TrainConfig
from r3pp_core.training.step import StepResult

Send = Callable[..., None]
TELL_EVERY_S = 5
MAX_PREVIEW_CHARS = 8000
CURVES = ("step", "validation")


class StepLog:
    """`metrics.jsonl` grows over restarts: where a step stands in it twice, the later line counts.

    Every rank holds one; only that which `speaks` writes and sends. What fails there is kept in `failure`, for all
    ranks to stop at the next boundary together.
    """

    def __init__(self, config: TrainConfig, send: Send, progress: Progress, first_step: int, speaks: bool) -> None:
        self.path = config.run_dir / "metrics.jsonl"
        self.speaks = speaks
        self.config = config
        self.failure: R3Error | None = None
        self._send = send
        self.progress: Progress = progress if speaks else silent
        self.first_step = first_step
        self.started = self.last = self.told = time.monotonic()
        self.has_preview = False
        self.num_rejected = 0
        self._tensorboard: Any = None

    def label_preview(self, tokenizer: Any, batch: Batch) -> None:
        """Once: the first row as the model sees it, what is supervised between « and »."""
        if self.has_preview:
            return
        self.has_preview = True
        ids, labels = batch.input_ids[0], batch.labels[0]
        shown = ids[(batch.attention_mask[0] == 1) & (labels == IGNORED)]
        text = f"{tokenizer.decode(shown)}«{tokenizer.decode(labels[labels != IGNORED])}»"
        self.progress(f"training: label preview of {batch.row_ids[0]}: {text}")
        self.send("label_preview", row_id=batch.row_ids[0], text=text[:MAX_PREVIEW_CHARS])

    def rejected(self, rows: list[RejectedRow]) -> None:
        """Named and counted each time, in a step or in a validation."""
        for row in rows:
            self.num_rejected += 1
            self.progress(f"training: left out {row.row_id}: {row.message}")
            self.send("rejected", row_id=row.row_id, reason=row.reason, message=row.message)

    def validation(self, step: int, metrics: dict[str, float]) -> None:
        self.send("validation", step=step, total_steps=self.config.max_steps, **metrics)
        self.progress(f"training: step {step}: validation loss {metrics['val_loss']:.4f}")

    def checkpoint(self, step: int, path: Path) -> None:
        self.send("checkpoint", step=step, path=str(path))

    def end(self, kind: str, step: int, checkpoint: Path, metrics: dict[str, float]) -> None:
        """`kind`: done or stopped."""
        self.send(kind, checkpoint=str(checkpoint), step=step, **metrics)

    def step(self, step: int, lr: float, level: float, result: StepResult, waited_s: float) -> None:
        now = time.monotonic()
        step_s, self.last = now - self.last, now
        per_step_s = (now - self.started) / (step - self.first_step)
        fields: dict[str, Any] = {
            "step": step,
            "total_steps": self.config.max_steps,
            **result.terms,
            "lr": lr,
            "level": level,
            "grad_norm": result.grad_norm,
            "gate": result.gate,
            "confidence_error": result.confidence_error,
            "align_pairs": result.num_align_pairs,
            "num_rows": result.num_rows,
            "num_answer_tokens": result.num_answer_tokens,
            "is_skipped": result.is_skipped,
            "num_rejected": self.num_rejected,
            "tokens_per_s": result.num_tokens / max(step_s, 1e-9),
            "data_wait_share": min(1.0, waited_s / max(step_s, 1e-9)),
            "memory_bytes": _memory_bytes(),
            "seconds_left": per_step_s * (self.config.max_steps - step),
        }
        self.send("step", **fields)
        if now - self.told >= TELL_EVERY_S or step == self.config.max_steps:
            self.told = now
            left = f"about {fields['seconds_left']:.0f} s left"
            self.progress(f"training: step {step} of {self.config.max_steps}, loss {result.terms['loss']:.4f}, {left}")

    def close(self) -> None:
        if self._tensorboard:
            self._tensorboard.close()

    def _write(self, kind: str, fields: dict[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(orjson.dumps({"kind": kind, **fields}, option=orjson.OPT_APPEND_NEWLINE))
        from tensorboardX import SummaryWriter
        from tensorboardX.proto.summary_pb2 import Summary

        if self._tensorboard is None:
            # What an interrupted run wrote beyond its last checkpoint is dropped by the viewer.
            folder = self.path.parent / "tensorboard"
            self._tensorboard = SummaryWriter(str(folder), purge_step=self.first_step + 1)
        # One event for all of them: `add_scalar` writes one for each, which takes eight times as long.
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in _scalars(fields, f"{kind}/").items()]
        self._tensorboard.file_writer.add_summary(Summary(value=values), fields["step"])

    def send(self, kind: str, **fields: Any) -> None:
        if not self.speaks:
            return
        try:
            if kind in CURVES:
                self._write(kind, fields)
            self._send(kind, **fields)
        except OSError as error:
            self.failure = self.failure or R3Error(f"{self.path} does not take more ({error}); free some space")
        except R3Error as error:
            self.failure = self.failure or error


def _scalars(fields: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """Numbers by tag; those of a mapping below its name."""
    found: dict[str, float] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            found |= _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            found[f"{prefix}{name}"] = float(value)
    return found


def _memory_bytes() -> int:
    """Peak memory of the card, or what this process holds."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return int(psutil.Process().memory_info().rss)
