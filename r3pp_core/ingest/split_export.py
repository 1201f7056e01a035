"""One split's rows and pictures: each unique picture gets its name, file and hash, once."""

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from r3pp_core.datasets.spec import PICTURE_PREFIX
from r3pp_core.errors import R3Error
from r3pp_core.ingest import picture_files
from r3pp_core.ingest.picture_files import PNG_SIGNATURE
from r3pp_core.ingest.reasons import Reason
from r3pp_core.ingest.source_rows import SourceRow
from r3pp_core.ingest.workers import worker_pool
from r3pp_core.pictures import PictureError

MAX_WAITING_ROWS = 64
MAX_WAITING_BYTES = 128 << 20


class PictureStore:
    """Writes pictures in the background: PNGs in threads, since that work is input and output, others in processes."""

    def __init__(self, images: Path, max_source_pixels: int, image_format: str, num_workers: int) -> None:
        self.images, self.max_source_pixels = images, max_source_pixels
        self.keeps_format = image_format == "original"
        self._threads: Executor = ThreadPoolExecutor(num_workers, thread_name_prefix="png")
        self._processes: Executor = worker_pool(num_workers)

    def __enter__(self) -> "PictureStore":
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._processes.shutdown(cancel_futures=True)

    def store(self, data: bytes, sha256: str, stem: str) -> tuple[str, "Future[str]"]:
        """The file's name, and its SHA-256 to come; the future raises PictureError for what cannot be used.

        `sha256` is that of `data`.
        """
        is_png = data.startswith(PNG_SIGNATURE)
        if is_png:
            pool, work = self._threads, picture_files.write_png_through
        else:
            pool = self._processes
            work = picture_files.keep_picture if self.keeps_format else picture_files.convert_picture
        name = stem + (picture_files.suffix_of(data) if self.keeps_format and not is_png else ".png")
        return name, pool.submit(work, data, self.images / name, self.max_source_pixels, sha256)


class SplitExporter:
    """After `accepted` is exhausted, `hashes` {file name: SHA-256} and `rejected` hold the rest of what was found."""

    def __init__(self, dataset: str, split: str, store: PictureStore) -> None:
        self.dataset, self.split, self.store = dataset, split, store
        self.hashes: dict[str, str] = {}
        self.rejected: list[dict[str, Any]] = []
        self.num_rows = 0
        self._stored: dict[bytes, _Stored] = {}

    def accepted(self, rows: Iterator[SourceRow]) -> Iterator[dict[str, Any]]:
        """Raw rows in the source's order; a bounded number of rows and bytes waits for its pictures."""
        waiting: deque[tuple[int, dict[str, Any], _Stored]] = deque()
        num_bytes = 0
        for number, row in enumerate(rows):
            self.num_rows += 1
            raw = self._raw(number, row)
            if row.problem is not None:
                self._reject(raw, Reason.TEXT_UNDECODABLE, row.problem)
                continue
            if row.image is None:
                self._reject(raw, Reason.PICTURE_MISSING, "the row holds no picture bytes")
                continue
            try:
                waiting.append((len(row.image), raw, self._store(row.image)))
            except BrokenProcessPool as error:
                raise _converter_killed(raw["id"]) from error
            num_bytes += len(row.image)
            while len(waiting) > MAX_WAITING_ROWS or (num_bytes > MAX_WAITING_BYTES and len(waiting) > 1):
                size, raw, stored = waiting.popleft()
                num_bytes -= size
                yield from self._finish(raw, stored)
        for _, raw, stored in waiting:
            yield from self._finish(raw, stored)

    def _raw(self, number: int, row: SourceRow) -> dict[str, Any]:
        return {
            "id": f"{self.dataset}/{self.split}/{number}",
            "dataset": self.dataset,
            "split": self.split,
            "question": row.question,
            "answers": row.answers,
            "meta": row.meta,
        }

    def _store(self, data: bytes) -> "_Stored":
        digest = hashlib.sha256(data)
        if digest.digest() not in self._stored:
            stem = f"{PICTURE_PREFIX[self.split]}_{len(self._stored)}"
            self._stored[digest.digest()] = _Stored(*self.store.store(data, digest.hexdigest(), stem))
        return self._stored[digest.digest()]

    def _finish(self, raw: dict[str, Any], stored: "_Stored") -> Iterator[dict[str, Any]]:
        try:
            sha256, problem = stored.outcome()
        except BrokenProcessPool as error:
            raise _converter_killed(raw["id"]) from error
        if sha256 is None:
            self._reject(raw, *problem)
            return
        self.hashes[stored.name] = sha256
        yield {**raw, "image": f"images/{stored.name}", "image_sha256": sha256}

    def _reject(self, raw: dict[str, Any], reason: str, detail: str) -> None:
        self.rejected.append({"id": raw["id"], "reason": reason, "detail": detail})


class _Stored:
    """A picture's file name and, once it is known, its hash or why there is none; the picture itself is let go."""

    __slots__ = ("_future", "_problem", "_sha256", "name")

    def __init__(self, name: str, future: "Future[str]") -> None:
        self.name = name
        self._future: Future[str] | None = future
        self._sha256: str | None = None
        self._problem = ("", "")

    def outcome(self) -> tuple[str | None, tuple[str, str]]:
        """The hash, or None with reason and detail."""
        if self._future is not None:
            try:
                self._sha256 = self._future.result()
            except PictureError as error:
                self._problem = (error.reason, str(error))
            self._future = None  # its exception's traceback holds the picture's bytes
        return self._sha256, self._problem


def _converter_killed(row_id: str) -> R3Error:
    return R3Error(
        f"{row_id}: a process that converts pictures was killed, perhaps for want of memory; "
        "run it again with fewer --num_workers"
    )
