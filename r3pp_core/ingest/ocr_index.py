"""OCR records by picture, from a JSONL of any size: key hashes with offsets in memory, records read on demand."""

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from r3pp_core.artefact import text_key
from r3pp_core.errors import R3Error
from r3pp_core.ingest.hashed_file import HashedFile
from r3pp_core.ingest.line_chunks import LineChunk
from r3pp_core.ingest.schema import OcrRow, decoded, ocr_decoder
from r3pp_core.jsonl import read_jsonl

PLACE = np.dtype([("key", "<u8"), ("offset", "<u8")])
USUAL_LINE_BYTES = 4096
NO_TEXT = OcrRow("", None, None)


def chunk_places(chunk: LineChunk) -> np.ndarray:
    """PLACE of every line of a chunk by `image_path`, and by `image_sha256` where it has one.

    Raises R3Error naming the first line that is no OCR record.
    """
    places = []
    for offset, line in chunk.lines():
        row, problem = decoded(ocr_decoder, line)
        if row is None:
            raise R3Error(
                f"{chunk.path} line {chunk.number_of(offset)}: {problem}; "
                "an OCR file has image_path, ocr_text and ocr_conf (0..1 or null)"
            )
        places.append((text_key(row.image_path), offset))
        if row.image_sha256 is not None:
            places.append((text_key(row.image_sha256), offset))
    return np.array(places, PLACE)


def index_path(table: Path) -> Path:
    """Where an OCR artefact keeps the index of its table."""
    return table.with_suffix(".index.npy")


def write_index(places: Iterable[np.ndarray], path: Path) -> None:
    """Sorted by key, then by offset."""
    found = np.concatenate([np.zeros(0, PLACE), *places])
    with HashedFile(path) as file:  # given a path or a plain file, numpy's error on a full disk does not say that it is
        np.save(file, found[np.lexsort((found["offset"], found["key"]))])


class OcrIndex:
    """Looks records up. The last one is kept: a data set's rows about one picture mostly follow each other."""

    def __init__(self, table: Path, index: Path) -> None:
        places = np.load(index)
        # Arrays of the standard library: one key is found in a third of numpy's time.
        self._keys, self._offsets = array("Q", places["key"].tobytes()), array("Q", places["offset"].tobytes())
        self._file = table.open("rb", buffering=0)
        self._last: tuple[str, str, OcrRow] = ("", "", NO_TEXT)

    def find(self, sha256: str, image: str, image_path: str) -> OcrRow:
        """The record of a picture by its hash, else by either path (the first relative to the data set's folder).

        Of several lines the last counts; NO_TEXT without any.
        """
        if self._last[0] != sha256 or self._last[1] != image:
            found = self._read(sha256, "image_sha256")
            found = found or self._read(image, "image_path") or self._read(image_path, "image_path") or NO_TEXT
            self._last = (sha256, image, found)
        return self._last[2]

    def _read(self, name: str, field: str) -> OcrRow | None:
        key = text_key(name)
        place = bisect_right(self._keys, key) - 1
        while place >= 0 and self._keys[place] == key:
            record = ocr_decoder.decode(self._line(self._offsets[place]))
            if getattr(record, field) == name:
                return record
            place -= 1
        return None

    def _line(self, offset: int) -> bytes:
        data = os.pread(self._file.fileno(), USUAL_LINE_BYTES, offset)
        while b"\n" not in data and (more := os.pread(self._file.fileno(), len(data), offset + len(data))):
            data += more
        return data.partition(b"\n")[0]


def rejected_pictures(path: Path) -> dict[str, tuple[str, str]]:
    """Reason and detail by picture file, of those that OCR could not open."""
    return {row["id"]: (row["reason"], row["detail"]) for row in read_jsonl(path)}
