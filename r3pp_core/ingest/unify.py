"""Unify: raw rows and OCR text -> `<dataset>_unified_<split>.jsonl`, the same schema for every data set."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from r3pp_core.artefact import (
    Manifest,
    Outcome,
    Request,
    Target,
    build,
    content_hash_of,
    read_manifest,
    require_manifest,
)
from r3pp_core.datasets.registry import dataset_spec
from r3pp_core.datasets.spec import SPLITS
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.ingest.download import raw_table, raw_target
from r3pp_core.ingest.ocr import OcrConfig, ocr_path, ocr_target, run_ocr
from r3pp_core.ingest.schema import RAW_FIELDS, schema_problem
from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.progress import Progress, silent

CODE_VERSION = "1"
ANSWERLESS_SPLIT = "test"  # the only split whose answers may be hidden


class UnifyConfig(BaseModel):
    """`ocr` is auto (reuse or run OCR), none, or a JSONL file with image_path, ocr_text, ocr_conf."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_prefix: str | None = Field(None, description="first part of image_path; empty: the data set's name")
    ocr: str = Field("auto", description="auto, none, or a JSONL file")


def unified_target(unified_dir: Path, dataset: str) -> Target:
    return Target(unified_dir, f"{dataset}_unified")


def unified_table(unified_dir: Path, dataset: str, split: str) -> Path:
    return unified_dir / f"{dataset}_unified_{split}.jsonl"


def unify(
    dataset: str,
    raw_dir: Path,
    out_dir: Path,
    config: UnifyConfig = UnifyConfig(),
    progress: Progress = silent,
    *,
    force: bool = False,
) -> Manifest:
    """Write one unified table per raw table; rows that cannot be used go to `<dataset>_unified.rejected.jsonl`.

    Rejection reasons: schema, question_empty, answer_missing (train and val only; hidden test answers stay as rows
    without answers and are counted). Raises UsageError for a bad prefix or OCR file, R3Error for missing raw data.
    """
    dataset_spec(dataset)
    raw_dir = find_raw_dir(dataset, raw_dir)
    raw = require_manifest(raw_target(raw_dir), f"r3pp download {dataset} --out_dir {raw_dir}")
    prefix = config.image_prefix or dataset
    if "/" in prefix or prefix in (".", ".."):
        raise UsageError(f"--image_prefix {prefix!r} must be one folder name, such as {dataset}")
    ocr_file = _ocr_file(dataset, raw_dir, config.ocr, progress)
    request = Request(
        stage=f"unified/{dataset}",
        code_version=CODE_VERSION,
        config={"image_prefix": prefix},
        inputs={"raw": raw.content_hash, "ocr": content_hash_of(ocr_file) if ocr_file else "none"},
    )

    def make(staging: Path) -> Outcome:
        texts = {row["image_path"]: row for row in read_jsonl(ocr_file)} if ocr_file else {}
        by_hash = {row["image_sha256"]: row for row in texts.values() if "image_sha256" in row}
        counts: Counter[str] = Counter()
        rejected: list[dict[str, str]] = []
        for split in SPLITS:
            table = raw_table(raw_dir, dataset, split)
            if table.is_file():
                unifier = _Unifier(prefix, texts, by_hash, counts, rejected)
                rows = unifier.rows(read_jsonl(table))
                counts[f"rows_{split}"] = write_jsonl(unified_table(staging, dataset, split), rows)
        counts["rows"] = sum(counts[f"rows_{split}"] for split in SPLITS)
        write_jsonl(staging / f"{dataset}_unified.rejected.jsonl", rejected)
        return Outcome(counts=counts, left_out=Counter(row["reason"] for row in rejected))

    return build(unified_target(out_dir, dataset), request, make, force=force, progress=progress)


def find_raw_dir(dataset: str, raw_dir: Path) -> Path:
    """`raw_dir` itself, or `raw_dir/<dataset>` when that is where the tables lie."""
    inner = raw_dir / dataset
    return (
        inner if read_manifest(raw_target(raw_dir)) is None and raw_target(inner).manifest_path.is_file() else raw_dir
    )


def _ocr_file(dataset: str, raw_dir: Path, ocr: str, progress: Progress) -> Path | None:
    if ocr == "none":
        return None
    if ocr == "auto":
        # An OCR artefact of the present pictures is used whatever settings made it; else OCR runs now.
        made = read_manifest(ocr_target(raw_dir))
        raw = read_manifest(raw_target(raw_dir))
        if made is None or raw is None or made.inputs["raw"] != raw.content_hash:
            run_ocr(dataset, raw_dir, OcrConfig(), progress)
        return ocr_path(raw_dir)
    path = Path(ocr)
    if not path.is_file():
        raise UsageError(f"--ocr {ocr} is neither auto nor none nor a JSONL file that exists")
    for number, row in enumerate(read_jsonl(path), start=1):
        if problem := _ocr_problem(row):
            raise R3Error(
                f"{path} line {number} {problem}; an OCR file has image_path, ocr_text and ocr_conf (0..1 or null)"
            )
    return path


def _ocr_problem(row: dict[str, Any]) -> str | None:
    if missing := [name for name in ("image_path", "ocr_text", "ocr_conf") if name not in row]:
        return f"lacks {', '.join(missing)}"
    if not isinstance(row["image_path"], str) or not isinstance(row["ocr_text"], str | None):
        return "has an image_path or ocr_text that is no text"
    conf = row["ocr_conf"]
    if conf is not None and not (isinstance(conf, int | float) and 0 <= conf <= 1):
        return f"has ocr_conf {conf!r}"
    return None


class _Unifier:
    def __init__(
        self,
        prefix: str,
        texts: dict[str, dict[str, Any]],
        by_hash: dict[str, dict[str, Any]],
        counts: Counter[str],
        rejected: list[dict[str, str]],
    ) -> None:
        self.prefix, self.texts, self.by_hash = prefix, texts, by_hash
        self.counts, self.rejected = counts, rejected

    def rows(self, raw_rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for raw in raw_rows:
            self.counts["rows_in"] += 1
            reason, detail = self._problem(raw)
            if reason:
                self.rejected.append({"id": str(raw.get("id")), "reason": reason, "detail": detail})
                continue
            self.counts["rows_without_answer"] += not raw["answers"]
            yield self._unified(raw)

    def _problem(self, raw: dict[str, Any]) -> tuple[str, str]:
        if problem := schema_problem(raw, RAW_FIELDS):
            return "schema", f"the row {problem}"
        if not (raw["question"] or "").strip():
            return "question_empty", "the question is null or blank"
        if not raw["answers"] and raw["split"] != ANSWERLESS_SPLIT:
            return "answer_missing", f"a {raw['split']} row without an answer"
        return "", ""

    def _unified(self, raw: dict[str, Any]) -> dict[str, Any]:
        image_path = f"{self.prefix}/{raw['image']}"
        ocr = self.by_hash.get(raw["image_sha256"]) or self.texts.get(raw["image"]) or self.texts.get(image_path) or {}
        text = ocr.get("ocr_text") or ""
        self.counts["rows_without_text"] += not text
        return {
            "id": raw["id"],
            "dataset": raw["dataset"],
            "split": raw["split"],
            "image_path": image_path,
            "image_sha256": raw["image_sha256"],
            "question": raw["question"].strip(),
            "answer": raw["answers"][0] if raw["answers"] else "",
            "answers": raw["answers"],
            "ocr_text": text,
            "ocr_conf": ocr.get("ocr_conf"),
            "pseudo_text": text,
            "meta": raw["meta"],
        }
