"""Merge: the data sets' unified tables -> train.jsonl, val.jsonl, test.jsonl, with evaluation kept out of training."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from r3pp_core.artefact import Manifest, Outcome, Request, Target, build, content_hash_of
from r3pp_core.datasets.registry import DATASETS, dataset_spec
from r3pp_core.datasets.spec import SPLITS
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.ingest.schema import unified_problem
from r3pp_core.ingest.unify import unified_table
from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.progress import Progress, silent

CODE_VERSION = "1"
EVALUATION_SPLITS = ("val", "test")


class MergeConfig(BaseModel):
    """Which data sets' tables make a split, in this order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    datasets: list[str] = Field(list(DATASETS), description="data sets to merge, in this order")


def merged_target(unified_dir: Path, split: str) -> Target:
    return Target(unified_dir, split)


def merge_split(
    split: str,
    unified_dir: Path,
    config: MergeConfig = MergeConfig(),
    progress: Progress = silent,
    *,
    force: bool = False,
) -> Manifest:
    """Write `unified_dir/<split>.jsonl`: the data sets one after the other, rows in their own order.

    Left out and counted by reason: duplicate (same picture and question again),
    picture_in_evaluation (a train row whose picture is also in val or test), picture_in_val (a test row whose
    picture is in val), answer_missing (hidden test answers). Raises UsageError for an unknown split or data set,
    R3Error for a missing table or a row that breaks the schema.
    """
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    for dataset in config.datasets:
        dataset_spec(dataset)
    tables = {dataset: _table(unified_dir, dataset, split) for dataset in config.datasets}
    guarded = {"train": EVALUATION_SPLITS, "test": ("val",)}.get(split, ())
    guards = {
        other: {dataset: unified_table(unified_dir, dataset, other) for dataset in config.datasets} for other in guarded
    }
    request = Request(
        stage=f"merged/{split}",
        code_version=CODE_VERSION,
        config={"datasets": config.datasets},
        inputs={
            path.name: content_hash_of(path)
            for path in [*tables.values(), *(path for paths in guards.values() for path in paths.values())]
            if path.is_file()
        },
    )

    def make(staging: Path) -> Outcome:
        forbidden = {
            row["image_sha256"]: other
            for other, paths in guards.items()
            for dataset, path in paths.items()
            if path.is_file()
            for row in _unified_rows(dataset, path)
        }
        merger = _Merger(split, forbidden)
        write_jsonl(staging / f"{split}.jsonl", merger.rows(tables))
        write_jsonl(staging / f"{split}.rejected.jsonl", merger.rejected)
        return Outcome(
            counts={**merger.counts, "pictures": len(merger.pictures)},
            left_out=Counter(row["reason"] for row in merger.rejected),
        )

    return build(merged_target(unified_dir, split), request, make, force=force, progress=progress)


def _table(unified_dir: Path, dataset: str, split: str) -> Path:
    path = unified_table(unified_dir, dataset, split)
    if not path.is_file():
        raise R3Error(f"{path} does not exist; run `r3pp unify --dataset {dataset} --out_dir {unified_dir}` first")
    return path


def _unified_rows(dataset: str, path: Path) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(read_jsonl(path), start=1):
        if problem := unified_problem(row):
            raise R3Error(f"{path} line {number} {problem}; run `r3pp unify --dataset {dataset}` again")
        yield row


def question_key(row: dict[str, Any]) -> bytes:
    """Equal for the same picture and the same question up to case and spacing."""
    question = " ".join(row["question"].casefold().split())
    return hashlib.sha256(f"{row['image_sha256']}\0{question}".encode()).digest()


class _Merger:
    def __init__(self, split: str, forbidden: dict[str, str]) -> None:
        self.split, self.forbidden = split, forbidden
        self.counts: Counter[str] = Counter()
        self.pictures: set[str] = set()
        self.rejected: list[dict[str, str]] = []
        self._seen: set[bytes] = set()

    def rows(self, tables: dict[str, Path]) -> Iterator[dict[str, Any]]:
        for dataset, path in tables.items():
            for row in _unified_rows(dataset, path):
                self.counts["rows_in"] += 1
                if reason := self._reason_to_leave_out(row):
                    self.rejected.append({"id": row["id"], "reason": reason, "detail": row["image_path"]})
                    continue
                self._seen.add(question_key(row))
                self.pictures.add(row["image_sha256"])
                self.counts["rows"] += 1
                self.counts[f"rows_{dataset}"] += 1
                yield row

    def _reason_to_leave_out(self, row: dict[str, Any]) -> str | None:
        if not row["answers"]:
            return "answer_missing"
        if (other := self.forbidden.get(row["image_sha256"])) is not None:
            return "picture_in_evaluation" if self.split == "train" else f"picture_in_{other}"
        if question_key(row) in self._seen:
            return "duplicate"
        return None
