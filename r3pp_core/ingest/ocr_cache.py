"""What OCR has read so far, by picture hash: append-only files, one a writer, so that ranks never share one.

A last line torn by a crash counts as unread. Only offsets are held in memory.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from r3pp_core.errors import R3Error
from r3pp_core.ingest.ocr_engine import engine_name

CACHE_VERSION = "2"  # what a record holds


class Place(NamedTuple):
    file: int
    offset: int


class OcrCache:
    """Looked up by the picture's SHA-256 (hexadecimal). `writer` names the file that `add` appends to."""

    def __init__(self, folder: Path, writer: str = "main") -> None:
        self.folder = folder / f"{engine_name()}-{CACHE_VERSION}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._own = self.folder / f"{writer}.jsonl"
        _drop_torn_line(self._own)
        self._files = sorted(self.folder.glob("*.jsonl"))
        self._places: dict[bytes, Place] = {}
        for number, path in enumerate(self._files):
            for offset, row in _whole_lines(path):
                self._places[bytes.fromhex(row["sha256"])] = Place(number, offset)

    def __contains__(self, sha256: str) -> bool:
        return bytes.fromhex(sha256) in self._places

    def record(self, sha256: str) -> dict[str, Any]:
        place = self._places[bytes.fromhex(sha256)]
        with self._files[place.file].open("rb") as file:
            file.seek(place.offset)
            record: dict[str, Any] = orjson.loads(file.readline())["record"]
        return record

    def add(self, sha256: str, record: dict[str, Any]) -> None:
        """On disk for the next cache that opens the folder; this one does not look it up."""
        with self._own.open("ab") as file:
            file.write(orjson.dumps({"sha256": sha256, "record": record}, option=orjson.OPT_APPEND_NEWLINE))


def _whole_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                try:
                    yield offset, orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise R3Error(f"{path} is damaged at byte {offset} ({error}); remove it to read again") from error
            offset += len(line)


def _drop_torn_line(path: Path) -> None:
    if not path.is_file():
        return
    with path.open("rb+") as file:
        whole = sum(len(line) for line in file if line.endswith(b"\n"))
        file.truncate(whole)
