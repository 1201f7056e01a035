"""Download: Parquet in the Hub's columns -> one picture file per unique picture, and one raw table per split.

Row groups are streamed. A picture that many rows ask about is written once; a PNG is written through byte for byte,
anything else is converted to PNG in worker processes. Names stay the runbook's: `images/<split>_<n>.png`.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from r3pp_core.artefact import (
    Manifest,
    Outcome,
    Request,
    Target,
    build,
    fresh_manifest,
    is_whole,
    read_manifest,
)
from r3pp_core.datasets.registry import dataset_spec
from r3pp_core.datasets.spec import PICTURE_PREFIX, SPLITS, DatasetSpec
from r3pp_core.errors import R3Error
from r3pp_core.ingest.source import SourceFiles, check_splits, hub_identity, hub_source, local_source
from r3pp_core.jsonl import write_jsonl
from r3pp_core.launch.orphans import die_with_parent
from r3pp_core.pictures import MAX_SOURCE_PIXELS, PictureError, open_picture
from r3pp_core.progress import Progress, counted, silent

CODE_VERSION = "1"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ROWS_A_BATCH = 64
PICTURES_IN_FLIGHT = 32


class DownloadConfig(BaseModel):
    """Where raw rows come from and what is accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str | None = Field(None, description="local folder of Parquet in the Hub's layout; empty: the Hub")
    splits: list[str] = Field(list(SPLITS), description="which of train, val, test")
    max_rows: int | None = Field(None, ge=1, description="only the first rows of each split; empty: all")
    max_source_pixels: int = Field(MAX_SOURCE_PIXELS, ge=1, description="larger pictures are rejected undecoded")
    num_workers: int | None = Field(None, ge=1, description="processes that convert pictures; empty: one a core")


def raw_target(raw_dir: Path) -> Target:
    return Target(raw_dir)


def raw_table(raw_dir: Path, dataset: str, split: str) -> Path:
    return raw_dir / f"{dataset}_raw_{split}.jsonl"


def download(
    dataset: str,
    out_dir: Path,
    config: DownloadConfig = DownloadConfig(),
    progress: Progress = silent,
    *,
    force: bool = False,
) -> Manifest:
    """Write `out_dir/images/*.png` and `out_dir/<dataset>_raw_<split>.jsonl`; rejected rows to rejected.jsonl.

    A runbook folder that holds these tables without a manifest is validated and adopted, never downloaded again.
    Raises UsageError for an unknown data set or split, R3Error for a missing source, column or empty split.
    """
    from r3pp_core.ingest.adopt import adopt, is_runbook_folder

    spec = dataset_spec(dataset)
    splits = check_splits(config.splits)
    if not force and is_runbook_folder(spec, out_dir):
        return adopt(spec, out_dir, progress)
    if not force and (manifest := _adopted(out_dir)):
        progress(f"raw/{dataset}: {out_dir} was adopted, nothing to do (--force downloads it anew)")
        return manifest
    _refuse_foreign_pictures(out_dir)
    if config.source is None:
        request = _request(spec, config, splits, hub_identity(spec, splits))
        if not force and (manifest := fresh_manifest(raw_target(out_dir), request)):
            progress(f"raw/{dataset}: matches its pinned revisions, nothing to do")
            return manifest
        source = hub_source(spec, splits)
    else:
        source = local_source(spec, Path(config.source), splits)
        request = _request(spec, config, splits, source.identity)
    return build(
        raw_target(out_dir),
        request,
        lambda staging: _export(spec, source, staging, config, progress),
        force=force,
        progress=progress,
    )


def _refuse_foreign_pictures(out_dir: Path) -> None:
    """The images folder becomes ours, so one that we did not make is not touched."""
    images = out_dir / "images"
    if images.exists() and read_manifest(raw_target(out_dir)) is None:
        raise R3Error(f"{images} exists and was not made by r3pp download; choose another --out_dir or move it away")


def is_current(dataset: str, out_dir: Path, config: DownloadConfig) -> bool:
    """Whether `out_dir` holds what the config's local source holds now."""
    assert config.source is not None, "the Hub's sources are pinned, they do not change"
    if _adopted(out_dir):
        return True
    spec, splits = dataset_spec(dataset), check_splits(config.splits)
    source = local_source(spec, Path(config.source), splits)
    return fresh_manifest(raw_target(out_dir), _request(spec, config, splits, source.identity)) is not None


def _adopted(out_dir: Path) -> Manifest | None:
    """The manifest of a whole adopted folder: it has no source that it could be compared with."""
    manifest = read_manifest(raw_target(out_dir))
    adopted = manifest is not None and manifest.details.get("adopted") and is_whole(raw_target(out_dir), manifest)
    return manifest if adopted else None


def _request(spec: DatasetSpec, config: DownloadConfig, splits: list[str], identity: str) -> Request:
    return Request(
        stage=f"raw/{spec.name}",
        code_version=CODE_VERSION,
        config={"splits": splits, "max_rows": config.max_rows, "max_source_pixels": config.max_source_pixels},
        inputs={"source": identity},
    )


def _export(
    spec: DatasetSpec, source: SourceFiles, staging: Path, config: DownloadConfig, progress: Progress
) -> Outcome:
    (staging / "images").mkdir()
    counts: Counter[str] = Counter()
    rejected: list[dict[str, Any]] = []
    hashes: dict[str, str] = {}
    workers = config.num_workers or os.cpu_count() or 1
    with ProcessPoolExecutor(workers, get_context("spawn"), die_with_parent) as pool:
        for split, files in source.files.items():
            exporter = _SplitExporter(spec, split, staging / "images", config, pool)
            rows = counted(_rows_of(spec, files, config.max_rows), None, f"raw/{spec.name} {split} rows", progress)
            counts[f"rows_{split}"] = write_jsonl(raw_table(staging, spec.name, split), exporter.accepted(rows))
            counts[f"pictures_{split}"] = len(exporter.hashes)
            if exporter.num_rows == 0:
                raise R3Error(f"{spec.name}: split {split} of the source is empty; leave it out with --splits")
            counts["rows_in"] += exporter.num_rows
            rejected += exporter.rejected
            hashes.update(exporter.hashes)
    counts["rows"] = counts["rows_in"] - len(rejected)
    counts["pictures"] = len(hashes)
    write_jsonl(staging / "rejected.jsonl", rejected)
    left_out = Counter(row["reason"] for row in rejected)
    return Outcome(counts=counts, left_out=left_out, trees={"images": hashes})


def _rows_of(spec: DatasetSpec, files: list[Path], max_rows: int | None) -> Iterator[dict[str, Any]]:
    """Rows with the spec's own names: image (bytes or None), question, answers, meta; streamed by row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    num_rows = 0
    for path in files:
        try:
            table = pq.ParquetFile(path)
            found = table.schema_arrow.names
            names = {
                "image": spec.column("image", spec.image, found),
                "question": spec.column("question", spec.question, found),
                "answers": spec.column("answers", spec.answers, found),
            }
            meta = {key: name for key, names_ in spec.meta.items() for name in names_ if name in found}
            for batch in table.iter_batches(ROWS_A_BATCH, columns=[*names.values(), *meta.values()]):
                for row in batch.to_pylist():
                    if max_rows is not None and num_rows >= max_rows:
                        return
                    num_rows += 1
                    yield {
                        "image": _picture_bytes(row[names["image"]]),
                        "question": row[names["question"]],
                        "answers": _answers(row[names["answers"]]),
                        "meta": {key: row[name] for key, name in meta.items()},
                    }
        except (pa.ArrowException, OSError) as error:
            raise R3Error(
                f"{path} is not a readable Parquet file ({str(error).splitlines()[0]}); fetch it again"
            ) from error


def _picture_bytes(value: object) -> bytes | None:
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, bytes) and value else None


def _answers(value: object) -> list[str]:
    """All reference answers, in order, without empty ones and repetitions."""
    values = value if isinstance(value, list) else [value]
    return list(dict.fromkeys(text for item in values if item is not None and (text := str(item).strip())))


class _SplitExporter:
    """Gives each unique picture of a split its name, file and hash; keeps what had to be rejected."""

    def __init__(
        self, spec: DatasetSpec, split: str, images: Path, config: DownloadConfig, pool: ProcessPoolExecutor
    ) -> None:
        self.spec, self.split, self.images, self.config, self.pool = spec, split, images, config, pool
        self.hashes: dict[str, str] = {}
        self.rejected: list[dict[str, Any]] = []
        self.num_rows = 0
        self._stored: dict[str, tuple[str, Future[str]]] = {}

    def accepted(self, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        waiting: list[tuple[dict[str, Any], str, Future[str]]] = []
        for number, row in enumerate(rows):
            self.num_rows += 1
            raw = {
                "id": f"{self.spec.name}/{self.split}/{number}",
                "dataset": self.spec.name,
                "split": self.split,
                "question": row["question"],
                "answers": row["answers"],
                "meta": row["meta"],
            }
            if row["image"] is None:
                self._reject(raw, "picture_missing", "the row holds no picture bytes")
                continue
            name, stored = self._store(row["image"])
            waiting.append((raw, name, stored))
            if len(waiting) >= PICTURES_IN_FLIGHT:
                yield from self._finish(waiting)
        yield from self._finish(waiting)

    def _store(self, data: bytes) -> tuple[str, Future[str]]:
        source_hash = hashlib.sha256(data).hexdigest()
        if source_hash not in self._stored:
            name = f"{PICTURE_PREFIX[self.split]}_{len(self._stored)}.png"
            stored = self.pool.submit(store_picture, data, self.images / name, self.config.max_source_pixels)
            self._stored[source_hash] = (name, stored)
        return self._stored[source_hash]

    def _finish(self, waiting: list[tuple[dict[str, Any], str, Future[str]]]) -> Iterator[dict[str, Any]]:
        for raw, name, stored in waiting:
            try:
                self.hashes[name] = stored.result()
            except PictureError as error:
                self._reject(raw, error.reason, str(error))
                continue
            except BrokenProcessPool as error:
                raise R3Error(
                    f"{raw['id']}: a process that converts pictures was killed, perhaps for want of memory; "
                    "run it again with fewer --num_workers"
                ) from error
            yield {**raw, "image": f"images/{name}", "image_sha256": self.hashes[name]}
        waiting.clear()

    def _reject(self, raw: dict[str, Any], reason: str, detail: str) -> None:
        self.rejected.append({"id": raw["id"], "reason": reason, "detail": detail})


def store_picture(data: bytes, path: Path, max_source_pixels: int) -> str:
    """Write a picture as PNG and return the SHA-256 of the file. A PNG is written through byte for byte.

    Raises PictureError (nothing is written) for a picture that cannot be used.
    """
    image = open_picture(data, max_source_pixels)
    if data.startswith(PNG_SIGNATURE):
        path.write_bytes(data)
    else:
        image.save(path, format="PNG", compress_level=3)
        data = path.read_bytes()
    return hashlib.sha256(data).hexdigest()
