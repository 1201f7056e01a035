"""What must hold of tables before anything is built on them. Each function returns the problems it found."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import orjson

from r3pp_core.artefact import Manifest
from r3pp_core.ingest.line_chunks import line_chunks
from r3pp_core.ingest.merge_keys import table_keys
from r3pp_core.ingest.perceptual import near_rows
from r3pp_core.ingest.picture_files import PNG_SIGNATURE, check_png
from r3pp_core.ingest.schema import raw_problem, unified_problem
from r3pp_core.ingest.workers import WORTH_PROCESSES_BYTES, Workers, num_processes
from r3pp_core.jsonl import read_jsonl
from r3pp_core.pictures import MAX_ASPECT_RATIO, MAX_SOURCE_PIXELS, PictureError, open_picture, picture_inside

MAX_LISTED = 20


def raw_schema_problems(tables: Iterable[Path]) -> list[str]:
    return _row_problems(tables, raw_problem)


def unified_schema_problems(tables: Iterable[Path]) -> list[str]:
    return _row_problems(tables, unified_problem)


def _row_problems(tables: Iterable[Path], problem_of: Callable[[bytes], str | None]) -> list[str]:
    problems = []
    for table in tables:
        for chunk in line_chunks(table):
            for offset, line in chunk.lines():
                if problem := problem_of(line):
                    problems.append(f"{table.name} line {chunk.number_of(offset)}: {problem}")
                    if len(problems) == MAX_LISTED:
                        return problems
    return problems


def row_count_problems(manifest: Manifest, tables: Sequence[Path]) -> list[str]:
    """The tables hold as many rows as their manifest says, and no row that went in is unaccounted for."""
    found = sum(1 for table in tables for chunk in line_chunks(table) for _ in chunk.lines())
    counts, num_left_out = manifest.counts, sum(manifest.left_out.values())
    problems = []
    if found != counts["rows"]:
        problems.append(f"the tables hold {found} rows, the manifest says {counts['rows']}")
    if "rows_in" in counts and counts["rows_in"] != counts["rows"] + num_left_out:
        problems.append(f"{counts['rows_in']} rows went in, {counts['rows']} came out, {num_left_out} were left out")
    return problems


def rejected_share(manifest: Manifest, ignored: Sequence[str] = ()) -> float:
    """Share of what went in that was left out, but for `ignored` reasons."""
    left_out = sum(count for reason, count in manifest.left_out.items() if reason not in ignored)
    num_in = manifest.counts.get("rows_in", manifest.counts["rows"] + sum(manifest.left_out.values()))
    return left_out / max(1, num_in)


def picture_problems(tables: Iterable[Path], image_root: Path, column: str) -> list[str]:
    """Every picture named in `column` exists below `image_root` and decodes; each is opened once."""
    return _problems_of_pictures(tables, image_root, column, decode_problem)


def whole_picture_problems(tables: Iterable[Path], image_root: Path, column: str) -> list[str]:
    """Every picture named in `column` exists below `image_root` and is whole; a PNG is not decoded, its chunks are."""
    return _problems_of_pictures(tables, image_root, column, whole_problem)


def _problems_of_pictures(
    tables: Iterable[Path], image_root: Path, column: str, problem_of: Callable[[Path, str], str | None]
) -> list[str]:
    paths = list(dict.fromkeys(row[column] for table in tables for row in read_jsonl(table)))
    is_much = len(paths) * 100_000 > WORTH_PROCESSES_BYTES  # a picture has about as many bytes
    with Workers(num_processes(None) if is_much else 0) as pool:
        problems = [problem for problem in pool.mapped(partial(problem_of, image_root), paths) if problem]
    return problems[:MAX_LISTED]


def decode_problem(image_root: Path, path: str) -> str | None:
    try:
        open_picture(picture_inside(image_root, path))
    except PictureError as error:
        return str(error)
    return None


def whole_problem(image_root: Path, path: str) -> str | None:
    try:
        data = picture_inside(image_root, path).read_bytes()
        if data.startswith(PNG_SIGNATURE):
            check_png(data, MAX_SOURCE_PIXELS)
        else:
            open_picture(data)
    except PictureError as error:
        return f"{path}: {error}"
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None


def picture_size_problems(ocr_table: Path, max_pixels: int = MAX_SOURCE_PIXELS) -> list[str]:
    """Pictures larger than the limit, or too narrow for the image processor, by the sizes that OCR saw."""
    problems = []
    for row in read_jsonl(ocr_table):
        long, short = max(row["width"], row["height"]), max(1, min(row["width"], row["height"]))
        if long * short > max_pixels or long > MAX_ASPECT_RATIO * short:
            problems.append(f"{row['image_path']} has {row['width']} x {row['height']} pixels")
    return problems


def shared_pictures(train: Path, evaluation: Path) -> list[str]:
    """Pictures of an evaluation table that are also in the train table, by content hash."""
    trained = {row["image_sha256"] for row in read_jsonl(train)}
    return sorted({row["image_path"] for row in read_jsonl(evaluation) if row["image_sha256"] in trained})


def near_shared_pictures(train: Path, evaluation: Path, datasets: Sequence[str]) -> list[str]:
    """Train rows that ask an evaluation table's question about a nearly equal picture (METHOD 1)."""
    keys, guards = table_keys([train, evaluation], datasets)
    near = np.flatnonzero(near_rows(keys["question"], keys["phash"], guards["question"], guards["phash"]))
    return [_row_at(train, int(offset))["id"] for offset in keys["offset"][near][:MAX_LISTED]]


def _row_at(table: Path, offset: int) -> dict[str, str]:
    with table.open("rb") as file:
        file.seek(offset)
        row: dict[str, str] = orjson.loads(file.readline())
    return row


def answerless_rows(table: Path) -> list[str]:
    return [row["id"] for row in read_jsonl(table) if not row["answers"]]
