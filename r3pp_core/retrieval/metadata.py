"""The entries of an index: one per unique picture of a unified JSONL, kept as Parquet beside the vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from r3pp_core.errors import R3Error
from r3pp_core.jsonl import read_jsonl

REQUIRED_FIELDS = ("id", "dataset", "image_path", "image_sha256", "pseudo_text")


@dataclass(frozen=True)
class IndexEntry:
    """One picture; `row_ids` are the unified rows that ask about it."""

    image_path: str
    image_sha256: str
    dataset: str
    pseudo_text: str
    row_ids: tuple[str, ...] = ()

    @property
    def has_text(self) -> bool:
        return bool(self.pseudo_text.strip())


def read_pictures(jsonl: Path) -> list[IndexEntry]:
    """The unique pictures of a unified JSONL by `image_sha256`, in first-seen order; the first row's fields count.

    Raises R3Error naming the file and the row that lacks a field of METHOD 2.
    """
    first_rows: dict[str, dict[str, Any]] = {}
    row_ids: dict[str, list[str]] = {}
    for number, row in enumerate(read_jsonl(jsonl), start=1):
        for name in REQUIRED_FIELDS:
            if not isinstance(row.get(name), str):
                raise R3Error(
                    f"{jsonl}: row {number} ({row.get('id', 'no id')}) has no text field {name!r}; "
                    "write it with `r3pp unify`"
                )
        first_rows.setdefault(row["image_sha256"], row)
        row_ids.setdefault(row["image_sha256"], []).append(row["id"])
    return [
        IndexEntry(row["image_path"], sha256, row["dataset"], row["pseudo_text"], tuple(row_ids[sha256]))
        for sha256, row in first_rows.items()
    ]


def write_metadata(path: Path, entries: Sequence[IndexEntry], searchable: np.ndarray) -> None:
    """Parquet with one line per vector, in the vectors' order; `searchable` is bool [n]."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    strings = pa.string()
    table = pa.table(
        {
            "row": pa.array(range(len(entries)), pa.int64()),
            "image_path": pa.array([entry.image_path for entry in entries], strings),
            "image_sha256": pa.array([entry.image_sha256 for entry in entries], strings),
            "dataset": pa.array([entry.dataset for entry in entries], strings),
            "pseudo_text": pa.array([entry.pseudo_text for entry in entries], pa.large_string()),
            "row_ids": pa.array([list(entry.row_ids) for entry in entries], pa.list_(strings)),
            "searchable": pa.array(searchable.tolist(), pa.bool_()),
        }
    )
    pq.write_table(table, path, compression="zstd")


class Metadata:
    """The Parquet of an index, by row number and by picture hash. Read-only, so threads may share it."""

    def __init__(self, table: Any) -> None:
        self._columns = {name: table.column(name).combine_chunks() for name in table.column_names}
        self.image_sha256s: list[str] = self._columns["image_sha256"].to_pylist()
        self.searchable = np.array(self._columns["searchable"].to_pylist(), bool)
        self._ids = {sha256: row for row, sha256 in enumerate(self.image_sha256s)}

    @classmethod
    def read(cls, path: Path) -> "Metadata":
        import pyarrow.parquet as pq

        return cls(pq.read_table(path, memory_map=True))

    def __len__(self) -> int:
        return len(self.image_sha256s)

    def id_of(self, image_sha256: str) -> int | None:
        return self._ids.get(image_sha256)

    def entry(self, row: int) -> IndexEntry:
        value = {name: column[row].as_py() for name, column in self._columns.items()}
        return IndexEntry(
            image_path=value["image_path"],
            image_sha256=value["image_sha256"],
            dataset=value["dataset"],
            pseudo_text=value["pseudo_text"],
            row_ids=tuple(value["row_ids"]),
        )
