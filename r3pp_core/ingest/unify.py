"""Unify: raw rows and OCR text -> `<dataset>_unified_<split>.jsonl` and `.parquet`, one schema for every data set.

Chunks of lines go through worker processes; what they give is written in the order of the lines.
"""

import gc
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from r3pp_core import code_versions
from r3pp_core.artefact import (
    Manifest,
    Outcome,
    Request,
    Target,
    build,
    content_hash_of,
    manifest_beside,
    read_manifest,
    require_manifest,
)
from r3pp_core.datasets.registry import dataset_spec
from r3pp_core.datasets.spec import SPLITS
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.ingest.config import OcrConfig, UnifyConfig
from r3pp_core.ingest.download import raw_table, raw_target
from r3pp_core.ingest.hashed_file import HashedFile
from r3pp_core.ingest.line_chunks import line_chunks
from r3pp_core.ingest.merge_keys import keys_path
from r3pp_core.ingest.ocr import REJECTED, ocr_path, ocr_target, run_ocr
from r3pp_core.ingest.ocr_index import chunk_places, index_path, write_index
from r3pp_core.ingest.unify_chunk import REPEATED_COLUMNS, Setting, UnifiedChunk, arrow_stream_schema, unify_chunk
from r3pp_core.ingest.workers import Workers, processes_for
from r3pp_core.jsonl import write_jsonl
from r3pp_core.progress import Progress, counted, silent

ROWS_A_GROUP = 16_384


def unified_target(unified_dir: Path, dataset: str) -> Target:
    return Target(unified_dir, f"{dataset}_unified")


def unified_table(unified_dir: Path, dataset: str, split: str) -> Path:
    return unified_dir / f"{dataset}_unified_{split}.jsonl"


def unify(
    dataset: str,
    raw_dir: Path,
    out_dir: Path,
    config: UnifyConfig = UnifyConfig(),
    progress: Progress = silent,
    *,
    force: bool = False,
) -> Manifest:
    """Write two unified tables per raw table; rows that cannot be used go to `<dataset>_unified.rejected.jsonl`.

    Rejection reasons: not_json, schema, question_empty, answer_missing (train and val only; hidden test answers stay as
    rows without answers and are counted), and what OCR said of a picture that it could not open. Raises UsageError for
    a bad prefix or OCR file, R3Error for missing raw data.
    """
    dataset_spec(dataset)
    raw_dir = find_raw_dir(dataset, raw_dir)
    raw = require_manifest(raw_target(raw_dir), f"r3pp download {dataset} --out_dir {raw_dir}")
    prefix = config.image_prefix or dataset
    if "/" in prefix or prefix in (".", ".."):
        raise UsageError(f"--image_prefix {prefix!r} must be one folder name, such as {dataset}")
    ocr_file = _ocr_file(dataset, raw_dir, raw, config.ocr, progress)
    rejected_by_ocr = raw_dir / REJECTED
    unreadable = rejected_by_ocr if config.ocr == "auto" and rejected_by_ocr.is_file() else None
    tables = _raw_tables(dataset, raw_dir, raw)
    request = Request(
        stage=f"unified/{dataset}",
        code_version=code_versions.UNIFY,
        config={"image_prefix": prefix},
        inputs={
            "raw": raw.content_hash,
            **{path.name: content_hash_of(path) for path in tables.values()},
            "ocr": content_hash_of(ocr_file) if ocr_file else "none",
            "ocr_rejected": content_hash_of(unreadable) if unreadable else "none",
        },
    )

    def make(staging: Path) -> Outcome:
        with ExitStack() as open_files:
            writers = {path: _SplitWriter(staging, dataset, split, open_files) for split, path in tables.items()}
            scratch = Path(open_files.enter_context(tempfile.TemporaryDirectory(dir=staging)))
            workers = processes_for([*tables.values(), *([ocr_file] if ocr_file else [])], config.num_workers)
            pool = open_files.enter_context(Workers(workers, gc.disable))
            index = index_path(ocr_file) if ocr_file else None
            if ocr_file and (config.ocr != "auto" or None in map(manifest_beside, (ocr_file, index_path(ocr_file)))):
                index = scratch / "index.npy"
                write_index(pool.mapped(chunk_places, line_chunks(ocr_file)), index)
            setting = Setting(request.fingerprint, prefix, ocr_file, index, unreadable)
            chunks = ((setting, chunk) for path in tables.values() for chunk in line_chunks(path))
            for chunk in counted(pool.mapped(unify_chunk, chunks), None, f"unified/{dataset} chunks", progress):
                writers[chunk.table].write(chunk)
            for writer in writers.values():
                writer.finish()
        rejected = [row for writer in writers.values() for row in writer.rejected]
        write_jsonl(staging / f"{dataset}_unified.rejected.jsonl", rejected)
        counts = Counter({f"rows_{split}": writers[path].num_rows for split, path in tables.items()})
        counts["rows"] = counts.total()
        for writer in writers.values():
            counts.update(writer.counts)
        _refuse_lost_rows(raw, tables, writers)
        _refuse_other_ocr(config.ocr, counts)
        hashes = {unified_table(staging, dataset, split).name: writers[path].sha256 for split, path in tables.items()}
        return Outcome(counts=counts, left_out=Counter(row["reason"] for row in rejected), hashes=hashes)

    return build(unified_target(out_dir, dataset), request, make, force=force, progress=progress)


def _raw_tables(dataset: str, raw_dir: Path, raw: Manifest) -> dict[str, Path]:
    """The tables by split; R3Error when one that the manifest names is gone."""
    tables = {split: raw_table(raw_dir, dataset, split) for split in SPLITS}
    gone = [path.name for path in tables.values() if path.name in raw.files and not path.is_file()]
    if gone:
        command = f"r3pp download {dataset} --out_dir {raw_dir} --force"
        raise R3Error(f"{raw_dir}: {', '.join(gone)} is gone; run `{command}`")
    return {split: path for split, path in tables.items() if path.is_file()}


def _refuse_lost_rows(raw: Manifest, tables: dict[str, Path], writers: dict[Path, "_SplitWriter"]) -> None:
    """Raise R3Error when a raw table has fewer rows than its manifest counts."""
    for split, path in tables.items():
        found, wanted = writers[path].counts["rows_in"], raw.counts.get(f"rows_{split}")
        if wanted is not None and found < wanted:
            raise R3Error(
                f"{path} has {found} rows, but {wanted} were written; put it back, or run `r3pp download` with --force"
            )


def _refuse_other_ocr(ocr: str, counts: Counter[str]) -> None:
    """Raise R3Error when a file of the user's own knows not a single picture."""
    if ocr not in ("auto", "none") and counts["rows"] and counts["rows_not_in_ocr"] == counts["rows"]:
        raise R3Error(
            f"--ocr {ocr} knows the picture of none of the {counts['rows']} rows; its image_path must be as in the raw "
            "tables, such as images/train_0.png"
        )


class _SplitWriter:
    """JSONL and Parquet of one split, written chunk by chunk; `counts` is over the chunks written so far."""

    def __init__(self, staging: Path, dataset: str, split: str, open_files: ExitStack) -> None:
        import pyarrow.parquet as pq

        path = unified_table(staging, dataset, split)
        self._jsonl = open_files.enter_context(HashedFile(path))
        self._keys = open_files.enter_context(keys_path(path).open("wb"))
        # Dictionaries stay inside the file: without `store_schema` readers get the one schema, plain strings.
        parquet = pq.ParquetWriter(
            path.with_suffix(".parquet"),
            arrow_stream_schema(),
            compression="zstd",
            compression_level=1,
            use_dictionary=list(REPEATED_COLUMNS),
            store_schema=False,
        )
        self._parquet: Any = open_files.enter_context(parquet)
        self._waiting: list[Any] = []  # Arrow tables that together are not yet a row group
        self.num_rows = 0
        self.counts: Counter[str] = Counter()
        self.rejected: list[dict[str, str]] = []

    def write(self, chunk: UnifiedChunk) -> None:
        import pyarrow as pa

        assert chunk.num_rows + len(chunk.rejected) == chunk.counts["rows_in"], "a row was lost"
        chunk.keys["offset"] += self._jsonl.num_bytes
        self._keys.write(chunk.keys.tobytes())
        self._jsonl.write(chunk.jsonl)
        self._waiting.append(pa.ipc.open_stream(chunk.arrow).read_all())
        self.num_rows += chunk.num_rows
        self.counts.update(chunk.counts)
        self.rejected += chunk.rejected
        if sum(table.num_rows for table in self._waiting) >= ROWS_A_GROUP:
            self.finish()

    @property
    def sha256(self) -> str:
        """Of the JSONL, once it is closed."""
        return self._jsonl.sha256

    def finish(self) -> None:
        """Write what waits as one row group."""
        import pyarrow as pa

        if any(table.num_rows for table in self._waiting):
            self._parquet.write_table(pa.concat_tables(self._waiting).unify_dictionaries())
        self._waiting.clear()


def find_raw_dir(dataset: str, raw_dir: Path) -> Path:
    """`raw_dir` itself, or `raw_dir/<dataset>` when that is where the tables lie."""
    inner = raw_dir / dataset
    return (
        inner if read_manifest(raw_target(raw_dir)) is None and raw_target(inner).manifest_path.is_file() else raw_dir
    )


def _ocr_file(dataset: str, raw_dir: Path, raw: Manifest, ocr: str, progress: Progress) -> Path | None:
    if ocr == "none":
        return None
    if ocr == "auto":
        # An OCR artefact of the present pictures is used whatever settings made it; else OCR runs now.
        made = read_manifest(ocr_target(raw_dir))
        if made is None or made.inputs["raw"] != raw.content_hash or not ocr_path(raw_dir).is_file():
            run_ocr(dataset, raw_dir, OcrConfig(), progress)
        return ocr_path(raw_dir)
    path = Path(ocr)
    if not path.is_file():
        raise UsageError(f"--ocr {ocr} is neither auto nor none nor a JSONL file that exists")
    return path
