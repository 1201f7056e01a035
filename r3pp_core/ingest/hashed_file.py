"""Files that are hashed while they are written, in a thread beside the writing: no byte is read again for its hash."""

import errno
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

COPY_BYTES = 4 << 20
MAX_WAITING = 4


class HashedFile:
    """A new file. `sha256` is that of everything written, once it is closed (a context manager closes it)."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hash")
        self._waiting: deque[Future[None]] = deque()
        self._buffer = bytearray(COPY_BYTES)
        self.num_bytes = 0

    def __enter__(self) -> "HashedFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown()
        self._file.close()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        self._later(self._digest.update, data)
        self._file.write(data)
        self.num_bytes += len(data)

    def copy(self, source: Path, ranges: Sequence[tuple[int, int]]) -> None:
        """Append byte ranges (start, end) of a file: the kernel copies them while the thread reads them to hash."""
        self._file.flush()
        with source.open("rb") as file:
            for start, end in _pieces(ranges):
                self._later(self._hash_range, file.fileno(), start, end)
                offset = start
                while offset < end:
                    copied = _copy_some(file.fileno(), self._file.fileno(), end - offset, offset)
                    assert copied, f"{source} became shorter while it was copied"
                    offset += copied
                self.num_bytes += end - start
            while self._waiting:
                self._waiting.popleft().result()

    def _hash_range(self, descriptor: int, start: int, end: int) -> None:
        view = memoryview(self._buffer)[: end - start]
        os.preadv(descriptor, [view], start)
        self._digest.update(view)

    def _later(self, work: Callable[..., None], *arguments: object) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(work, *arguments))


def _copy_some(source: int, target: int, count: int, offset: int) -> int:
    """How many bytes were copied: by the kernel, or, between file systems that it cannot join, through here."""
    try:
        return os.copy_file_range(source, target, count, offset)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return os.write(target, os.pread(source, count, offset))


def _pieces(ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for start, end in ranges:
        for piece in range(start, end, COPY_BYTES):
            yield piece, min(piece + COPY_BYTES, end)
