"""Download: Parquet in the Hub's columns -> one picture file per unique picture, and one raw table per split.

Row groups are streamed. A picture that many rows ask about is written once; a PNG is written through byte for byte,
anything else is converted to PNG in worker processes. Names stay the runbook's: `images/<split>_<n>.png`.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from r3pp_core import code_versions
from r3pp_core.artefact import (
    Manifest,
    Outcome,
    Request,
    Target,
    build,
    cached_file_hash,
    fresh_manifest,
    is_whole,
    read_manifest,
)
from r3pp_core.datasets.registry import dataset_spec
from r3pp_core.datasets.spec import DatasetSpec
from r3pp_core.errors import R3Error
from r3pp_core.ingest.config import DownloadConfig
from r3pp_core.ingest.source import SourceFiles, hub_identity, hub_source, local_source, spec_splits
from r3pp_core.ingest.source_rows import read_source_rows
from r3pp_core.ingest.split_export import PictureStore, SplitExporter
from r3pp_core.ingest.workers import num_processes
from r3pp_core.jsonl import write_jsonl
from r3pp_core.progress import Progress, counted, silent


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
    splits = spec_splits(spec, config.splits)
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
        source = hub_source(spec, splits, progress)
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
    """Whether `out_dir` holds what the config's local source holds now.

    A process that asks again and again reads a file anew only where its size or time changed.
    """
    assert config.source is not None, "the Hub's sources are pinned, they do not change"
    if _adopted(out_dir):
        return True
    spec = dataset_spec(dataset)
    splits = spec_splits(spec, config.splits)
    source = local_source(spec, Path(config.source), splits, cached_file_hash)
    return fresh_manifest(raw_target(out_dir), _request(spec, config, splits, source.identity)) is not None


def _adopted(out_dir: Path) -> Manifest | None:
    """The manifest of a whole adopted folder: it has no source that it could be compared with."""
    manifest = read_manifest(raw_target(out_dir))
    adopted = manifest is not None and manifest.details.get("adopted") and is_whole(raw_target(out_dir), manifest)
    return manifest if adopted else None


def _request(spec: DatasetSpec, config: DownloadConfig, splits: list[str], identity: str) -> Request:
    return Request(
        stage=f"raw/{spec.name}",
        code_version=code_versions.DOWNLOAD,
        config={
            "splits": splits,
            "max_rows": config.max_rows,
            "max_source_pixels": config.max_source_pixels,
            "image_format": config.image_format,
        },
        inputs={"source": identity},
    )


def _export(
    spec: DatasetSpec, source: SourceFiles, staging: Path, config: DownloadConfig, progress: Progress
) -> Outcome:
    (staging / "images").mkdir()
    counts: Counter[str] = Counter()
    rejected: list[dict[str, Any]] = []
    hashes: dict[str, str] = {}
    with PictureStore(
        staging / "images", config.max_source_pixels, config.image_format, num_processes(config.num_workers)
    ) as store:
        for split, files in source.files.items():
            exporter = SplitExporter(spec.name, split, store)
            rows = read_source_rows(spec, files, config.max_rows)
            rows = counted(rows, None, f"raw/{spec.name} {split} rows", progress)
            counts[f"rows_{split}"] = write_jsonl(raw_table(staging, spec.name, split), exporter.accepted(rows))
            counts[f"pictures_{split}"] = len(exporter.hashes)
            if exporter.num_rows == 0:
                raise R3Error(f"{spec.name}: split {split} of the source is empty; leave it out with --splits")
            counts["rows_in"] += exporter.num_rows
            rejected += exporter.rejected
            hashes.update(exporter.hashes)
    counts["rows"] = sum(counts[f"rows_{split}"] for split in source.files)
    counts["pictures"] = len(hashes)
    assert counts["rows_in"] == counts["rows"] + len(rejected), "a row was lost"
    write_jsonl(staging / "rejected.jsonl", rejected)
    left_out = Counter(row["reason"] for row in rejected)
    details = {"commits": dict(source.commits)} if source.commits else {}
    return Outcome(counts=counts, left_out=left_out, details=details, trees={"images": hashes})
