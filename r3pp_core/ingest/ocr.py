"""OCR: what a picture says in words, once per unique picture.

RapidOCR runs in worker processes of one thread each, here or in the ranks of a launcher. Every result goes at once
into a cache keyed by the picture's hash, so an interrupted run goes on where it stood and a picture seen before costs
nothing.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from r3pp_core import code_versions
from r3pp_core.artefact import Manifest, Outcome, Request, Target, build, require_manifest
from r3pp_core.datasets.registry import dataset_spec
from r3pp_core.ingest.config import OcrConfig
from r3pp_core.ingest.download import raw_target
from r3pp_core.ingest.line_chunks import line_chunks
from r3pp_core.ingest.ocr_cache import OcrCache
from r3pp_core.ingest.ocr_engine import engine_name, read_picture, text_of
from r3pp_core.ingest.ocr_index import chunk_places, index_path, write_index
from r3pp_core.ingest.ocr_shard import cache_dir, picture_files, read_shard
from r3pp_core.jsonl import write_jsonl
from r3pp_core.launch.interface import LaunchConfig
from r3pp_core.progress import Progress, silent

REJECTED = "ocr.rejected.jsonl"


def ocr_target(raw_dir: Path) -> Target:
    """The OCR artefact lives beside the pictures it read: `<raw_dir>/ocr.jsonl`."""
    return Target(raw_dir, "ocr")


def ocr_path(raw_dir: Path) -> Path:
    return raw_dir / "ocr.jsonl"


def run_ocr(
    dataset: str,
    raw_dir: Path,
    config: OcrConfig = OcrConfig(),
    progress: Progress = silent,
    *,
    launch: LaunchConfig | None = None,
    force: bool = False,
) -> Manifest:
    """Write `raw_dir/ocr.jsonl`, reading each unique picture once; with `launch` by the ranks of a launcher.

    A line per picture file: image_path, image_sha256, ocr_text, ocr_conf (mean over lines, null without text), width,
    height, phash, and lines (text, box in pixels x0 y0 x1 y1, conf) in reading order. Pictures that cannot be read go
    to ocr.rejected.jsonl, counted.
    """
    dataset_spec(dataset)
    raw = require_manifest(raw_target(raw_dir), f"r3pp download {dataset} --out_dir {raw_dir}")
    request = Request(
        stage=f"ocr/{dataset}",
        code_version=code_versions.OCR,
        config={"min_conf": config.min_conf, "engine": engine_name()},
        inputs={"raw": raw.content_hash},
    )

    def make(staging: Path) -> Outcome:
        if launch is None:
            read_shard(raw_dir, dataset, config, progress)
        else:
            from r3pp_core.ingest.ocr_rank import ocr_job
            from r3pp_core.launch.registry import run_with_progress

            run_with_progress(launch, ocr_job(dataset, raw_dir, config), progress)
        files = picture_files(raw_dir, dataset)
        table = _Table(raw_dir, config.min_conf)
        counts = {"pictures": len(set(files.values())), "rows": write_jsonl(ocr_path(staging), table.rows(files))}
        write_index(map(chunk_places, line_chunks(ocr_path(staging))), index_path(ocr_path(staging)))
        write_jsonl(staging / REJECTED, table.rejected)
        assert counts["rows"] + len(table.rejected) == len(files), "a picture was lost"
        left_out = Counter(row["reason"] for row in table.rejected)
        return Outcome({**counts, **table.counts}, left_out, {"engine": engine_name()})

    return build(ocr_target(raw_dir), request, make, force=force, progress=progress)


class _Table:
    """The rows of ocr.jsonl from the cache, one for each picture file; what the cache lacks is read once more here."""

    def __init__(self, raw_dir: Path, min_conf: float) -> None:
        self.raw_dir, self.min_conf = raw_dir, min_conf
        self.cache = OcrCache(cache_dir(raw_dir))
        self.rejected: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter({"pictures_without_text": 0, "lines": 0})

    def rows(self, files: dict[str, str]) -> Iterator[dict[str, Any]]:
        for path, sha in files.items():
            record = self.cache.record(sha) if sha in self.cache else read_picture(self.raw_dir / path)
            if "reason" in record:
                self.rejected.append({"id": path, "reason": record["reason"], "detail": record["detail"]})
                continue
            row = self._row(path, sha, record)
            self.counts["pictures_without_text"] += not row["ocr_text"]
            self.counts["lines"] += len(row["lines"])
            yield row

    def _row(self, path: str, sha: str, record: dict[str, Any]) -> dict[str, Any]:
        lines, text, conf = text_of(record["lines"], self.min_conf)
        return {
            "image_path": path,
            "image_sha256": sha,
            "ocr_text": text,
            "ocr_conf": conf,
            "width": record["width"],
            "height": record["height"],
            "phash": record["phash"],
            "lines": lines,
        }
