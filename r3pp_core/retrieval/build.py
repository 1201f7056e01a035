"""Index building: unified rows in, one folder with vectors, FAISS index and metadata out.

The vectors come from shards that this process or the ranks of a launcher encoded; here they are merged in order.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from r3pp_core import artefact
from r3pp_core.artefact import Manifest, Outcome
from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.launch.interface import LaunchConfig
from r3pp_core.launch.work_dir import clear_abandoned, clear_done
from r3pp_core.pictures import PictureError
from r3pp_core.progress import Progress, silent
from r3pp_core.retrieval.config import IndexConfig
from r3pp_core.retrieval.faiss_index import make_faiss_index, write_faiss_index
from r3pp_core.retrieval.index_type import EXACT_TYPE, resolve_index_type
from r3pp_core.retrieval.job import index_job, launch_dir
from r3pp_core.retrieval.metadata import IndexEntry, Metadata, write_metadata
from r3pp_core.retrieval.pictures_ahead import open_entry
from r3pp_core.retrieval.plan import IndexPlan, Kind, plan_index
from r3pp_core.retrieval.recall import recall_at_k
from r3pp_core.retrieval.search import FAISS_INDEX, METADATA, VECTORS, Index
from r3pp_core.retrieval.shards import encode_shards, read_rejected, read_vectors, shard_path

REJECTED = "rejected.jsonl"
RECALL_K = 10


def build_index(
    kind: Kind,
    jsonl: Path,
    image_root: Path,
    out_dir: Path,
    encoder_dir: Path,
    config: IndexConfig = IndexConfig(),
    progress: Progress = silent,
    force: bool = False,
    launch: LaunchConfig | None = None,
) -> Manifest:
    """Build `out_dir/text` or `out_dir/image` from a unified JSONL, one entry per unique picture.

    With `launch` the ranks of a launcher encode; the bytes are the same. A picture that cannot be opened, or is another
    one than its row was made from, is left out, counted and named in rejected.jsonl; once it can be used it is taken
    in. Raises R3Error for an unusable JSONL, encoder or index type, and when a vector is not finite.
    """
    plan = plan_index(kind, jsonl, image_root, out_dir, encoder_dir, config)

    def encode() -> None:
        if launch is None:
            encode_shards(plan, progress)
        else:
            from r3pp_core.launch.registry import run_with_progress

            run_with_progress(launch, index_job(plan, jsonl), progress)

    return build_from_shards(plan, encode, progress, force)


def build_from_shards(
    plan: IndexPlan, encode: Callable[[], object], progress: Progress = silent, force: bool = False
) -> Manifest:
    """The index that `plan` asks for; unless it stands already, `encode` is called to leave all shards finished."""

    launch = launch_dir(plan.out_dir, plan.kind)

    def make(staging: Path) -> Outcome:
        clear_abandoned(plan.shards_dir, launch)
        encode()
        return _write(plan, staging, progress)

    def tidy() -> None:
        clear_done(plan.shards_dir, launch)

    again = force or _is_any_usable_again(plan)
    return artefact.build(plan.target, plan.request, make, force=again, progress=progress, tidy=tidy)


def _is_any_usable_again(plan: IndexPlan) -> bool:
    """Whether a picture that the standing index had to leave out can be opened by now."""
    rejected = plan.target.folder / REJECTED
    if not rejected.is_file():
        return False
    left_out = {row["image_sha256"] for row in read_jsonl(rejected)}
    return any(_is_usable(plan, entry) for entry in plan.entries if entry.image_sha256 in left_out)


def _is_usable(plan: IndexPlan, entry: IndexEntry) -> bool:
    try:
        open_entry(plan.image_root, entry)
    except PictureError:
        return False
    return True


def _write(plan: IndexPlan, staging: Path, progress: Progress) -> Outcome:
    """Write vectors, metadata and FAISS index, and measure the index that stands there."""
    entries, rejected = _merge_shards(plan, staging)
    write_jsonl(staging / REJECTED, rejected)
    if rejected:
        first = rejected[0]
        progress(
            f"{plan.request.stage}: left out {len(rejected)} pictures, first {first['image_path']} "
            f"({first['reason']}); all are named in {plan.target.folder / REJECTED}"
        )
    searchable = np.array([plan.kind == "image" or entry.has_text for entry in entries], bool)
    ids = np.flatnonzero(searchable)
    write_metadata(staging / METADATA, entries, searchable)
    vectors = np.load(staging / VECTORS, mmap_mode="r")
    config, dim = plan.config, vectors.shape[1]
    index_type, search_parameters = resolve_index_type(
        config.index_type, config.search_parameters, len(ids), dim, config.max_index_bytes
    )
    faiss_index = make_faiss_index(vectors, ids, index_type, search_parameters, progress)
    write_faiss_index(faiss_index, staging / FAISS_INDEX)
    details = {
        "kind": plan.kind,
        "encoder": plan.encoder_dir.name,
        "encoder_hash": plan.request.inputs["encoder"],
        "corpus_hash": plan.request.inputs["corpus"],
        "metric": "inner_product",
        "index_type": index_type,
        "search_parameters": search_parameters,
    }
    recall = 1.0
    if index_type != EXACT_TYPE:
        index = Index(vectors, faiss_index, Metadata.read(staging / METADATA), details)
        recall = recall_at_k(index, RECALL_K, config.num_recall_queries, config.seed)
    num_rows = sum(len(entry.row_ids) for entry in plan.entries)
    counts = {"rows": num_rows, "pictures": len(plan.entries), "entries": len(entries)}
    return Outcome(
        counts={**counts, "without_text": len(entries) - len(ids)},
        left_out=Counter(row["reason"] for row in rejected),
        details={**details, "dim": dim, "count": len(entries), f"recall_at_{RECALL_K}": recall},
    )


def _merge_shards(plan: IndexPlan, staging: Path) -> tuple[list[IndexEntry], list[dict[str, Any]]]:
    """Write the vectors of all shards in order, one shard in memory at a time: the entries kept, and those left out."""
    kept: list[IndexEntry] = []
    rejected: list[dict[str, Any]] = []
    paths = [shard_path(plan, number) for number in range(plan.num_shards)]
    for number, path in enumerate(paths):
        reasons = read_rejected(path)
        for position, entry in enumerate(plan.shard(number)):
            if position in reasons:
                rejected.append(_rejection(entry, reasons[position]))
            else:
                kept.append(entry)
    num_written = 0
    with (staging / VECTORS).open("wb") as file:
        for number, path in enumerate(paths):
            vectors = read_vectors(path)
            if number == 0:
                shape = (len(kept), vectors.shape[1])
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            vectors.tofile(file)
            num_written += len(vectors)
    assert num_written == len(kept), "an entry or its vector was lost"
    return kept, rejected


def _rejection(entry: IndexEntry, reason: str) -> dict[str, Any]:
    return {
        "image_path": entry.image_path,
        "image_sha256": entry.image_sha256,
        "row_ids": list(entry.row_ids),
        "reason": reason,
    }
