"""What must hold for a built index. Each check returns its problems as sentences; no sentence means it holds."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from r3pp_core.jsonl import read_jsonl
from r3pp_core.pictures import PictureError, open_picture, picture_inside
from r3pp_core.retrieval.encoders import Encoder
from r3pp_core.retrieval.metadata import IndexEntry
from r3pp_core.retrieval.search import Index

BLOCK_ROWS = 65_536
NUM_NAMED = 3


def count_problems(image_sha256s: Sequence[str], jsonl: Path) -> list[str]:
    """One entry for each unique picture of the JSONL, and none besides."""
    wanted = {row["image_sha256"]: row["image_path"] for row in read_jsonl(jsonl)}
    counts = Counter(image_sha256s)
    repeated = [sha256 for sha256, count in counts.items() if count > 1]
    return [
        *_named(
            [wanted[sha256] for sha256 in wanted.keys() - counts.keys()],
            f"of {len(wanted)} pictures in {jsonl} are not in the index",
        ),
        *_named(counts.keys() - wanted.keys(), f"of {len(counts)} pictures in the index are not in {jsonl}"),
        *_named(repeated, "pictures stand in the index more than once"),
    ]


def vector_problems(vectors: np.ndarray, tolerance: float = 1e-4) -> list[str]:
    """Every vector (float32 [n, d]) is finite and of unit length within `tolerance`."""
    not_finite: list[str] = []
    not_unit: list[str] = []
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = np.asarray(vectors[start : start + BLOCK_ROWS], np.float64)
        finite = np.isfinite(block).all(axis=1)
        unit = np.abs(np.linalg.norm(np.where(np.isfinite(block), block, 0), axis=1) - 1) <= tolerance
        not_finite += [str(start + row) for row in np.flatnonzero(np.logical_not(finite))]
        not_unit += [str(start + row) for row in np.flatnonzero(finite & ~unit)]
    return [
        *_named(not_finite, f"of {len(vectors)} vectors are not finite"),
        *_named(not_unit, f"of {len(vectors)} vectors are not of unit length"),
    ]


def leak_problems(image_sha256s: Collection[str], evaluation_jsonls: Sequence[Path]) -> list[str]:
    """No picture of the evaluation JSONL files stands in the index (METHOD 4)."""
    indexed = set(image_sha256s)
    problems = []
    for jsonl in evaluation_jsonls:
        leaked = {row["image_sha256"] for row in read_jsonl(jsonl)} & indexed
        problems += _named(leaked, f"evaluation pictures of {jsonl} are in the index")
    return problems


def reencoding_problems(
    index: Index,
    image_root: Path,
    encoder: Encoder,
    num_samples: int = 32,
    seed: int = 0,
    tolerance: float = 1e-3,
) -> list[str]:
    """Entries drawn by `seed`, encoded again, give their stored vectors: ids, metadata and vectors are aligned.

    `tolerance` bounds 1 - cosine; half precision on a GPU stays well below it, another entry's vector rarely does.
    """
    drawn = np.sort(np.random.default_rng(seed).permutation(len(index))[:num_samples])
    unreadable: list[str] = []
    rows: list[int] = []
    items: list[object] = []
    for row in drawn.tolist():
        entry = index.entry(row)
        try:
            items.append(_item(index.kind, entry, image_root))
            rows.append(row)
        except PictureError:
            unreadable.append(entry.image_path)
    again = encoder.encode(items)
    cosine = (index.vectors(np.array(rows, np.int64)) * again).sum(axis=1)
    moved = [index.entry(row).image_path for row, value in zip(rows, cosine, strict=True) if not value >= 1 - tolerance]
    return [
        *_named(unreadable, f"of {len(drawn)} sampled pictures can no longer be opened"),
        *_named(moved, f"of {len(drawn)} sampled entries give another vector when encoded again"),
    ]


def self_hit_problems(index: Index, ids: np.ndarray, query_sha256s: Sequence[str]) -> list[str]:
    """No query finds its own picture: ids int [n, k] of the hits, one picture hash per query."""
    sha256s = index.image_sha256s
    own = []
    for row, own_sha256 in zip(ids, query_sha256s, strict=True):
        if own_sha256 in {sha256s[i] for i in row if i >= 0}:
            own.append(own_sha256)
    return _named(own, f"of {len(query_sha256s)} queries find their own picture")


def recall_problems(index: Index, bound: float = 0.9) -> list[str]:
    """The recall@10 measured when the index was built is at least `bound`."""
    recall = index.details["recall_at_10"]
    if recall >= bound:
        return []
    return [f"recall@10 of index_type {index.details['index_type']!r} is {recall:.3f}, below {bound}"]


def _item(kind: str, entry: IndexEntry, image_root: Path) -> object:
    if kind == "image":
        return open_picture(picture_inside(image_root, entry.image_path))
    return entry.pseudo_text if entry.has_text else ""


def _named(values: Collection[str], what: str) -> list[str]:
    """One sentence with the count and the first few values, or none for no values."""
    if not values:
        return []
    first = sorted(values)[:NUM_NAMED]
    return [f"{len(values)} {what}: {', '.join(first)}{', ...' if len(values) > NUM_NAMED else ''}"]
