"""OCR: what a picture says in words, once per unique picture.

RapidOCR runs in worker processes of one thread each. Every result goes at once into a cache file keyed by the
picture's hash, so an interrupted run goes on where it stood and a picture seen before costs nothing.
"""

import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from r3pp_core.artefact import Manifest, Outcome, Request, Target, build, require_manifest
from r3pp_core.datasets.registry import dataset_spec
from r3pp_core.datasets.spec import SPLITS
from r3pp_core.errors import R3Error
from r3pp_core.ingest.download import raw_table, raw_target
from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.pictures import PictureError, open_picture
from r3pp_core.progress import Progress, counted, silent

CODE_VERSION = "1"
MAX_OCR_PIXELS = 4_000_000
# Small pictures are enlarged to 512 and not to 736 pixels on the short side, and text is taken to be upright: a quarter
# less time, the same boxes on the embedded sample.
SHORT_SIDE = 512
SAME_LINE_OVERLAP = 0.5


class OcrConfig(BaseModel):
    """How pictures are read. `min_conf` drops lines that the engine itself doubts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_conf: float = Field(0.5, ge=0, le=1, description="lines below this confidence are left out")
    num_workers: int | None = Field(None, ge=1, description="worker processes; empty: one a core")


def ocr_target(raw_dir: Path) -> Target:
    """The OCR artefact lives beside the pictures it read: `<raw_dir>/ocr.jsonl`."""
    return Target(raw_dir, "ocr")


def ocr_path(raw_dir: Path) -> Path:
    return raw_dir / "ocr.jsonl"


def engine_name() -> str:
    """The engine with the settings that change what it reads; results of another are never reused."""
    return f"rapidocr-{version('rapidocr')}-short{SHORT_SIDE}-upright"


def run_ocr(
    dataset: str,
    raw_dir: Path,
    config: OcrConfig = OcrConfig(),
    progress: Progress = silent,
    *,
    force: bool = False,
) -> Manifest:
    """Write `raw_dir/ocr.jsonl`, reading each unique picture once.

    A line per picture file: image_path, image_sha256, ocr_text, ocr_conf (mean over lines, null without text), width,
    height, and lines (text, box in pixels x0 y0 x1 y1, conf) in reading order. Pictures that cannot be read go to
    ocr.rejected.jsonl, counted.
    """
    spec = dataset_spec(dataset)
    raw = require_manifest(raw_target(raw_dir), f"r3pp download {dataset} --out_dir {raw_dir}")
    request = Request(
        stage=f"ocr/{dataset}",
        code_version=CODE_VERSION,
        config={"min_conf": config.min_conf, "engine": engine_name()},
        inputs={"raw": raw.content_hash},
    )

    def make(staging: Path) -> Outcome:
        files = _picture_files(raw_dir, spec.name)
        pictures = {sha: path for path, sha in reversed(files.items())}  # the first file of each picture
        cache = OcrCache(raw_dir / ".ocr_cache" / f"{engine_name()}.jsonl")
        missing = {sha: path for sha, path in pictures.items() if sha not in cache.records}
        progress(f"ocr/{dataset}: {len(pictures)} pictures, {len(pictures) - len(missing)} read before")
        for sha, record in counted(
            _read_all(raw_dir, missing, config), len(missing), f"ocr/{dataset} pictures", progress
        ):
            cache.add(sha, record)
        read = [(sha, path, cache.records[sha]) for path, sha in files.items()]
        rejected = [
            {"id": path, "reason": record["reason"], "detail": record["detail"]}
            for _, path, record in read
            if "reason" in record
        ]
        good = [_table_row(sha, path, record, config.min_conf) for sha, path, record in read if "reason" not in record]
        write_jsonl(ocr_path(staging), good)
        write_jsonl(staging / "ocr.rejected.jsonl", rejected)
        return Outcome(
            counts={
                "pictures": len(pictures),
                "rows": len(good),
                "pictures_without_text": sum(not row["ocr_text"] for row in good),
                "lines": sum(len(row["lines"]) for row in good),
            },
            left_out={
                reason: sum(r["reason"] == reason for r in rejected) for reason in {r["reason"] for r in rejected}
            },
            details={"engine": engine_name()},
        )

    return build(ocr_target(raw_dir), request, make, force=force, progress=progress)


def _picture_files(raw_dir: Path, dataset: str) -> dict[str, str]:
    """Hash of each picture file (path relative to raw_dir), in order of first appearance."""
    files: dict[str, str] = {}
    for split in SPLITS:
        if (table := raw_table(raw_dir, dataset, split)).is_file():
            for row in read_jsonl(table):
                files[row["image"]] = row["image_sha256"]
    return files


def _table_row(sha: str, path: str, record: dict[str, Any], min_conf: float) -> dict[str, Any]:
    lines = [line for line in record["lines"] if line["conf"] >= min_conf]
    conf = round(sum(line["conf"] for line in lines) / len(lines), 4) if lines else None
    return {
        "image_path": path,
        "image_sha256": sha,
        "ocr_text": "\n".join(line["text"] for line in lines),
        "ocr_conf": conf,
        "width": record["width"],
        "height": record["height"],
        "lines": lines,
    }


class OcrCache:
    """Results by picture hash in an append-only file; a last line torn by a crash is read again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            for line in path.read_bytes().splitlines(keepends=True):
                if line.endswith(b"\n"):
                    row = orjson.loads(line)
                    self.records[row["sha256"]] = row["record"]
            self._rewrite()

    def add(self, sha: str, record: dict[str, Any]) -> None:
        self.records[sha] = record
        if "reason" in record:
            return  # a picture that could not be read is tried again: its file may be back by then
        with self.path.open("ab") as file:
            file.write(orjson.dumps({"sha256": sha, "record": record}, option=orjson.OPT_APPEND_NEWLINE))

    def _rewrite(self) -> None:
        whole = self.path.with_suffix(".whole")
        write_jsonl(whole, ({"sha256": sha, "record": record} for sha, record in self.records.items()))
        whole.replace(self.path)


def _read_all(raw_dir: Path, pictures: dict[str, str], config: OcrConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    if not pictures:
        return
    workers = min(config.num_workers or os.cpu_count() or 1, len(pictures))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_engine) as pool:
        records: Iterable[dict[str, Any]] = pool.map(
            read_picture, [raw_dir / path for path in pictures.values()], chunksize=1
        )
        try:
            yield from zip(pictures, records, strict=True)
        except BrokenProcessPool as error:
            raise R3Error(
                "a process that reads pictures was killed, perhaps for want of memory; what was read is kept, "
                "run it again with fewer --num_workers"
            ) from error


_engine: Any = None  # one engine a worker process, made by the pool's initializer


def _start_engine() -> None:
    global _engine
    import logging

    from rapidocr import RapidOCR

    from r3pp_core.launch.orphans import die_with_parent

    if multiprocessing.parent_process() is not None:
        die_with_parent()

    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    _engine = RapidOCR(
        params={
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            "Global.log_level": "error",
            "Global.use_cls": False,
            "Det.limit_side_len": SHORT_SIDE,
        }
    )


def read_picture(path: Path) -> dict[str, Any]:
    """Width, height and lines (text, box, conf) in reading order, or the reason why there are none."""
    import numpy as np

    try:
        image = open_picture(path)
    except PictureError as error:
        return {"reason": error.reason, "detail": str(error)}
    width, height = image.size
    scale = min(1.0, (MAX_OCR_PIXELS / (width * height)) ** 0.5)
    if scale < 1:
        image = image.resize((max(1, round(width * scale)), max(1, round(height * scale))))
    if _engine is None:
        _start_engine()
    result = _engine(np.asarray(image)[:, :, ::-1])
    found = zip(result.boxes, result.txts, result.scores, strict=True) if result.txts else ()
    lines = [
        {
            "text": text.strip(),
            "box": [round(float(value) / scale, 1) for value in (*box.min(axis=0), *box.max(axis=0))],
            "conf": round(float(conf), 4),
        }
        for box, text, conf in found
        if text.strip()
    ]
    return {"width": width, "height": height, "lines": reading_order(lines)}


def reading_order(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Top to bottom, and left to right among boxes that share at least half of their height."""
    rows: list[list[dict[str, Any]]] = []
    for line in sorted(lines, key=lambda line: (line["box"][1] + line["box"][3], line["box"][0])):
        row = rows[-1] if rows else None
        if row and _overlap(row[0]["box"], line["box"]) >= SAME_LINE_OVERLAP:
            row.append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: line["box"][0])]


def _overlap(a: list[float], b: list[float]) -> float:
    """Shared height over the smaller height of two boxes."""
    shared = min(a[3], b[3]) - max(a[1], b[1])
    return float(shared / max(1e-6, min(a[3] - a[1], b[3] - b[1])))
