"""The asking itself, shard by shard, each kept at once: an interrupted evaluation goes on where it stood.

A shard is one JSONL file, whole or not there: how it was answered, then a line for every answer and one for every row
that was left out. No batch crosses its border, so its bytes do not depend on who answers the others.
"""

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from r3pp_core.artefact import sync, unfinished
from r3pp_core.errors import R3Error
from r3pp_core.evaluation.plan import EvaluationPlan
from r3pp_core.evaluation.subjects import Subject
from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.launch.run_dir import StopPoint, no_stop
from r3pp_core.model.collation import words_of
from r3pp_core.model.config import ARMS, Arm, R3Config
from r3pp_core.model.prompt import evidence_text, shown_ocr_text
from r3pp_core.progress import Progress

if TYPE_CHECKING:
    from r3pp_core.model.preparation import Preparation, PreparedRow

SAY_EVERY_S = 5.0
NUM_DAMAGERS = 4  # threads that decode and damage the next batch's pictures


@dataclass(frozen=True)
class Shard:
    """`rejected`: {id, reason, detail}, each row once. `dtype`: in which the model answered."""

    dtype: str
    samples: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)


class _Batch(NamedTuple):
    shard: int
    level: float
    rows: Sequence[Mapping[str, Any]]


def answer_shards(
    plan: EvaluationPlan,
    subject: Subject,
    progress: Progress,
    rank: int = 0,
    num_ranks: int = 1,
    stop_point: StopPoint = no_stop,
) -> int:
    """Answer what rank `rank` of `num_ranks` has to and nobody has yet; returns the number of shards answered.

    Shard n belongs to rank n modulo `num_ranks`; `stop_point` is called before each. The model is loaded only
    where something is missing.
    """
    plan.shards_dir.mkdir(parents=True, exist_ok=True)
    own = range(rank, plan.num_shards, num_ranks)
    missing = [number for number in own if not _path(plan, number).is_file()]
    where = f" of rank {rank}" if num_ranks > 1 else ""
    if len(missing) < len(own) or num_ranks > 1:
        progress(f"{plan.request.stage}: {len(own)} shards{where}, {len(own) - len(missing)} answered before")
    if missing:
        stop_point()
        _Asking(plan, subject, missing, f"{plan.request.stage}{where}", progress).run(stop_point)
    return len(missing)


def read_shard(plan: EvaluationPlan, number: int) -> Shard:
    """Raises R3Error naming a file that is damaged, or lacks an answer."""
    path = _path(plan, number)
    if not path.is_file():
        raise R3Error(f"{path}, a part of the evaluation, is gone; evaluate again")
    lines = read_jsonl(path)
    shard = Shard(next(lines, {}).get("dtype", "unknown"))
    for line in lines:
        (shard.rejected if "reason" in line else shard.samples).append(line)
    left_out = {line["id"] for line in shard.rejected}
    asked = {
        (row["id"], arm, level) for row in plan.shard(number) for level in plan.levels for arm in plan.arms_at(level)
    }
    answered = Counter((line["id"], line["arm"], line["level"]) for line in shard.samples)
    wrong = [key for key in asked | answered.keys() if answered[key] != (key in asked) and key[0] not in left_out]
    if wrong:
        raise R3Error(
            f"{path} does not hold one answer to each question (for example {min(wrong)}); remove it and evaluate again"
        )
    return shard


def _path(plan: EvaluationPlan, number: int) -> Path:
    return plan.shards_dir / f"{number:06d}.jsonl"


class _Asking:
    """One process's shards, in order; the next batch is prepared while the model answers the present one."""

    def __init__(
        self, plan: EvaluationPlan, subject: Subject, missing: Sequence[int], what: str, progress: Progress
    ) -> None:
        self.plan, self.subject, self.what, self.progress = plan, subject, what, progress
        self.config = plan.config
        self.missing = missing
        self.num_generations = plan.answers_a_row * sum(len(plan.shard(number)) for number in missing)
        self.preparer = subject.preparer(plan.image_root, plan.config.damage, plan.config.seed)
        self.num_done, self.start = 0, time.monotonic()
        self.last_said = self.start

    def run(self, stop_point: StopPoint) -> None:
        current, shard = self.missing[0], Shard(self.subject.dtype)
        for batch, done in self._prepared():
            if batch.shard != current:
                self._write(current, shard)
                stop_point()
                current, shard = batch.shard, Shard(self.subject.dtype)
            said = {line["id"] for line in shard.rejected}
            shard.rejected.extend(
                {"id": row.row_id, "reason": row.reason, "detail": row.message}
                for row in done.rejected
                if row.row_id not in said
            )
            if done.rows:
                for arm in self.plan.arms_at(batch.level):
                    shard.samples.extend(self._ask(done.rows, arm))
        self._write(current, shard)

    def _write(self, number: int, shard: Shard) -> None:
        path = _path(self.plan, number)
        staging = unfinished(path)
        write_jsonl(staging, [{"dtype": shard.dtype}, *shard.samples, *shard.rejected])
        sync(staging)
        staging.replace(path)

    def _prepared(self) -> "Iterator[tuple[_Batch, Preparation]]":
        """Of each shard all batches, of each batch all levels: its pictures are decoded once."""
        size = self.config.batch_size
        batches = [
            _Batch(number, level, self.plan.shard(number)[start : start + size])
            for number in self.missing
            for start in range(0, len(self.plan.shard(number)), size)
            for level in self.plan.levels
        ]
        with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(NUM_DAMAGERS) as damagers:

            def prepare(batch: _Batch) -> "Preparation":
                return self.preparer.retrieve(
                    list(damagers.map(lambda row: self.preparer.damage(row, batch.level), batch.rows))
                )

            waiting = [ahead.submit(prepare, batch) for batch in batches[:1]]
            for batch, following in zip(batches, [*batches[1:], None], strict=True):
                done = waiting.pop().result()
                if following:
                    waiting.append(ahead.submit(prepare, following))
                yield batch, done

    def _ask(self, prepared: "list[PreparedRow]", arm: str) -> Iterator[dict[str, Any]]:
        prepared = self.subject.shown(prepared, arm)
        answers = self.subject.answer(prepared, arm, self.config.max_new_tokens)
        for row, answer in zip(prepared, answers, strict=True):
            yield sample(row, arm, answer, self.subject.config)
        is_first = self.num_done == 0
        self.num_done += len(prepared)
        now = time.monotonic()
        rate = self.num_done / (now - self.start)
        if is_first:
            self.progress(
                f"{self.what}: {self.num_generations} answers, about {self.num_generations / rate:.0f} s "
                f"at the pace of the first {self.num_done}"
            )
        elif now - self.last_said > SAY_EVERY_S:
            self.last_said = now
            left = (self.num_generations - self.num_done) / rate
            self.progress(
                f"{self.what}: {self.num_done} of {self.num_generations} answers, {rate:.0f}/s, about {left:.0f} s left"
            )


def sample(prepared: "PreparedRow", arm: str, answer: Any, config: R3Config) -> dict[str, Any]:
    """Everything about one answer, as one line of samples.jsonl. A number that is not finite is null."""
    damaged, row, shown = prepared.damaged, prepared.damaged.row, ARMS[arm]
    return {
        "id": row["id"],
        "dataset": row["dataset"],
        "split": row["split"],
        "image_path": row["image_path"],
        "image_sha256": row["image_sha256"],
        "question": row["question"],
        "asked": damaged.question,
        "answers": row["answers"],
        "prediction": answer.text,
        "is_cut": answer.is_cut,
        "arm": arm,
        "level": damaged.level,
        "meta": row["meta"],
        "operators": damaged.operators,
        "pseudo_text": shown_ocr_text(damaged.pseudo_text, config.prompt) if shown.ocr_text else None,
        "evidence": _evidence(prepared, shown),
        "words": evidence_text(words_of(prepared, config, shown), config.prompt.max_context_chars) or None,
        "gate": _rounded(answer.gate),
        "confidence": _rounded(answer.confidence),
        "truth": {"c_vis": damaged.c_vis, "c_text": damaged.c_text},
    }


def _rounded(values: dict[str, float] | None) -> dict[str, float | None] | None:
    """Digits that do not depend on how rows were batched."""
    return None if values is None else {name: _finite(value, 4) for name, value in values.items()}


def _finite(value: float, num_digits: int) -> float | None:
    return round(float(value), num_digits) if math.isfinite(value) else None


def _evidence(prepared: "PreparedRow", arm: Arm) -> list[dict[str, Any]]:
    """The hits that this arm gives the model: `weight` is a hit's share among those of its kind."""
    sides = {
        "text": prepared.evidence.text if arm.text_evidence else None,
        "image": prepared.evidence.image if arm.image_evidence and "visual_memory" not in arm.off else None,
    }
    return [
        {
            "image_path": entry.image_path,
            "image_sha256": entry.image_sha256,
            "score": _finite(score, 5),
            "weight": _finite(weight, 5),
            "modality": modality,
        }
        for modality, hits in sides.items()
        if hits is not None
        for entry, score, weight in zip(hits.entries, hits.scores[hits.mask], hits.weights[hits.mask], strict=True)
    ]
