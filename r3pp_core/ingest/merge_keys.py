"""What merging decides by, of every row: hashes of its picture and question, its answer, where its line lies.

Read from chunks of lines in worker processes and held as arrays of 62 bytes a row.
"""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from r3pp_core.artefact import manifest_beside, text_key
from r3pp_core.errors import R3Error
from r3pp_core.ingest.line_chunks import LineChunk, line_chunks
from r3pp_core.ingest.perceptual import NO_PHASH, NUM_WORDS, phash_bytes
from r3pp_core.ingest.schema import UnifiedRow, decoded, rule_problem, unified_decoder
from r3pp_core.ingest.workers import Workers, processes_for

KEYS = np.dtype(
    [
        ("picture", "<u8"),  # of image_sha256
        ("question", "<u8"),  # of the question up to case and spacing
        ("phash", "<u8", (NUM_WORDS,)),  # zero where unknown
        ("offset", "<u8"),  # of the line in its file
        ("length", "<u4"),  # of the line with its end
        ("dataset", "u1"),
        ("has_answer", "?"),
    ]
)

Keys = npt.NDArray[Any]


def keys_path(table: Path) -> Path:
    """Where unify keeps the keys of a table that it wrote."""
    return table.with_suffix(".keys")


def table_keys(tables: Sequence[Path], datasets: Sequence[str], num_workers: int | None = None) -> list[Keys]:
    """One array of KEYS a table, a row a line. `datasets` gives the codes of the field `dataset`.

    The keys that unify left beside a table are taken if the table is still the one that it wrote; every other table is
    read and checked. Raises R3Error naming file, line and fault of a row that breaks the unified schema.
    """
    codes = {name: code for code, name in enumerate(datasets)}
    kept = {path: keys for path in tables if (keys := _kept_keys(path, codes)) is not None}
    parts: dict[Path, list[Keys]] = {path: [] for path in tables if path not in kept}
    chunks = ((codes, chunk) for path in parts for chunk in line_chunks(path))
    with Workers(processes_for(parts, num_workers), gc.disable) as pool:
        for path, keys in pool.mapped(chunk_keys, chunks):
            parts[path].append(keys)
    return [kept[path] if path in kept else joined(parts[path]) for path in tables]


def _kept_keys(table: Path, codes: dict[str, int]) -> Keys | None:
    manifest = manifest_beside(table)
    if manifest is None or keys_path(table).name not in manifest.files or manifest_beside(keys_path(table)) is None:
        return None
    code = codes.get(manifest.stage.removeprefix("unified/"))
    if code is None:
        return None  # reading the table will say that its data set is not registered
    keys: Keys = np.fromfile(keys_path(table), KEYS)
    keys["dataset"] = code
    return keys


def joined(parts: Sequence[Keys]) -> Keys:
    return np.concatenate([np.zeros(0, KEYS), *parts])


def chunk_keys(task: tuple[dict[str, int], LineChunk]) -> tuple[Path, Keys]:
    codes, chunk = task
    lines = list(chunk.lines())
    rows = [_checked_row(chunk, offset, line, codes) for offset, line in lines]
    keys = row_keys(rows, [len(line) + 1 for _, line in lines])
    keys["offset"] = [offset for offset, _ in lines]
    keys["dataset"] = [codes[row.dataset] for row in rows]
    return chunk.path, keys


def row_keys(rows: Sequence[UnifiedRow], lengths: Sequence[int] | npt.NDArray[np.int64]) -> Keys:
    """KEYS of rows whose lines of these lengths follow each other from byte 0 on, data set code 0."""
    keys = np.zeros(len(rows), KEYS)
    keys["picture"] = [text_key(row.image_sha256) for row in rows]
    keys["question"] = [text_key(" ".join(row.question.casefold().split())) for row in rows]
    keys["phash"] = np.frombuffer(b"".join([_phash_bytes(row) for row in rows]), "<u8").reshape(len(rows), NUM_WORDS)
    keys["length"] = lengths
    keys["offset"][1:] = np.cumsum(keys["length"][:-1], dtype=np.uint64)
    keys["has_answer"] = [bool(row.answers) for row in rows]
    return keys


def line_lengths(jsonl: bytes) -> npt.NDArray[np.int64]:
    """Bytes of each line, its end included."""
    ends = np.flatnonzero(np.frombuffer(jsonl, np.uint8) == ord("\n"))
    return np.diff(ends, prepend=-1)


def _checked_row(chunk: LineChunk, offset: int, line: bytes, codes: dict[str, int]) -> UnifiedRow:
    row, problem = decoded(unified_decoder, line)
    if row is None or (problem := rule_problem(row)):
        place = f"{chunk.path} line {chunk.number_of(offset)}"
        raise R3Error(f"{place}: {problem}; make the table again with `r3pp unify`")
    if row.dataset not in codes:
        raise R3Error(
            f"{chunk.path} line {chunk.number_of(offset)} is of data set {row.dataset!r}, which is not registered: "
            f"choose from {', '.join(codes)}, or add it in r3pp_core/datasets"
        )
    return row


def _phash_bytes(row: UnifiedRow) -> bytes:
    phash = row.meta.get("image_phash")
    return phash_bytes(phash) if isinstance(phash, str) else NO_PHASH
