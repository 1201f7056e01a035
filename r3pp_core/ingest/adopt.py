"""Adopt a folder that the runbook's scripts filled: validate it and give it a manifest, without downloading again."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from r3pp_core.artefact import Manifest, Outcome, Request, build, hash_file, read_manifest
from r3pp_core.datasets.spec import SPLITS, DatasetSpec
from r3pp_core.errors import R3Error
from r3pp_core.ingest.download import CODE_VERSION, raw_table, raw_target
from r3pp_core.ingest.source_rows import answer_list
from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.pictures import PictureError, open_picture, picture_inside
from r3pp_core.progress import Progress

IMAGE_COLUMNS = ("image", "image_path", "image_file", "file_name")
ANSWER_COLUMNS = ("answers", "answer")


def is_runbook_folder(spec: DatasetSpec, raw_dir: Path) -> bool:
    """Whether the folder holds raw tables and no manifest of ours."""
    return read_manifest(raw_target(raw_dir)) is None and any(_runbook_table(spec, raw_dir, split) for split in SPLITS)


def _runbook_table(spec: DatasetSpec, raw_dir: Path, split: str) -> Path | None:
    names = [raw_table(raw_dir, spec.name, split)]
    if split == "val":
        names.append(raw_table(raw_dir, spec.name, "validation"))
    return next((path for path in names if path.is_file()), None)


def adopt(spec: DatasetSpec, raw_dir: Path, progress: Progress) -> Manifest:
    """Rewrite the tables in our schema and leave the pictures where they are.

    The runbook's tables stay as `<name>.runbook`. Raises R3Error when a table lacks a needed column.
    """
    tables = {split: path for split in SPLITS if (path := _runbook_table(spec, raw_dir, split))}
    progress(f"raw/{spec.name}: adopting {', '.join(path.name for path in tables.values())} from {raw_dir}")
    request = Request(
        stage=f"raw/{spec.name}",
        code_version=CODE_VERSION,
        config={"adopted": sorted(tables)},
        inputs={path.name: hash_file(path) for path in tables.values()},
    )

    def make(staging: Path) -> Outcome:
        counts: Counter[str] = Counter()
        rejected: list[dict[str, Any]] = []
        hashes: dict[str, str] = {}
        for split, path in tables.items():
            rows = _adopted_rows(spec, split, path, raw_dir, hashes, rejected)
            counts[f"rows_{split}"] = write_jsonl(raw_table(staging, spec.name, split), rows)
            (staging / f"{path.name}.runbook").write_bytes(path.read_bytes())
        counts["rows"] = sum(counts[f"rows_{split}"] for split in tables)
        counts["rows_in"] = counts["rows"] + len(rejected)
        counts["pictures"] = len(hashes)
        write_jsonl(staging / "rejected.jsonl", rejected)
        left_out = Counter(row["reason"] for row in rejected)
        return Outcome(counts=counts, left_out=left_out, details={"adopted": True}, trees={"images": hashes})

    return build(raw_target(raw_dir), request, make, progress=progress)


def _adopted_rows(
    spec: DatasetSpec,
    split: str,
    path: Path,
    raw_dir: Path,
    hashes: dict[str, str],
    rejected: list[dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(read_jsonl(path)):
        found = list(row)
        row_id = f"{spec.name}/{split}/{number}"
        try:
            name = Path(str(row[spec.column("image", IMAGE_COLUMNS, found)])).name
            question = row[spec.column("question", spec.question, found)]
            answers = answer_list(row[spec.column("answers", (*spec.answers, *ANSWER_COLUMNS), found)])
            image = f"images/{name}"
            if name not in hashes:
                picture = picture_inside(raw_dir, image)
                open_picture(picture)
                hashes[name] = hash_file(picture)
        except PictureError as error:
            rejected.append({"id": row_id, "reason": error.reason, "detail": str(error)})
            continue
        except R3Error as error:
            raise R3Error(f"{path} line {number + 1}: {error}") from error
        meta = {key: row[name_] for key, names in spec.meta.items() for name_ in names if name_ in row}
        yield {
            "id": row_id,
            "dataset": spec.name,
            "split": split,
            "question": question,
            "answers": answers,
            "meta": meta,
            "image": image,
            "image_sha256": hashes[name],
        }
