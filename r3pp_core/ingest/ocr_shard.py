"""The reading itself: pictures of one shard that are not in the cache, by worker processes, results kept at once."""

import re
from pathlib import Path

from r3pp_core.datasets.spec import SPLITS
from r3pp_core.errors import R3Error
from r3pp_core.ingest.config import OcrConfig
from r3pp_core.ingest.download import raw_table
from r3pp_core.ingest.ocr_cache import OcrCache
from r3pp_core.ingest.ocr_engine import read_picture, start_engine
from r3pp_core.ingest.workers import Workers, num_processes
from r3pp_core.jsonl import read_jsonl
from r3pp_core.launch.run_dir import StopPoint, no_stop
from r3pp_core.progress import Progress, counted

SHA256 = re.compile("[0-9a-f]{64}")


def cache_dir(raw_dir: Path) -> Path:
    return raw_dir / ".ocr_cache"


def picture_files(raw_dir: Path, dataset: str) -> dict[str, str]:
    """Hash of each picture file (path relative to raw_dir), in order of first appearance.

    Raises R3Error for a row without a picture and its hash, or with one outside of raw_dir.
    """
    files: dict[str, str] = {}
    for split in SPLITS:
        if (table := raw_table(raw_dir, dataset, split)).is_file():
            for row in read_jsonl(table):
                image, sha256 = str(row.get("image")), str(row.get("image_sha256"))
                if image.startswith("/") or ".." in image.split("/") or not SHA256.fullmatch(sha256):
                    raise R3Error(f"{table}: row {row.get('id')} names no picture below {raw_dir}; repair it")
                files[image] = sha256
    return files


def read_shard(
    raw_dir: Path,
    dataset: str,
    config: OcrConfig,
    progress: Progress,
    rank: int = 0,
    num_ranks: int = 1,
    stop_point: StopPoint = no_stop,
) -> int:
    """Read what rank `rank` of `num_ranks` has to read, into a cache file of its own; returns how many were read.

    A picture belongs to the rank that its hash says, whatever others have read meanwhile. `stop_point` is called after
    each. A picture that could not be read is tried again next time: its file may be back by then.
    """
    pictures: dict[str, str] = {}
    for path, sha in picture_files(raw_dir, dataset).items():
        if _rank(sha, num_ranks) == rank:
            pictures.setdefault(sha, path)
    cache = OcrCache(cache_dir(raw_dir), writer=f"rank{rank}of{num_ranks}")
    missing = {sha: raw_dir / path for sha, path in pictures.items() if sha not in cache}
    where = f" of rank {rank}" if num_ranks > 1 else ""
    progress(f"ocr/{dataset}: {len(pictures)} pictures{where}, {len(pictures) - len(missing)} read before")
    if not missing:
        return 0
    num_workers = min(num_processes(config.num_workers), len(missing))
    with Workers(num_workers, start_engine) as pool:
        records = pool.mapped(read_picture, missing.values())
        read = counted(zip(missing, records, strict=True), len(missing), f"ocr/{dataset} pictures{where}", progress)
        for sha, record in read:
            if "reason" not in record:
                cache.add(sha, record)
            stop_point()
    return len(missing)


def _rank(sha256: str, num_ranks: int) -> int:
    return int(sha256[:15], 16) % num_ranks
