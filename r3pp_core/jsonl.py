"""JSON lines: one object a line, UTF-8; the format of every table between the stages."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from r3pp_core.errors import R3Error


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, streamed. Raises R3Error naming the file and line of what is not an object."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise R3Error(f"cannot read {path}: {error.strerror}") from error
    with file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise R3Error(f"{path} line {number} is not JSON ({error}); repair or remove that line") from error
            if not isinstance(row, dict):
                raise R3Error(f"{path} line {number} is not a JSON object; repair or remove that line")
            yield row


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows in order and return their number."""
    num_rows = 0
    with path.open("wb") as file:
        for row in rows:
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            num_rows += 1
    return num_rows
