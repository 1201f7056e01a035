"""How good retrieval is on held-out questions, clean and damaged: does it find a picture that states the same fact?

The embedded sample says which facts a picture shows and a question needs (`facts.jsonl`). Where that is not known, what
is left is agreement: the share of the clean query's hits that the damaged query still finds.
Letters: n queries, N searchable entries, k hits.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from r3pp_core import code_versions
from r3pp_core.artefact import Manifest, Outcome, Request, Target, build, content_hash_of
from r3pp_core.errors import R3Error
from r3pp_core.jsonl import read_jsonl
from r3pp_core.progress import Progress, counted, silent
from r3pp_core.retrieval.config import QualityConfig
from r3pp_core.retrieval.encoders import load_image_encoder, load_text_encoder
from r3pp_core.retrieval.neighbours import index_hashes, index_manifests
from r3pp_core.retrieval.search import Index, query_text

if TYPE_CHECKING:
    from PIL import Image

DEPTH = 10  # hits that are looked at
FUSION_CONSTANT = 60  # reciprocal rank fusion: Cormack, Clarke and Buettcher 2009
AGREEMENT_K = 3
KINDS = ("text", "image", "fused")


@dataclass(frozen=True)
class Query:
    """One question at one level. `relevant`: hashes of the pictures that state one of its facts; None if not known."""

    row: Mapping[str, Any]
    level: float
    picture: "Image.Image"
    text: str
    relevant: frozenset[str] | None


@dataclass(frozen=True)
class Found:
    """Entry ids [n, DEPTH] of each index, -1 for no hit, with their scores; fused ids are of the text index."""

    ids: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]


def measure_quality(
    index_dir: Path,
    text_encoder_dir: Path,
    image_encoder_dir: Path,
    table: Path,
    image_root: Path,
    out_dir: Path,
    facts: Path | None = None,
    config: QualityConfig = QualityConfig(),
    progress: Progress = silent,
    *,
    force: bool = False,
) -> Manifest:
    """Write `out_dir/quality.json`, quality.png and a grid of queries with their hits for each index.

    `table` holds the questions (merged val), `facts` the sample's facts.jsonl. Rows whose picture cannot be opened are
    left out, counted. Raises R3Error for an index of another encoder and for a table without a usable row.
    """
    request = Request(
        "index/quality",
        code_versions.QUALITY,
        config.model_dump(),
        {
            "table": content_hash_of(table),
            "facts": content_hash_of(facts) if facts else "none",
            **index_hashes(index_manifests(index_dir)),
        },
    )

    def make(staging: Path) -> Outcome:
        from r3pp_core.retrieval.quality_pictures import hit_grid, quality_plot

        encoders: dict[str, Any] = {
            "text": load_text_encoder(text_encoder_dir),
            "image": load_image_encoder(image_encoder_dir),
        }
        indices = {kind: Index.load(index_dir / kind, encoder) for kind, encoder in encoders.items()}
        rows = chosen_rows(table, config)
        known = known_facts(facts) if facts else None
        queries, num_missing = _queries(rows, known, image_root, config, progress)
        if not queries:
            raise R3Error(f"{table} has no row whose picture opens ({len(rows)} looked at), so nothing can be asked")
        found = search_all(queries, indices, encoders, config)
        results = quality(queries, found, indices, config)
        (staging / "quality.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (staging / "quality.png").write_bytes(quality_plot(results))
        for kind, index in indices.items():
            (staging / f"grid_{kind}.png").write_bytes(hit_grid(kind, queries, found, index, image_root))
        counts = {"rows": len(rows), "queries": len(queries), "questions_with_facts": results["num_with_facts"]}
        return Outcome(counts=counts, left_out={"picture_missing": num_missing}, details={"k": DEPTH})

    return build(Target(out_dir), request, make, force=force, progress=progress)


def read_quality(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((folder / "quality.json").read_text(encoding="utf-8"))
    return results


def chosen_rows(table: Path, config: QualityConfig) -> list[dict[str, Any]]:
    """Evenly over each data set's rows, which follow their pictures."""
    by_dataset: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read_jsonl(table):
        by_dataset[row["dataset"]].append(row)
    chosen = []
    for rows in by_dataset.values():
        places = np.linspace(0, len(rows) - 1, min(config.rows_per_dataset, len(rows))).round().astype(int)
        chosen += [rows[place] for place in places]
    return chosen


@dataclass(frozen=True)
class Facts:
    """Which train pictures (hashes) state a fact, and which facts a question about a picture needs."""

    pictures: Mapping[str, frozenset[str]]
    questions: Mapping[tuple[str, str], frozenset[str]]

    def relevant(self, row: Mapping[str, Any]) -> frozenset[str] | None:
        """The train pictures that state a fact which the question needs; None where there is none to be found."""
        needed = self.questions.get((row["image_sha256"], row["question"]), frozenset())
        return frozenset().union(*(self.pictures.get(fact, frozenset()) for fact in needed)) or None


def known_facts(path: Path) -> Facts:
    """From the sample's facts.jsonl: a line a picture with its split, hash, facts and questions."""
    pictures: dict[str, set[str]] = defaultdict(set)
    questions: dict[tuple[str, str], frozenset[str]] = {}
    for line in read_jsonl(path):
        if line["split"] == "train":
            for fact in line["fact_ids"]:
                pictures[fact].add(line["image_sha256"])
        for question in line["questions"]:
            questions[line["image_sha256"], question["question"]] = frozenset(question["fact_ids"])
    return Facts({fact: frozenset(hashes) for fact, hashes in pictures.items()}, questions)


def _queries(
    rows: Sequence[Mapping[str, Any]], facts: Facts | None, image_root: Path, config: QualityConfig, progress: Progress
) -> tuple[list[Query], int]:
    """Every row at every level, levels in turn, and how many rows have no picture that opens."""
    from r3pp_core.corruption.config import CorruptionConfig
    from r3pp_core.corruption.simulator import corrupt
    from r3pp_core.ingest.ocr_store import OcrStore
    from r3pp_core.pictures import PictureError, open_picture, picture_inside

    lines, corruption = OcrStore(image_root).lines, CorruptionConfig(seed=config.seed)
    by_level: dict[float, list[Query]] = {level: [] for level in config.levels}
    num_missing = 0
    for row in counted(rows, len(rows), "index/quality questions", progress):
        try:
            picture = open_picture(picture_inside(image_root, row["image_path"]))
        except PictureError:
            num_missing += 1
            continue
        relevant = facts.relevant(row) if facts else None
        for level in config.levels:
            damaged = corrupt(
                picture, lines(row["image_path"]), row["pseudo_text"], row["ocr_conf"], level, corruption, row["id"]
            )
            assert damaged.image is not None, "a picture went in"
            text = query_text(row["question"], damaged.pseudo_text)[: config.max_query_chars]
            by_level[level].append(Query(row, level, damaged.image, text, relevant))
    return [query for queries in by_level.values() for query in queries], num_missing


def search_all(
    queries: Sequence[Query], indices: Mapping[str, Index], encoders: Mapping[str, Any], config: QualityConfig
) -> Found:
    vectors = {
        "text": encoders["text"].encode([query.text for query in queries]),
        "image": encoders["image"].encode([query.picture for query in queries]),
    }
    hits = {kind: index.search(vectors[kind], DEPTH) for kind, index in indices.items()}
    places = {sha256: place for place, sha256 in enumerate(indices["text"].image_sha256s)}
    ids = {kind: hits[kind].ids for kind in indices}
    ids["fused"] = np.array(
        [fused(row, own, indices, places) for row, own in zip(ids["text"], ids["image"], strict=True)], np.int64
    ).reshape(len(queries), DEPTH)
    return Found(ids, {kind: hits[kind].scores for kind in indices})


def fused(
    text_ids: np.ndarray, image_ids: np.ndarray, indices: Mapping[str, Index], places: Mapping[str, int]
) -> np.ndarray:
    """Ids in the text index of both lists' pictures by reciprocal rank fusion, [DEPTH], ties by id.

    `places`: the id in the text index of each picture hash.
    """
    points: dict[int, float] = defaultdict(float)
    for kind, ids in (("text", text_ids), ("image", image_ids)):
        for rank, entry in enumerate(ids[ids >= 0], start=1):
            place = places.get(indices[kind].entry(int(entry)).image_sha256)
            if place is not None:
                points[place] += 1 / (FUSION_CONSTANT + rank)
    best = sorted(points, key=lambda place: (-points[place], place))[:DEPTH]
    return np.array(best + [-1] * (DEPTH - len(best)), np.int64)


def quality(
    queries: Sequence[Query], found: Found, indices: Mapping[str, Index], config: QualityConfig
) -> dict[str, Any]:
    """By level and kind: hit@1, @3, @10, MRR@10 over the questions with facts; agreement with level 0 over all."""
    sha256s = {kind: index.image_sha256s for kind, index in indices.items()} | {"fused": indices["text"].image_sha256s}
    num_rows = len(queries) // len(config.levels)
    results: dict[str, Any] = {"levels": {}, "num_questions": num_rows}
    for number, level in enumerate(config.levels):
        rows = range(number * num_rows, (number + 1) * num_rows)
        results["levels"][str(level)] = {
            kind: {
                **_hit_scores([_ranks(queries[row], found.ids[kind][row], sha256s[kind]) for row in rows]),
                f"agreement@{AGREEMENT_K}": _agreement(found.ids[kind], rows, num_rows),
            }
            for kind in KINDS
        }
    with_facts = [query for query in queries[:num_rows] if query.relevant is not None]
    results["num_with_facts"] = len(with_facts)
    num_entries = len(indices["text"])
    results["chance"] = {
        f"hit@{k}": float(np.mean([chance(len(query.relevant or ()), num_entries, k) for query in with_facts] or [0.0]))
        for k in (1, 3, 10)
    }
    return results


def _ranks(query: Query, ids: np.ndarray, sha256s: Sequence[str]) -> int | None:
    """Rank of the first hit that states the fact, from 1; 0 for none; None where the facts are not known."""
    if query.relevant is None:
        return None
    return next((rank for rank, entry in enumerate(ids, start=1) if entry >= 0 and sha256s[entry] in query.relevant), 0)


def _hit_scores(ranks: Sequence[int | None]) -> dict[str, float]:
    known = np.array([rank for rank in ranks if rank is not None], float)
    if not len(known):
        return {}
    scores = {f"hit@{k}": float(((known > 0) & (known <= k)).mean()) for k in (1, 3, 10)}
    return {**scores, f"mrr@{DEPTH}": float(np.divide(1, known, out=np.zeros_like(known), where=known > 0).mean())}


def _agreement(ids: np.ndarray, rows: range, num_rows: int) -> float:
    """Mean share of the first level's top hits that are still among this level's."""
    shares = []
    for row in rows:
        clean, now = (set(part[:AGREEMENT_K][part[:AGREEMENT_K] >= 0]) for part in (ids[row % num_rows], ids[row]))
        shares.append(len(clean & now) / len(clean) if clean else 1.0)
    return float(np.mean(shares)) if shares else 1.0


def chance(num_relevant: int, num_entries: int, k: int) -> float:
    """Probability that k entries drawn at random hold a relevant one (hypergeometric)."""
    missed = 1.0
    for drawn in range(min(k, num_entries)):
        missed *= max(0, num_entries - num_relevant - drawn) / (num_entries - drawn)
    return 1 - missed


def quality_problems(results: Mapping[str, Any]) -> list[str]:
    """At the first level text queries find the fact twice as often as chance, fused ones more often; else sentences."""
    if not results["num_with_facts"]:
        return []
    by_chance = results["chance"]["hit@3"]
    bounds = {"text": min(1.0, 2 * by_chance), "fused": by_chance}
    first_level = next(iter(results["levels"].values()))
    found = {kind: first_level[kind]["hit@3"] for kind in bounds}
    return [
        f"{kind} queries hit at 3: {found[kind]:.1%}, by chance {by_chance:.1%}"
        for kind, bound in bounds.items()
        if found[kind] < bound
    ]
