"""Rows of a source's Parquet files under our own names, streamed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from r3pp_core.datasets.spec import DatasetSpec
from r3pp_core.errors import R3Error

ROWS_A_BATCH = 16  # each may hold megabytes of picture
READ_BUFFER_BYTES = 1 << 20  # pages are read as they are needed, not a row group at once


@dataclass(frozen=True)
class SourceRow:
    """`image`: the picture's bytes, or None. `problem`: why the row's text cannot be used, or None."""

    image: bytes | None
    question: str | None
    answers: list[str]
    meta: dict[str, Any]
    problem: str | None = None


def read_source_rows(spec: DatasetSpec, files: list[Path], max_rows: int | None = None) -> Iterator[SourceRow]:
    """All rows of the files in order, at most `max_rows`. Raises R3Error for an unreadable file or a missing column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    num_rows = 0
    for path in files:
        try:
            with pq.ParquetFile(path, buffer_size=READ_BUFFER_BYTES, page_checksum_verification=True) as table:
                names = _column_names(spec, table.schema_arrow.names)
                num_promised, num_found = table.metadata.num_rows, 0
                for batch in table.iter_batches(
                    ROWS_A_BATCH, columns=[*names["row"].values(), *names["meta"].values()]
                ):
                    num_found += batch.num_rows
                    for row in _python_rows(batch):
                        if max_rows is not None and num_rows >= max_rows:
                            return
                        num_rows += 1
                        yield _source_row(row, names)
                if num_found != num_promised:
                    raise R3Error(f"{path} promises {num_promised} rows and holds {num_found}; fetch it again")
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise R3Error(
                f"{path} is not a readable Parquet file ({str(error).splitlines()[0]}); fetch it again"
            ) from error


def _column_names(spec: DatasetSpec, found: list[str]) -> dict[str, dict[str, str]]:
    return {
        "row": {
            "image": spec.column("image", spec.image, found),
            "question": spec.column("question", spec.question, found),
            "answers": spec.column("answers", spec.answers, found),
        },
        "meta": {key: name for key, names in spec.meta.items() for name in names if name in found},
    }


def _python_rows(batch: Any) -> Iterator[dict[str, Any] | UnicodeDecodeError]:
    """The batch row by row; where text is no UTF-8, that row alone becomes the error."""
    try:
        yield from batch.to_pylist()
        return
    except UnicodeDecodeError:
        pass
    for number in range(batch.num_rows):
        try:
            yield batch.slice(number, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            yield error


def _source_row(row: dict[str, Any] | UnicodeDecodeError, names: dict[str, dict[str, str]]) -> SourceRow:
    try:
        if isinstance(row, UnicodeDecodeError):
            raise row
        question = row[names["row"]["question"]]
        return SourceRow(
            image=_picture_bytes(row[names["row"]["image"]]),
            question=None if question is None else _text(question),
            answers=answer_list(row[names["row"]["answers"]]),
            meta={key: _plain(row[name]) for key, name in names["meta"].items()},
        )
    except UnicodeDecodeError as error:
        return SourceRow(None, None, [], {}, f"a text of the row is not UTF-8 ({error.reason})")


def _text(value: object) -> str:
    """A text column may be written as plain bytes; UnicodeDecodeError where they are no text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _plain(value: object) -> object:
    """The value as JSON knows it; bytes, durations and numbers of unlimited precision become text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Decimal | timedelta) else value


def _picture_bytes(value: object) -> bytes | None:
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, bytes) and value else None


def answer_list(value: object) -> list[str]:
    """All reference answers, in order, without empty ones and repetitions."""
    values = value if isinstance(value, list) else [value]
    return list(dict.fromkeys(text for item in values if item is not None and (text := _text(item).strip())))
