"""How fast ingest is against what cannot be avoided; every figure is a ratio of two runs on the same data.

    python benchmarks/ingest.py [pictures|tables|ocr ...] [--source DIR] [--rows 250000 1000000]

pictures   `r3pp download` against decoding every row's picture and encoding it as PNG again, and, on PNG sources,
           against the limit: copy, SHA-256, checksums and fsync of the same bytes.
tables     `r3pp unify` and `r3pp merge` against a plain loop of json.loads, dict and json.dumps over the same rows,
           once a stage; peak memory of all processes (PSS); the time of two sizes.
ocr        pictures a second with a process a core against one process of one thread.
"""

import argparse
import hashlib
import io
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from ingest_tables import make_tables

from r3pp_core.datasets.registry import DATASETS, dataset_spec
from r3pp_core.datasets.spec import SPLITS
from r3pp_core.ingest.config import DownloadConfig, MergeConfig, OcrConfig, UnifyConfig
from r3pp_core.ingest.download import download
from r3pp_core.ingest.merge import merge_split
from r3pp_core.ingest.ocr_shard import cache_dir, read_shard
from r3pp_core.ingest.picture_files import check_png
from r3pp_core.ingest.source import local_source
from r3pp_core.ingest.source_rows import SourceRow, read_source_rows
from r3pp_core.ingest.unify import unified_table, unify
from r3pp_core.pictures import MAX_SOURCE_PIXELS, open_picture

REPEATS = 3


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def seconds(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def verdict(ratio: float, bound: float, at_least: bool) -> str:
    holds = ratio >= bound if at_least else ratio <= bound
    return f"{'within' if holds else 'MISSES'} the target of {'at least' if at_least else 'at most'} {bound:g}"


# pictures


def rows_of(source: Path, dataset: str) -> Iterator[SourceRow]:
    spec = dataset_spec(dataset)
    for files in local_source(spec, source, list(SPLITS)).files.values():
        yield from read_source_rows(spec, files)


def encode_every_row(source: Path, out_dir: Path) -> None:
    """What one would write first: every row's picture decoded and saved as PNG with Pillow's defaults."""
    out_dir.mkdir(parents=True)
    for dataset in DATASETS:
        for number, row in enumerate(rows_of(source, dataset)):
            if row.image is not None:
                open_picture(row.image).save(out_dir / f"{dataset}_{number}.png")


def download_all(source: Path, out_dir: Path, datasets: list[str]) -> None:
    for dataset in datasets:
        download(dataset, out_dir / dataset, DownloadConfig(source=str(source)))


def unavoidable(pictures: list[bytes], out_dir: Path) -> None:
    """Copy, SHA-256, PNG checksums and fsync of each picture, one after the other."""
    out_dir.mkdir(parents=True)
    for number, data in enumerate(pictures):
        check_png(data, MAX_SOURCE_PIXELS)
        hashlib.sha256(data).hexdigest()
        with (out_dir / f"{number}.png").open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def png_source(source: Path, folder: Path) -> list[bytes]:
    """The source's pictures as PNG, each in one chartqa row; returns their bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    unique = {row.image: None for dataset in DATASETS for row in rows_of(source, dataset) if row.image}
    pictures = []
    for data in unique:
        buffer = io.BytesIO()
        open_picture(data).save(buffer, "PNG", compress_level=1)
        pictures.append(buffer.getvalue())
    data_dir = folder / "chartqa" / "data"
    data_dir.mkdir(parents=True)
    cells = pa.array([{"bytes": data, "path": "x.png"} for data in pictures])
    table = pa.table({"image": cells, "query": ["What?"] * len(pictures), "label": [["1"]] * len(pictures)})
    pq.write_table(table, data_dir / "train-00000-of-00001.parquet", compression="none")
    return pictures


def measure_pictures(source: Path, folder: Path) -> None:
    num_rows = sum(1 for dataset in DATASETS for _ in rows_of(source, dataset))
    plain = seconds(lambda: encode_every_row(source, folder / "plain"))
    ours = seconds(lambda: download_all(source, folder / "ours", list(DATASETS)))
    ratio = plain / ours
    say(
        f"pictures: {num_rows} rows; decode and encode every row {num_rows / plain:.1f} rows/s, download "
        f"{num_rows / ours:.1f} rows/s: {ratio:.1f} times, {verdict(ratio, 6, True)}"
    )
    pictures = png_source(source, folder / "png")
    config = DownloadConfig(source=str(folder / "png"), splits=["train"])
    ratios = []
    for number in range(REPEATS):
        limit = seconds(lambda number=number: unavoidable(pictures, folder / f"limit{number}"))
        export = seconds(lambda number=number: download("chartqa", folder / f"png{number}", config))
        ratios.append(export / limit)
    size = sum(map(len, pictures)) / 1e6
    ratio = statistics.median(ratios)
    say(
        f"pictures: {len(pictures)} PNGs of {size:.0f} MB; download takes {ratio:.2f} times copy, SHA-256, checksums "
        f"and fsync (last: {export:.2f} s and {limit:.2f} s), {verdict(ratio, 1.5, False)}"
    )


# tables


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Peak of the proportional set sizes of this process and its children, in bytes, sampled ten times a second."""
    peak, done = [0], threading.Event()

    def watch() -> None:
        me = psutil.Process()
        while not done.wait(0.1):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue  # it has just ended
            peak[0] = max(peak[0], total)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def merge_both(unified_dir: Path) -> None:
    names = {split: [unified_table(unified_dir, "chartqa", split).name] for split in ("train", "val")}
    for split in names:
        merge_split(split, unified_dir, MergeConfig(**names, test=[]))


def plain_loop(tables: list[Path], scratch: Path) -> None:
    for _stage in ("unify", "merge"):
        for table in tables:
            with table.open() as source, scratch.open("w") as out:
                for line in source:
                    out.write(json.dumps(dict(json.loads(line))) + "\n")


def measure_tables(folder: Path, num_rows: int) -> float:
    raw_dir, unified_dir = folder / "raw", folder / "unified"
    make_tables(raw_dir, "chartqa", num_rows)
    with peak_memory() as peak:
        unify_s = seconds(lambda: unify("chartqa", raw_dir, unified_dir, UnifyConfig()))
        merge_s = seconds(lambda: merge_both(unified_dir))
    tables = [unified_table(unified_dir, "chartqa", split) for split in ("train", "val")]
    plain_s = seconds(lambda: plain_loop(tables, folder / "plain.jsonl"))
    ratio = plain_s / (unify_s + merge_s)
    say(
        f"tables: {num_rows} rows; unify {unify_s:.1f} s and merge {merge_s:.1f} s, "
        f"{num_rows / (unify_s + merge_s):,.0f} rows/s, {1e6 * (unify_s + merge_s) / num_rows:.1f} us a row; "
        f"the plain loop {plain_s:.1f} s: {ratio:.2f} times, {verdict(ratio, 3, True)}"
    )
    say(f"tables: peak memory {peak[0] / 1e6:.0f} MB, {verdict(peak[0] / 1e6, 600, False)} (MB)")
    shutil.rmtree(folder)
    return (unify_s + merge_s) / num_rows


# ocr


def measure_ocr(source: Path, folder: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    raw_dir = folder / "chartqa"
    download("chartqa", raw_dir, DownloadConfig(source=str(source)))
    rates = {}
    for workers in (1, cores):
        shutil.rmtree(cache_dir(raw_dir), ignore_errors=True)
        started = time.monotonic()
        num_read = read_shard(raw_dir, "chartqa", OcrConfig(num_workers=workers), lambda text: None)
        rates[workers] = num_read / (time.monotonic() - started)
    ratio = rates[cores] / (cores * rates[1])
    say(
        f"ocr: {num_read} pictures; one process {rates[1]:.2f}/s, {cores} processes {rates[cores]:.2f}/s, start "
        f"included: {ratio:.2f} of {cores} times, {verdict(ratio, 0.9, True)}"
    )


def sample_source(folder: Path) -> Path:
    from r3pp_core.sample.config import SampleConfig
    from r3pp_core.sample.write import write_sample

    write_sample(folder, SampleConfig())
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["pictures", "tables", "ocr"])
    parser.add_argument("--source", type=Path, help="folder of Parquet in the Hub's layout; empty: the embedded sample")
    parser.add_argument("--rows", nargs="+", type=int, default=[250_000, 1_000_000])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = args.source or sample_source(folder / "sample")
        if "pictures" in args.parts:
            measure_pictures(source, folder / "pictures")
        if "tables" in args.parts:
            per_row = [measure_tables(folder / "tables", num_rows) for num_rows in args.rows]
            growth = per_row[-1] / per_row[0]
            say(f"tables: a row of {args.rows[-1]} costs {growth:.2f} times a row of {args.rows[0]} (1 is linear)")
        if "ocr" in args.parts:
            measure_ocr(source, folder / "ocr")


if __name__ == "__main__":
    main()
