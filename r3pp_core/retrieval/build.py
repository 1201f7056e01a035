"""Index building: unified rows in, one folder with vectors, FAISS index and metadata out.

Worker threads open and prepare pictures ahead of the encoder; nothing holds all of them.
"""

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from r3pp_core import artefact
from r3pp_core.artefact import Manifest, Outcome, Request, Target, content_hash_of, hash_json
from r3pp_core.errors import R3Error
from r3pp_core.jsonl import write_jsonl
from r3pp_core.pictures import PictureError, open_picture, picture_inside
from r3pp_core.progress import Progress, counted, silent
from r3pp_core.retrieval.config import IndexConfig
from r3pp_core.retrieval.encoders import (
    Encoder,
    ImageEncoder,
    encoder_hash,
    load_image_encoder,
    load_text_encoder,
)
from r3pp_core.retrieval.faiss_index import EXACT_TYPE, make_faiss_index, write_faiss_index
from r3pp_core.retrieval.metadata import IndexEntry, Metadata, read_pictures, write_metadata
from r3pp_core.retrieval.recall import recall_at_k
from r3pp_core.retrieval.search import FAISS_INDEX, METADATA, VECTORS, Index

Kind = Literal["text", "image"]
CODE_VERSION = "1"  # raise it when the same inputs give other bytes
REJECTED = "rejected.jsonl"
RECALL_K = 10
MAX_DECODE_THREADS = 16
NUM_BATCHES_AHEAD = 2
TEXT_BATCHES_AT_ONCE = 32  # the encoder sorts these by length, which saves padding
NORM_TOLERANCE = 1e-3


def build_index(
    kind: Kind,
    jsonl: Path,
    image_root: Path,
    out_dir: Path,
    encoder_dir: Path,
    config: IndexConfig = IndexConfig(),
    progress: Progress = silent,
    force: bool = False,
) -> Manifest:
    """Build `out_dir/text` or `out_dir/image` from a unified JSONL, one entry per unique picture.

    A picture that cannot be opened is left out, counted and named in rejected.jsonl; it is tried again once it is
    there. Raises R3Error for an unusable JSONL, encoder or index type, and when a vector is not finite.
    """
    inputs = {"corpus": content_hash_of(jsonl), "encoder": encoder_hash(encoder_dir)}
    entries = read_pictures(jsonl)
    if kind == "image":
        inputs["missing_pictures"] = hash_json(
            [entry.image_path for entry in entries if not (image_root / entry.image_path).is_file()]
        )
    request = Request(f"index/{kind}", CODE_VERSION, config.model_dump(), inputs)

    def make(staging: Path) -> Outcome:
        rejected: list[dict[str, Any]] = []
        if kind == "image":
            images = load_image_encoder(encoder_dir, config.device)
            encoder: Encoder = images
            items: Iterable[tuple[IndexEntry, Any]] = _prepared(entries, image_root, images, config, rejected)
            num_at_once = config.batch_size
        else:
            encoder = load_text_encoder(encoder_dir, config.device)
            items = ((entry, entry.pseudo_text if entry.has_text else "") for entry in entries)
            num_at_once = config.batch_size * TEXT_BATCHES_AT_ONCE
        items = counted(items, len(entries), request.stage, progress)
        kept, vectors = _encode(items, len(entries), encoder, config.batch_size, num_at_once)
        write_jsonl(staging / REJECTED, rejected)
        details = {
            "kind": kind,
            "encoder": encoder.name,
            "encoder_hash": encoder.hash,
            "corpus_hash": inputs["corpus"],
            "metric": "inner_product",
            "index_type": config.index_type,
        }
        num_rows = sum(len(entry.row_ids) for entry in entries)
        return _write(staging, kept, vectors, details, config, {"rows": num_rows, "pictures": len(entries)}, rejected)

    return artefact.build(Target(out_dir / kind), request, make, force=force, progress=progress)


def _prepared(
    entries: Sequence[IndexEntry],
    image_root: Path,
    encoder: ImageEncoder,
    config: IndexConfig,
    rejected: list[dict[str, Any]],
) -> Iterator[tuple[IndexEntry, np.ndarray]]:
    """The pictures in order, ready for the encoder; those that cannot be opened go to `rejected`."""

    def prepare(entry: IndexEntry) -> np.ndarray:
        return encoder.prepare(open_picture(picture_inside(image_root, entry.image_path)))

    num_threads = min(MAX_DECODE_THREADS, os.cpu_count() or 1)
    window = max(config.batch_size * NUM_BATCHES_AHEAD, num_threads)
    remaining = iter(entries)
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="decode")
    try:
        ahead: deque[tuple[IndexEntry, Future[np.ndarray]]] = deque(
            (entry, pool.submit(prepare, entry)) for entry in islice(remaining, window)
        )
        while ahead:
            entry, future = ahead.popleft()
            ahead.extend((next_entry, pool.submit(prepare, next_entry)) for next_entry in islice(remaining, 1))
            try:
                yield entry, future.result()
            except PictureError as error:
                rejected.append(_rejection(entry, error))
    finally:
        pool.shutdown(cancel_futures=True)


def _rejection(entry: IndexEntry, error: PictureError) -> dict[str, Any]:
    return {
        "image_path": entry.image_path,
        "image_sha256": entry.image_sha256,
        "row_ids": list(entry.row_ids),
        "reason": error.reason,
    }


def _encode(
    items: Iterable[tuple[IndexEntry, Any]], max_items: int, encoder: Encoder, batch_size: int, num_at_once: int
) -> tuple[list[IndexEntry], np.ndarray]:
    """The entries that came through and their vectors, float32 [count, d]."""
    kept: list[IndexEntry] = []
    vectors = np.empty((max_items, encoder.dim), np.float32)
    remaining = iter(items)
    while chunk := list(islice(remaining, num_at_once)):
        entries = [entry for entry, _ in chunk]
        encoded = encoder.encode([item for _, item in chunk], batch_size)
        _require_unit(encoded, entries, encoder)
        vectors[len(kept) : len(kept) + len(chunk)] = encoded
        kept.extend(entries)
    return kept, vectors[: len(kept)]


def _require_unit(vectors: np.ndarray, entries: Sequence[IndexEntry], encoder: Encoder) -> None:
    norms = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))
    if len(wrong):
        raise R3Error(
            f"encoder {encoder.name} gave a vector of length {norms[wrong[0]]} for {entries[wrong[0]].image_path}; "
            "every vector must be finite and of length 1: check the encoder's weights and the device"
        )


def _write(
    staging: Path,
    entries: list[IndexEntry],
    vectors: np.ndarray,
    details: dict[str, Any],
    config: IndexConfig,
    counts: dict[str, int],
    rejected: list[dict[str, Any]],
) -> Outcome:
    """Write vectors, metadata and FAISS index, and measure the index that stands there."""
    searchable = np.array([details["kind"] == "image" or entry.has_text for entry in entries], bool)
    ids = np.flatnonzero(searchable)
    np.save(staging / VECTORS, vectors)
    write_metadata(staging / METADATA, entries, searchable)
    found = vectors if len(ids) == len(vectors) else vectors[ids]
    faiss_index = make_faiss_index(found, ids, config.index_type, config.search_parameters)
    write_faiss_index(faiss_index, staging / FAISS_INDEX)
    recall = 1.0
    if config.index_type != EXACT_TYPE:
        index = Index(vectors, faiss_index, Metadata.read(staging / METADATA), details)
        recall = recall_at_k(index, RECALL_K, config.num_recall_queries, config.seed)
    return Outcome(
        counts={**counts, "entries": len(entries), "without_text": len(entries) - len(ids)},
        left_out=Counter(row["reason"] for row in rejected),
        details={**details, "dim": vectors.shape[1], "count": len(entries), f"recall_at_{RECALL_K}": recall},
    )
