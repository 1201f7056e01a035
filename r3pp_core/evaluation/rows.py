"""Which rows of a table are evaluated: a seeded choice, spread evenly over the pictures of each data set."""

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

from r3pp_core.errors import R3Error
from r3pp_core.jsonl import read_jsonl

NEEDED = ("id", "dataset", "split", "image_path", "image_sha256", "question", "answers", "pseudo_text", "meta")


def choose_rows(
    table: Path, rows_per_dataset: int | None, seed: int, *, unanswered: bool = False
) -> tuple[list[dict[str, Any]], int]:
    """The chosen rows in table order, and the number of answerless rows in the table.

    Those are passed over, unless `unanswered`: then they are predicted, and never scored.

    Stratified by picture: first one question of every picture, then a second, until the number is reached. The
    choice depends on the seed and the row ids only. Raises R3Error when no row can be scored.
    """
    by_dataset: dict[str, list[dict[str, Any]]] = defaultdict(list)
    num_answerless = 0
    for number, row in enumerate(read_jsonl(table), start=1):
        if missing := [name for name in NEEDED if name not in row]:
            raise R3Error(f"{table} line {number} lacks {', '.join(missing)}; give a table that `r3pp merge` wrote")
        num_answerless += not row["answers"]
        if row["answers"] or unanswered:
            by_dataset[row["dataset"]].append(row)
    if not by_dataset:
        if num_answerless:
            raise R3Error(
                f"none of the {num_answerless} rows of {table} has a reference answer, so nothing can be scored; "
                "--unanswered predicts them all the same"
            )
        raise R3Error(f"{table} has no row; merge the unified tables first (`r3pp merge`)")
    chosen = {row["id"] for rows in by_dataset.values() for row in _spread(rows, seed)[:rows_per_dataset]}
    return [row for rows in by_dataset.values() for row in rows if row["id"] in chosen], num_answerless


def _spread(rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    rows = sorted(rows, key=lambda row: _draw(seed, row["id"]))
    round_of: dict[str, int] = defaultdict(int)
    rounds = []
    for row in rows:
        rounds.append(round_of[row["image_sha256"]])
        round_of[row["image_sha256"]] += 1
    order = sorted(range(len(rows)), key=lambda index: rounds[index])
    return [rows[index] for index in order]


def _draw(seed: int, row_id: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{row_id}".encode()).digest()
