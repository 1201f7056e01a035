"""The sweep: every chosen row, at every level, asked in every arm; pictures are prepared once a level.

An evaluation is an artefact: samples.jsonl with everything about every answer, and results.json with the scores.
"""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3pp_core.artefact import (
    Manifest,
    Outcome,
    Request,
    Target,
    build,
    content_hash_of,
    hash_json,
    is_whole,
    read_manifest,
)
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.evaluation.config import EvaluateConfig
from r3pp_core.evaluation.metric_set import chosen_metrics
from r3pp_core.evaluation.rows import choose_rows
from r3pp_core.evaluation.scoring import score_samples
from r3pp_core.evaluation.subjects import Subject
from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.progress import Progress, silent

if TYPE_CHECKING:
    from r3pp_core.model.preparation import Preparation, PreparedRow

CODE_VERSION = "1"
SCORING_FIELDS = {"text_overlap"}  # of the config: they change what is computed of an answer, not the answer
PRIMARY = {name: spec.metric for name, spec in DATASETS.items()}


def evaluate(
    subject: Subject,
    table: Path,
    image_root: Path,
    out_dir: Path,
    config: EvaluateConfig = EvaluateConfig(),
    progress: Progress = silent,
    *,
    force: bool = False,
) -> Manifest:
    """Ask `subject` every arm of the config and write `out_dir/samples.jsonl` and `out_dir/results.json`.

    Rows whose picture cannot be opened go to rejected.jsonl, counted. Answers that `out_dir` holds are kept when only
    other scores of them are asked for. Raises UsageError for an arm that the subject cannot be asked in or a level
    outside 0..1, R3Error when nothing can be scored.
    """
    _check_config(config, subject)
    metrics = chosen_metrics(config.text_overlap)
    rows, num_answerless = choose_rows(table, config.rows_per_dataset, config.seed)
    request = Request(
        stage=f"evaluation/{subject.name}",
        code_version=CODE_VERSION,
        config=config.model_dump(exclude={"batch_size"}),
        inputs={
            "table": content_hash_of(table),
            "max_pixels": str(subject.max_pixels),
            "prompt": hash_json(subject.prompt),
            **subject.hashes,
        },
    )

    def ask(staging: Path) -> Outcome:
        num_generations = sum(len(config.arms_at(level)) for level in config.all_levels) * len(rows)
        progress(f"evaluation/{subject.name}: {len(rows)} rows, {num_generations} answers to generate")
        sweep = _Sweep(subject, image_root, config, num_generations, progress)
        samples = sorted(sweep.samples(rows), key=lambda sample: (sample["arm"], sample["level"], sample["id"]))
        if not samples:
            raise R3Error(f"{table}: no row could be evaluated; first reason: {sweep.rejected[0]['detail']}")
        write_jsonl(staging / "samples.jsonl", samples)
        write_jsonl(staging / "rejected.jsonl", sweep.rejected)
        return Outcome(
            counts={
                "rows": len(rows),
                "samples": len(samples),
                "rows_without_answer": num_answerless,
                "pictures": len({row["image_sha256"] for row in rows}),
            },
            left_out=Counter(row["reason"] for row in sweep.rejected),
        )

    def make(staging: Path) -> Outcome:
        outcome = None if force else _finished_answers(Target(out_dir), request, staging, progress)
        outcome = outcome or ask(staging)
        described = signature(subject, table, config)
        results = score_samples(read_jsonl(staging / "samples.jsonl"), PRIMARY, config.seed, described, metrics)
        (staging / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        return outcome

    return build(Target(out_dir), request, make, force=force, progress=progress)


def _finished_answers(target: Target, request: Request, staging: Path, progress: Progress) -> Outcome | None:
    """Copy the answers of an evaluation that differs in its scores only; None where there is none."""
    manifest = read_manifest(target)
    if manifest is None or not is_whole(target, manifest):
        return None
    old = Request(manifest.stage, manifest.code_version, _without_scoring(manifest.config), manifest.inputs)
    if old != replace(request, config=_without_scoring(request.config)):
        return None
    progress(f"{request.stage}: the answers of {target.folder} stand, only their scores are made again")
    for name in ("samples.jsonl", "rejected.jsonl"):
        shutil.copyfile(target.folder / name, staging / name)
    return Outcome(manifest.counts, manifest.left_out, manifest.details)


def _without_scoring(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in SCORING_FIELDS}


def _check_config(config: EvaluateConfig, subject: Subject) -> None:
    for level in [*config.levels, *config.ablation_levels]:
        if not 0 <= level <= 1:
            raise UsageError(f"damage level {level} is outside 0..1")
    if not any(config.arms_at(level) for level in config.all_levels):
        raise UsageError("nothing to evaluate: name at least one arm and one level")
    for arm in [*config.arms, *config.ablations]:
        if arm not in subject.arms:
            raise UsageError(f"arm {arm!r} does not fit {subject.name}: choose from {', '.join(subject.arms)}")


def signature(subject: Subject, table: Path, config: EvaluateConfig) -> dict[str, Any]:
    """What has to be equal for two scores to be comparable."""
    return {
        "data_hash": content_hash_of(table),
        "model_hash": subject.hashes["model"],
        "prompt": subject.prompt,
        "max_pixels": subject.max_pixels,
        "decoding": f"greedy, at most {config.max_new_tokens} tokens",
        "damage": config.damage,
        "rows_per_dataset": config.rows_per_dataset,
        "seed": config.seed,
    }


class _Sweep:
    def __init__(
        self, subject: Subject, image_root: Path, config: EvaluateConfig, num_generations: int, progress: Progress
    ) -> None:
        self.subject, self.config, self.progress = subject, config, progress
        self.num_generations, self.num_done, self.start = num_generations, 0, time.monotonic()
        self.last_said = self.start
        self.rejected: list[dict[str, Any]] = []
        self._said: set[str] = set()
        self.preparer = subject.preparer(image_root, config.damage, config.seed)

    def samples(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        rows = sorted(rows, key=lambda row: len(row["pseudo_text"]) + len(row["question"]))  # little padding
        for level, done in self._prepared(rows):
            self._reject(done.rejected)
            if done.rows:
                for arm in self.config.arms_at(level):
                    yield from self._ask(done.rows, arm)

    def _prepared(self, rows: Sequence[Mapping[str, Any]]) -> "Iterator[tuple[float, Preparation]]":
        """Every level's batches in order; the next one is prepared while the model answers the present one."""
        size = self.config.batch_size
        batches = [
            (level, rows[start : start + size])
            for level in self.config.all_levels
            for start in range(0, len(rows), size)
        ]
        with ThreadPoolExecutor(1) as pool:
            ahead = [pool.submit(self.preparer.prepare, part, level) for level, part in batches[:1]]
            for (level, _), following in zip(batches, [*batches[1:], None], strict=True):
                done = ahead.pop().result()
                if following:
                    ahead.append(pool.submit(self.preparer.prepare, following[1], following[0]))
                yield level, done

    def _ask(self, prepared: "list[PreparedRow]", arm: str) -> Iterator[dict[str, Any]]:
        answers = self.subject.answer(prepared, arm, self.config.max_new_tokens)
        for row, answer in zip(prepared, answers, strict=True):
            yield sample(row, arm, answer)
        self.num_done += len(prepared)
        now = time.monotonic()
        if now - self.last_said > 5:
            self.last_said = now
            rate = self.num_done / (now - self.start)
            left = (self.num_generations - self.num_done) / rate
            self.progress(
                f"evaluation/{self.subject.name}: {self.num_done} of {self.num_generations} answers, "
                f"{rate:.0f}/s, about {left:.0f} s left"
            )

    def _reject(self, rejected: Sequence[Any]) -> None:
        for row in rejected:
            if row.row_id not in self._said:
                self._said.add(row.row_id)
                self.rejected.append({"id": row.row_id, "reason": row.reason, "detail": row.message})


def sample(prepared: "PreparedRow", arm: str, answer: Any) -> dict[str, Any]:
    """Everything about one answer, as one line of samples.jsonl."""
    damaged, row = prepared.damaged, prepared.damaged.row
    return {
        "id": row["id"],
        "dataset": row["dataset"],
        "split": row["split"],
        "image_path": row["image_path"],
        "image_sha256": row["image_sha256"],
        "question": row["question"],
        "answers": row["answers"],
        "prediction": answer.text,
        "arm": arm,
        "level": damaged.level,
        "meta": row["meta"],
        "operators": damaged.operators,
        "evidence": _evidence(prepared) if arm.startswith("r3") else [],
        "gate": _rounded(answer.gate),
        "confidence": _rounded(answer.confidence),
        "truth": {"c_vis": damaged.c_vis, "c_text": damaged.c_text},
    }


def _rounded(values: dict[str, float] | None) -> dict[str, float] | None:
    """Digits that do not depend on how rows were batched."""
    return None if values is None else {name: round(value, 4) for name, value in values.items()}


def _evidence(prepared: "PreparedRow") -> list[dict[str, Any]]:
    if prepared.evidence is None:
        return []
    return [
        {"image_path": entry.image_path, "score": round(float(score), 5), "modality": modality}
        for modality, hits in (("text", prepared.evidence.text), ("image", prepared.evidence.image))
        for entry, score in zip(hits.entries, hits.scores[hits.mask], strict=True)
    ]


Damaged = Callable[[Mapping[str, Any]], Any]


def damaged_picture(image_root: Path, config: EvaluateConfig) -> Damaged:
    """A function that draws a sample's damaged picture again, from the same seed."""
    from r3pp_core.corruption.simulator import CorruptionConfig, corrupt
    from r3pp_core.ingest.ocr_store import OcrStore
    from r3pp_core.pictures import open_picture, picture_inside

    lines = OcrStore(image_root).lines
    corruption = CorruptionConfig(seed=config.seed, damage=config.damage)

    def draw(sample: Mapping[str, Any]) -> Any:
        picture = open_picture(picture_inside(image_root, sample["image_path"]))
        found = lines(sample["image_path"])
        text = "\n".join(line.text for line in found)
        return corrupt(picture, found, text, None, sample["level"], corruption, sample["id"]).image

    return draw
