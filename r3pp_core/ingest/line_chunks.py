"""A JSONL file cut into chunks of whole lines, so that worker processes can share it and the order stays the file's."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from r3pp_core.errors import R3Error

CHUNK_BYTES = 1 << 19


@dataclass(frozen=True)
class LineChunk:
    """Where whole lines lie in a file; whoever works on them reads them."""

    path: Path
    offset: int
    num_bytes: int

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Offset in the file, and bytes without the line's end, of every line that is not blank."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.num_bytes)
        offset = self.offset
        for line in data.split(b"\n"):
            if line and not line.isspace():
                yield offset, line
            offset += len(line) + 1

    def number_of(self, offset: int) -> int:
        """The number, from 1, of the line that begins at this byte of the file; reads all before it."""
        with self.path.open("rb") as file:
            return 1 + sum(1 for line in iter(file.readline, b"") if file.tell() <= offset)


def line_chunks(path: Path, chunk_bytes: int = CHUNK_BYTES) -> Iterator[LineChunk]:
    """The file in order; a chunk has about `chunk_bytes`, more only where a single line does."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise R3Error(f"cannot read {path}: {error.strerror}") from error
    with file:
        end, start = path.stat().st_size, 0
        while start < end:
            file.seek(min(start + chunk_bytes, end))
            file.readline()
            yield LineChunk(path, start, file.tell() - start)
            start = file.tell()
