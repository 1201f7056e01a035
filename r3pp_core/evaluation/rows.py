"""Which rows of a table are evaluated: a seeded choice, spread evenly over the pictures of each data set.

ChartQA's human and augmented questions keep their shares in it.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r3pp_core.datasets.registry import DATASETS
from r3pp_core.errors import R3Error
from r3pp_core.jsonl import read_jsonl

NEEDED = (
    "id",
    "dataset",
    "split",
    "image_path",
    "image_sha256",
    "question",
    "answers",
    "pseudo_text",
    "ocr_conf",
    "meta",
)


@dataclass(frozen=True)
class ChosenRows:
    """`rows` in table order; by data set how many rows the whole table has, and how many of them lack an answer."""

    rows: list[dict[str, Any]]
    num_in_table: Mapping[str, int]
    num_answerless: Mapping[str, int]


def choose_rows(table: Path, rows_per_dataset: int | None, seed: int, *, unanswered: bool = False) -> ChosenRows:
    """The rows that are asked. Those without a reference answer are passed over, unless `unanswered`: then they are
    predicted, and never scored.

    Stratified by the kind of question, where a data set tells it (ChartQA's human and augmented), each at its share of
    the table; within it by picture: first one question of every picture, then a second, until the number is reached.
    The choice depends on the seed and the rows, not on their order, and a larger one holds the smaller. Raises R3Error
    for a row that no evaluation can use, naming its line, and when no row can be scored.
    """
    by_dataset: dict[str, list[dict[str, Any]]] = defaultdict(list)
    num_in_table, num_answerless = Counter[str](), Counter[str]()
    lines: dict[str, int] = {}
    for number, row in enumerate(read_jsonl(table), start=1):
        _check(row, table, number)
        if (first := lines.setdefault(row["id"], number)) != number:
            raise R3Error(f"{table} lines {first} and {number} have the same id {row['id']}; give each row its own")
        num_in_table[row["dataset"]] += 1
        num_answerless[row["dataset"]] += not row["answers"]
        if row["answers"] or unanswered:
            by_dataset[row["dataset"]].append(row)
    if not by_dataset:
        if num_in_table:
            raise R3Error(
                f"none of the {num_in_table.total()} rows of {table} has a reference answer, so nothing can be scored; "
                "--unanswered predicts them all the same"
            )
        raise R3Error(f"{table} has no row; merge the unified tables first (`r3pp merge`)")
    chosen = {row["id"] for rows in by_dataset.values() for row in _spread(rows, seed)[:rows_per_dataset]}
    rows = [row for rows in by_dataset.values() for row in rows if row["id"] in chosen]
    return ChosenRows(rows, num_in_table, num_answerless)


def _check(row: Mapping[str, Any], table: Path, number: int) -> None:
    where = f"{table} line {number}"
    if missing := [name for name in NEEDED if name not in row]:
        raise R3Error(f"{where} lacks {', '.join(missing)}; give a table that `r3pp merge` wrote")
    if not (isinstance(row["answers"], list) and all(isinstance(answer, str) for answer in row["answers"])):
        raise R3Error(f"{where} has the answers {row['answers']!r}; they are a list of texts, empty without any")
    if row["dataset"] not in DATASETS:
        raise R3Error(f"{where} is of data set {row['dataset']!r}; the known ones are {', '.join(DATASETS)}")


def _spread(rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """In the order of choice: whatever number is taken from the front, each kind of question has its share of it."""
    kinds: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        kinds[(row["meta"] or {}).get("human_or_machine")].append(row)
    placed = [
        ((place + 0.5) / len(kind), row["id"], row)
        for kind in kinds.values()
        for place, row in enumerate(_spread_over_pictures(kind, seed))
    ]
    return [row for _, _, row in sorted(placed, key=lambda one: one[:2])]


def _spread_over_pictures(rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
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
