"""How fast retrieval is against what cannot be avoided; every figure is a ratio of two runs on the same data.

    python benchmarks/retrieval.py [build|repeated|exact|large ...] [--pictures 192] [--vectors 1000000]

build      index building against the encoder alone on ready tensors and the CPU time of decoding (of tokenizing) over
           the cores: MiniLM, the sample's CLIP, and a CLIP of ViT-B/32's size with random weights.
repeated   a table in which each picture stands in five rows against one row each.
exact      search with exclusion over 200,000 x 512 vectors against FAISS's own, batches of 1, 32 and 1,000.
large      IVF-PQ over 1,000,000 x 384: memory, recall@10 on held-out queries, a single query, for three settings.
"""

import argparse
import hashlib
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ingest import rows_of, sample_source, say, seconds, verdict
from ingest_tables import WORDS

from r3pp_core.datasets.registry import DATASETS
from r3pp_core.jsonl import write_jsonl
from r3pp_core.pictures import open_picture
from r3pp_core.retrieval.batches import Batch, encoded_batches
from r3pp_core.retrieval.build import build_index
from r3pp_core.retrieval.config import IndexConfig
from r3pp_core.retrieval.encoders import load_image_encoder, load_text_encoder
from r3pp_core.retrieval.faiss_index import exact_search, make_faiss_index, read_faiss_index, write_faiss_index
from r3pp_core.retrieval.metadata import IndexEntry, Metadata, read_pictures, write_metadata
from r3pp_core.retrieval.minilm import copy_packaged_minilm
from r3pp_core.retrieval.search import Index
from r3pp_core.sample.backbones import build_small_clip

REPEATS = 3
BATCH_SIZE = 32
CORES = len(os.sched_getaffinity(0))
SETTINGS = (("IVF1024,PQ48", "nprobe=128"), ("IVF1024,PQ64", "nprobe=128"), ("IVF1024,PQ96", "nprobe=128"))


def cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def corpus(source: Path, folder: Path, num_pictures: int) -> Path:
    """The sample's pictures as files and a table with one row each; texts of 10 to 60 words."""
    rng = np.random.default_rng(0)
    unique = {row.image: None for dataset in DATASETS for row in rows_of(source, dataset) if row.image}
    rows = []
    for number, data in enumerate(list(unique)[:num_pictures]):
        path = folder / f"{number}.png"
        folder.mkdir(parents=True, exist_ok=True)
        open_picture(data).save(path)
        rows.append(
            {
                "id": f"chartqa/train/{number}",
                "dataset": "chartqa",
                "image_path": path.name,
                "image_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "pseudo_text": " ".join(rng.choice(WORDS, rng.integers(10, 61))),
            }
        )
    write_jsonl(folder / "one.jsonl", rows)
    write_jsonl(folder / "five.jsonl", [{**row, "id": f"{row['id']}-{copy}"} for copy in range(5) for row in rows])
    return folder


# build


def vit_b32(folder: Path) -> Path:
    """Random weights in the sizes of openai/clip-vit-base-patch32; its text tower is cut, nothing runs it."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    CLIPModel(CLIPConfig(text_config={"num_hidden_layers": 1}, projection_dim=512)).save_pretrained(folder)
    CLIPImageProcessorPil().save_pretrained(folder)
    return folder


class Ready:
    """An encoder of what is ready for the model: stacked pixels, or tokens."""

    def __init__(self, encoder: Any, kind: str) -> None:
        self.encoder, self.kind = encoder, kind

    def encode(self, items: list[Any], batch_size: int) -> np.ndarray:
        import torch

        if self.kind == "image":
            return self.encoder.encode(items, batch_size)
        with torch.inference_mode():
            return self.encoder._model(dict(items[0]))["sentence_embedding"].numpy()


def ready_batches(encoder: Any, kind: str, folder: Path, entries: Sequence[IndexEntry]) -> list[list[Any]]:
    by_length = sorted(entries, key=lambda entry: -len(entry.pseudo_text))
    batches = [by_length[start : start + BATCH_SIZE] for start in range(0, len(entries), BATCH_SIZE)]
    if kind == "text":
        return [[encoder._model.preprocess([entry.pseudo_text for entry in batch])] for batch in batches]
    return [[encoder.prepare(open_picture(folder / entry.image_path)) for entry in batch] for batch in batches]


def one_after_the_other(encoder: Ready, batches: Sequence[list[Any]]) -> None:
    for batch in batches:
        encoder.encode(batch, BATCH_SIZE)


def one_a_core(encoder: Any, batches: Sequence[list[Any]]) -> None:
    for _ in encoded_batches(encoder, [Batch(0, [], batch) for batch in batches], "cpu"):
        pass


def measure_build(name: str, kind: Any, encoder_dir: Path, folder: Path, scratch: Path) -> None:
    """The encoder alone is the faster of two: a batch by all cores after the other, or a batch a core."""
    entries = read_pictures(folder / "one.jsonl")
    load = load_image_encoder if kind == "image" else load_text_encoder
    encoder: Any = load(encoder_dir)
    ready, batches = Ready(encoder, kind), ready_batches(encoder, kind, folder, entries)
    one_after_the_other(ready, batches[:1])

    def build() -> None:
        build_index(kind, folder / "one.jsonl", folder, scratch, encoder_dir, IndexConfig(), force=True)

    found = []
    for _ in range(REPEATS):
        decode_s = cpu_seconds(lambda: ready_batches(encoder, kind, folder, entries)) / CORES
        alone_s = min(seconds(lambda: one_after_the_other(ready, batches)), seconds(lambda: one_a_core(ready, batches)))
        load_s = seconds(lambda: load(encoder_dir))
        started = time.process_time()
        build_s = seconds(build) - load_s
        cpu_s = (time.process_time() - started) / CORES
        found.append((build_s / (alone_s + decode_s), build_s, cpu_s, alone_s, decode_s, load_s))
    ratio, build_s, cpu_s, alone_s, decode_s, load_s = sorted(found)[REPEATS // 2]
    say(
        f"build: {name}, {len(entries)} entries; {build_s:.2f} s (and {load_s:.2f} s to load the encoder; cores its "
        f"own for {cpu_s:.2f} s); the encoder alone {alone_s:.2f} s, decoding {decode_s:.2f} s: {ratio:.2f} times, "
        f"{verdict(ratio, 1.15, False)}"
    )


def measure_builds(folder: Path, scratch: Path) -> None:
    copy_packaged_minilm(scratch / "minilm")
    build_small_clip(scratch / "clip")
    measure_build("MiniLM", "text", scratch / "minilm", folder, scratch)
    measure_build("the sample's CLIP", "image", scratch / "clip", folder, scratch)
    measure_build("CLIP ViT-B/32", "image", vit_b32(scratch / "vit"), folder, scratch)


# repeated


def measure_repeated(folder: Path, scratch: Path) -> None:
    build_small_clip(scratch / "clip")
    ratios, walls = [], []
    for number in range(2 * REPEATS):
        cost, wall = {}, {}
        for table in ("one", "five"):

            def build(table: str = table) -> None:
                jsonl = folder / f"{table}.jsonl"
                build_index("image", jsonl, folder, scratch / table, scratch / "clip", IndexConfig(), force=True)

            started = time.monotonic()
            cost[table] = cpu_seconds(build)
            wall[table] = time.monotonic() - started
        if number:  # the first one warms up
            ratios.append(cost["five"] / cost["one"])
            walls.append(wall["five"] / wall["one"])
    ratio = statistics.median(ratios)
    say(
        f"repeated: each picture in five rows costs {ratio:.3f} times the CPU time of one row each "
        f"({statistics.median(walls):.3f} times the wall time), {verdict(ratio, 1.05, False)}"
    )


# exact


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def write_entries(folder: Path, num: int) -> None:
    entries = [IndexEntry("", f"sha-{number}", "", "") for number in range(num)]
    write_metadata(folder / "metadata.parquet", entries, np.ones(num, bool))


def opened(folder: Path, index_type: str) -> Index:
    return Index(
        np.load(folder / "vectors.npy", mmap_mode="r"),
        read_faiss_index(folder / "index.faiss"),
        Metadata.read(folder / "metadata.parquet"),
        {"kind": "image", "index_type": index_type},
    )


def measure_exact(folder: Path, num: int = 200_000, dim: int = 512) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((num, dim), np.float32))
    queries = unit(rng.standard_normal((1000, dim), np.float32))
    np.save(folder / "vectors.npy", vectors)
    write_faiss_index(make_faiss_index(vectors, np.arange(num), "Flat", None), folder / "index.faiss")
    write_entries(folder, num)
    del vectors
    index = opened(folder, "Flat")
    exclude = [[f"sha-{number}"] for number in range(len(queries))]
    for size, repeats in ((1, 60), (32, 20), (1000, 5)):
        ratios = []
        for number in range(repeats):
            some = slice(number % (len(queries) // size) * size, None)
            xq, banned = queries[some][:size], exclude[some][:size]
            raw = seconds(lambda xq=xq: index._faiss.search(xq, 3))
            ours = seconds(lambda xq=xq, banned=banned: index.search(xq, 3, banned))
            ratios.append(ours / raw)
        ratio = statistics.median(ratios)
        say(
            f"exact: {num} x {dim}, batch of {size} with exclusion {1000 * ours:.1f} ms, faiss {1000 * raw:.1f} ms "
            f"(last): {ratio:.3f} times, {verdict(ratio, 1.1, False)}"
        )


# large


def blocks(num: int, dim: int, rank: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """normalise(z A + 1.5 e), z in R^rank, all standard normal."""
    A = rng.standard_normal((rank, dim), np.float32)
    for start in range(0, num, 50_000):
        size = min(50_000, num - start)
        noise = 1.5 * rng.standard_normal((size, dim), np.float32)
        yield unit(rng.standard_normal((size, rank), np.float32) @ A + noise)


def measure_setting(folder: Path, index_type: str, search_parameters: str) -> tuple[float, float, float, float]:
    """In a process of its own: seconds to build, recall@10, median ms of a query, peak GB."""
    queries, nearest = np.load(folder / "queries.npy"), np.load(folder / "nearest.npy")

    def build() -> None:
        vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        index = make_faiss_index(vectors, np.arange(len(vectors)), index_type, search_parameters)
        write_faiss_index(index, folder / "index.faiss")

    build_s = seconds(build)
    index = opened(folder, index_type)
    found, times = [], []
    for number in range(len(queries)):
        started = time.monotonic()
        hits = index.search(queries[number : number + 1], 10, [[f"sha-{number}"]])
        times.append(time.monotonic() - started)
        found.append(len(np.intersect1d(hits.ids[0], nearest[number])) / 10)
    return build_s, float(np.mean(found)), 1000 * statistics.median(times), peak_bytes() / 1e9


def peak_bytes() -> int:
    """Of this process, mapped files included; getrusage would give the parent's where that had more."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def measure_large(folder: Path, num: int, dim: int = 384) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (num, dim))
    *_, queries = _fill(vectors, blocks(num + 500, dim, 32, rng))
    np.save(folder / "queries.npy", queries)
    _, nearest = exact_search(queries, vectors, np.arange(num), 11)
    np.save(folder / "nearest.npy", [[i for i in row if i != own][:10] for own, row in enumerate(nearest)])
    write_entries(folder, num)
    del vectors
    for index_type, search_parameters in SETTINGS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            build_s, recall, query_ms, peak = pool.apply(measure_setting, (folder, index_type, search_parameters))
        say(
            f"large: {num} x {dim}, {index_type} {search_parameters}: built in {build_s:.0f} s; recall@10 "
            f"{recall:.3f}, {verdict(recall, 0.9, True)}; a query {query_ms:.1f} ms, {verdict(query_ms, 10, False)}; "
            f"peak {peak:.2f} GB, {verdict(peak, 2.5, False)}"
        )


def _fill(vectors: np.ndarray, source: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Write blocks until `vectors` is full; yields what is left over of each block."""
    start = 0
    for block in source:
        stop = min(len(vectors), start + len(block))
        vectors[start:stop] = block[: stop - start]
        yield block[stop - start :]
        start = stop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["build", "repeated", "exact", "large"])
    parser.add_argument("--pictures", type=int, default=192)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if {"build", "repeated"} & set(args.parts):
            pictures = corpus(sample_source(folder / "sample"), folder / "pictures", args.pictures)
        if "build" in args.parts:
            measure_builds(pictures, folder / "build")
        if "repeated" in args.parts:
            measure_repeated(pictures, folder / "repeated")
        if "exact" in args.parts:
            measure_exact(folder / "exact")
        if "large" in args.parts:
            measure_large(folder / "large", args.vectors)


if __name__ == "__main__":
    main()
