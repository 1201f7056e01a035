"""What must hold of tables before anything is built on them. Each function returns the problems it found."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from r3pp_core.ingest.schema import RAW_FIELDS, schema_problem, unified_problem
from r3pp_core.jsonl import read_jsonl
from r3pp_core.pictures import PictureError, open_picture, picture_inside

MAX_LISTED = 20


def raw_schema_problems(tables: Iterable[Path]) -> list[str]:
    return _row_problems(tables, lambda row: schema_problem(row, RAW_FIELDS))


def unified_schema_problems(tables: Iterable[Path]) -> list[str]:
    return _row_problems(tables, unified_problem)


def _row_problems(tables: Iterable[Path], problem_of: Any) -> list[str]:
    problems = []
    for table in tables:
        for number, row in enumerate(read_jsonl(table), start=1):
            if problem := problem_of(row):
                problems.append(f"{table.name} line {number} {problem}")
                if len(problems) == MAX_LISTED:
                    return problems
    return problems


def picture_problems(tables: Iterable[Path], image_root: Path, column: str) -> list[str]:
    """Every picture named in `column` exists below `image_root` and decodes; each is opened once."""
    problems: dict[str, str | None] = {}
    for table in tables:
        for row in read_jsonl(table):
            path = row[column]
            if path not in problems:
                problems[path] = _picture_problem(image_root, path)
    return [problem for problem in problems.values() if problem][:MAX_LISTED]


def _picture_problem(image_root: Path, path: str) -> str | None:
    try:
        open_picture(picture_inside(image_root, path))
    except PictureError as error:
        return str(error)
    return None


def shared_pictures(train: Path, evaluation: Path) -> list[str]:
    """Pictures of an evaluation table that are also in the train table, by content hash."""
    trained = {row["image_sha256"] for row in read_jsonl(train)}
    return sorted({row["image_path"] for row in read_jsonl(evaluation) if row["image_sha256"] in trained})


def answerless_rows(table: Path) -> list[str]:
    return [row["id"] for row in read_jsonl(table) if not row["answers"]]
