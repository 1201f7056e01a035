"""Adopt a folder that the runbook's scripts filled: validate it and give it a manifest, without downloading again."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from r3pp_core import code_versions
from r3pp_core.artefact import Manifest, Outcome, Request, build, hash_file, read_manifest
from r3pp_core.datasets.spec import SPLITS, DatasetSpec
from r3pp_core.errors import R3Error
from r3pp_core.ingest.download import raw_table, raw_target
from r3pp_core.ingest.reasons import Reason
from r3pp_core.ingest.source_rows import answer_list
from r3pp_core.jsonl import write_jsonl
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

    The runbook's tables stay as `<name>.runbook`. A line that is no JSON object is left out and counted. A picture is
    what follows `images/` in its row's path, with its sub-folders; where that is no file, the file of that name in
    `images`, unless other paths end in the same name. Raises R3Error when a table lacks a needed column, or holds no
    JSON object at all.
    """
    tables = {split: path for split in SPLITS if (path := _runbook_table(spec, raw_dir, split))}
    progress(f"raw/{spec.name}: adopting {', '.join(path.name for path in tables.values())} from {raw_dir}")
    request = Request(
        stage=f"raw/{spec.name}",
        code_version=code_versions.DOWNLOAD,
        config={"adopted": sorted(tables)},
        inputs={path.name: hash_file(path) for path in tables.values()},
    )

    def make(staging: Path) -> Outcome:
        counts: Counter[str] = Counter()
        pictures = _Pictures(raw_dir, (str(row) for path in tables.values() for row in _image_values(spec, path)))
        rejected: list[dict[str, Any]] = []
        for split, path in tables.items():
            rows = _adopted_rows(spec, split, path, pictures, rejected)
            counts[f"rows_{split}"] = write_jsonl(raw_table(staging, spec.name, split), rows)
            (staging / f"{path.name}.runbook").write_bytes(path.read_bytes())
        counts["rows"] = sum(counts[f"rows_{split}"] for split in tables)
        counts["rows_in"] = counts["rows"] + len(rejected)
        counts["pictures"] = len(pictures.hashes)
        write_jsonl(staging / "rejected.jsonl", rejected)
        left_out = Counter(row["reason"] for row in rejected)
        return Outcome(counts=counts, left_out=left_out, details={"adopted": True}, trees={"images": pictures.hashes})

    return build(raw_target(raw_dir), request, make, progress=progress)


class _Pictures:
    """Files of `images` by the paths that rows give, opened and hashed once each."""

    def __init__(self, raw_dir: Path, paths: Iterable[str]) -> None:
        self.raw_dir = raw_dir
        self.hashes: dict[str, str] = {}
        tails: dict[str, set[str]] = {}
        for path in paths:
            tails.setdefault(Path(path).name, set()).add(_below_images(path))
        self._is_ambiguous = {name for name, found in tails.items() if len(found) > 1}

    def name(self, path: str) -> str:
        """Relative to `images`. Raises PictureError for what cannot be used."""
        name = _below_images(path)
        if not picture_inside(self.raw_dir, f"images/{name}").is_file():
            last = Path(path).name
            if last in self._is_ambiguous and last != name:
                raise PictureError(
                    "picture_missing", f"images/{name} does not exist, and {last} is the end of several paths"
                )
            name = last
        if name not in self.hashes:
            picture = picture_inside(self.raw_dir, f"images/{name}")
            open_picture(picture)
            self.hashes[name] = hash_file(picture)
        return name


def _below_images(path: str) -> str:
    parts = Path(path).parts
    last = max((number for number, part in enumerate(parts) if part == "images"), default=-1)
    return "/".join(parts[last + 1 :])


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    """Number from 0, the object and "", or None and why the line is none. Raises R3Error when no line is one."""
    found, first = False, ""
    with path.open("rb") as file:
        for number, line in enumerate(line for line in file if line.strip()):
            try:
                row, why = orjson.loads(line), "no JSON object"
            except orjson.JSONDecodeError as error:
                row, why = None, str(error)
            if isinstance(row, dict):
                found = True
                yield number, row, ""
            else:
                first = first or f"line {number + 1} is not JSON ({why})"
                yield number, None, why
    if first and not found:
        raise R3Error(f"{path} {first}, and no other line is; give the runbook's own table")


def _image_values(spec: DatasetSpec, path: Path) -> Iterator[Any]:
    for number, row, _ in _lines(path):
        if row is not None:
            yield row[_column(spec, path, number, "image", IMAGE_COLUMNS, row)]


def _column(spec: DatasetSpec, path: Path, number: int, role: str, names: Sequence[str], row: dict[str, Any]) -> str:
    try:
        return spec.column(role, names, list(row))
    except R3Error as error:
        raise R3Error(f"{path} line {number + 1}: {error}") from error


def _adopted_rows(
    spec: DatasetSpec, split: str, path: Path, pictures: _Pictures, rejected: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for number, row, why in _lines(path):
        row_id = f"{spec.name}/{split}/{number}"
        if row is None:
            rejected.append({"id": row_id, "reason": Reason.NOT_JSON, "detail": f"line {number + 1}: {why}"})
            continue
        columns = {"image": IMAGE_COLUMNS, "question": spec.question, "answers": (*spec.answers, *ANSWER_COLUMNS)}
        names = {role: _column(spec, path, number, role, wanted, row) for role, wanted in columns.items()}
        try:
            picture = pictures.name(str(row[names["image"]]))
        except PictureError as error:
            rejected.append({"id": row_id, "reason": error.reason, "detail": str(error)})
            continue
        yield {
            "id": row_id,
            "dataset": spec.name,
            "split": split,
            "question": row[names["question"]],
            "answers": answer_list(row[names["answers"]]),
            "meta": {key: row[name] for key, found in spec.meta.items() for name in found if name in row},
            "image": f"images/{picture}",
            "image_sha256": pictures.hashes[picture],
        }
