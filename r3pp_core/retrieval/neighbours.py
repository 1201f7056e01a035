"""What every train row finds when nothing is damaged, looked up once: clean training steps encode no query.

A folder beside the indices: `row_keys.npy` (hashes of row ids, sorted), and for each of text and image the entry ids
[n, K] and scores [n, K] of the rows in that order; -1 where there is no hit. No row has its own picture as neighbour.
Letters: n rows, K neighbours that are kept, k of them that are asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from r3pp_core import code_versions
from r3pp_core.artefact import Manifest, Outcome, Request, Target, build, content_hash_of, read_manifest, text_key
from r3pp_core.errors import R3Error
from r3pp_core.jsonl import read_jsonl
from r3pp_core.progress import Progress, counted, silent
from r3pp_core.retrieval.checks import self_hit_problems
from r3pp_core.retrieval.config import NeighboursConfig
from r3pp_core.retrieval.encoders import load_text_encoder
from r3pp_core.retrieval.search import NO_HIT, Hits, Index, query_text, require_files, softmax_weights

FOLDER = "neighbours"
KINDS = ("text", "image")
ROWS_AT_ONCE = 1024  # the encoder sorts these by length, which saves padding


def build_neighbours(
    jsonl: Path,
    index_dir: Path,
    text_encoder_dir: Path,
    config: NeighboursConfig = NeighboursConfig(),
    progress: Progress = silent,
    *,
    force: bool = False,
) -> Manifest:
    """Write `index_dir/neighbours` for all rows of a merged table; image neighbours are those of the row's own entry.

    Raises R3Error without an index, or with one of another encoder or another table.
    """
    corpus = content_hash_of(jsonl)
    request = Request(
        "index/neighbours",
        code_versions.NEIGHBOURS,
        config.model_dump(),
        {"corpus": corpus, **index_hashes(index_manifests(index_dir))},
    )

    def make(staging: Path) -> Outcome:
        encoder = load_text_encoder(text_encoder_dir, config.device)
        text = Index.load(index_dir / "text", encoder, corpus)
        image = Index.load(index_dir / "image", None, corpus)
        num_rows = sum(1 for _ in read_jsonl(jsonl))
        ids = {kind: np.full((num_rows, config.k), NO_HIT, np.int64) for kind in KINDS}
        scores = {kind: np.zeros((num_rows, config.k), np.float32) for kind in KINDS}
        keys = np.zeros(num_rows, np.uint64)
        place = {sha256: entry for entry, sha256 in enumerate(image.image_sha256s)}
        start = 0
        for rows in counted(_blocks(jsonl), None, f"index/neighbours blocks of {ROWS_AT_ONCE} rows", progress):
            end = start + len(rows)
            keys[start:end] = [text_key(row["id"]) for row in rows]
            found = text.search(
                encoder.encode([clean_query(row, config.max_query_chars) for row in rows], config.batch_size),
                config.k,
                exclude=[{row["image_sha256"]} for row in rows],
            )
            ids["text"][start:end], scores["text"][start:end] = found.ids, found.scores
            ids["image"][start:end], scores["image"][start:end] = _image_hits(rows, image, place, config.k)
            start = end
        order = np.argsort(keys, kind="stable")
        if (np.diff(keys[order]) == 0).any():
            raise R3Error(f"{jsonl} has two rows of one id; merge the tables again with `r3pp merge`")
        np.save(staging / "row_keys.npy", keys[order])
        for kind in KINDS:
            np.save(staging / f"{kind}_ids.npy", ids[kind][order])
            np.save(staging / f"{kind}_scores.npy", scores[kind][order])
        without = {f"rows_without_{kind}_hit": int((ids[kind][:, 0] == NO_HIT).sum()) for kind in KINDS}
        return Outcome(counts={"rows": num_rows, **without})

    return build(Target(index_dir / FOLDER), request, make, force=force, progress=progress)


def index_manifests(index_dir: Path) -> dict[str, Manifest | None]:
    """Of the text and the image index, None for one that is not there."""
    return {kind: read_manifest(Target(index_dir / kind)) for kind in KINDS}


def index_hashes(manifests: Mapping[str, Manifest | None]) -> dict[str, str]:
    """Which indices something was made from, as inputs of its request."""
    return {f"index_{kind}": manifest.content_hash if manifest else "none" for kind, manifest in manifests.items()}


def clean_query(row: Mapping[str, Any], max_chars: int) -> str:
    """As training asks; a table of pictures without questions is asked by their text alone."""
    return query_text(row.get("question", ""), row["pseudo_text"])[:max_chars]


def _blocks(jsonl: Path) -> Iterator[list[dict[str, Any]]]:
    rows = read_jsonl(jsonl)
    while block := list(islice(rows, ROWS_AT_ONCE)):
        yield block


def _image_hits(
    rows: Sequence[Mapping[str, Any]], image: Index, place: Mapping[str, int], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of each unique picture once; none for a picture that is not in the index."""
    pictures = list(dict.fromkeys(row["image_sha256"] for row in rows if row["image_sha256"] in place))
    ids, scores = np.full((len(rows), k), NO_HIT, np.int64), np.zeros((len(rows), k), np.float32)
    if pictures:
        vectors = image.vectors(np.array([place[sha256] for sha256 in pictures]))
        found = image.search(vectors, k, exclude=[{sha256} for sha256 in pictures])
        number = {sha256: row for row, sha256 in enumerate(pictures)}
        known = [row for row, line in enumerate(rows) if line["image_sha256"] in number]
        sources = [number[rows[row]["image_sha256"]] for row in known]
        ids[known], scores[known] = found.ids[sources], found.scores[sources]
    return ids, scores


@dataclass(frozen=True)
class Neighbours:
    """Loaded, memory-mapped. Read-only, so threads may share it."""

    keys: np.ndarray
    ids: Mapping[str, np.ndarray]
    scores: Mapping[str, np.ndarray]
    max_query_chars: int
    content_hash: str

    @classmethod
    def load(cls, index_dir: Path) -> "Neighbours | None":
        """Those of the indices in `index_dir`; None where there are none, or only of older indices or questions.

        Raises R3Error where a file is missing or is not the one that was made.
        """
        target = Target(index_dir / FOLDER)
        manifest, indices = read_manifest(target), index_manifests(index_dir)
        if manifest is None or any(manifest.inputs[name] != value for name, value in index_hashes(indices).items()):
            return None
        # The same pictures and texts make the same index, whatever is asked about them.
        if any(index is not None and index.inputs["corpus"] != manifest.inputs["corpus"] for index in indices.values()):
            return None
        require_files(target.folder, manifest)

        def mapped(name: str) -> np.ndarray:
            values: np.ndarray = np.load(target.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            return values

        return cls(
            mapped("row_keys"),
            {kind: mapped(f"{kind}_ids") for kind in KINDS},
            {kind: mapped(f"{kind}_scores") for kind in KINDS},
            int(manifest.config["max_query_chars"]),
            manifest.content_hash,
        )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def k(self) -> int:
        return int(self.ids["text"].shape[1])

    def find(self, row_ids: Sequence[str]) -> np.ndarray | None:
        """Places of the rows, None when one of them is not known."""
        wanted = np.array([text_key(row_id) for row_id in row_ids], np.uint64)
        places = np.searchsorted(self.keys, wanted)
        known = places < len(self)
        return places if known.all() and (self.keys[places] == wanted).all() else None

    def hits(self, kind: str, places: np.ndarray, k: int, min_score: float | None) -> Hits:
        """The first k neighbours of the rows at `places`, as a search would give them."""
        ids, scores = np.array(self.ids[kind][places, :k]), np.array(self.scores[kind][places, :k])
        mask = ids != NO_HIT
        if min_score is not None:
            mask &= scores >= min_score
        ids, scores = np.where(mask, ids, NO_HIT), np.where(mask, scores, np.float32(0))
        return Hits(ids, scores, softmax_weights(scores, mask), mask)


def self_neighbour_problems(jsonl: Path, index_dir: Path) -> list[str]:
    """Every row has neighbours of the present indices where there are other entries, and none finds its own picture."""
    try:
        neighbours = Neighbours.load(index_dir)
    except R3Error as error:
        return [str(error)]
    if neighbours is None:
        return [f"no neighbours of the present indices in {index_dir / FOLDER}"]
    rows = [(row["id"], row["image_sha256"]) for row in read_jsonl(jsonl)]
    places = neighbours.find([row_id for row_id, _ in rows])
    if places is None:
        return [f"{jsonl} holds rows without neighbours"]
    sha256s, problems = [sha256 for _, sha256 in rows], []
    for kind in KINDS:
        index, ids = Index.load(index_dir / kind), neighbours.ids[kind][places]
        problems += [f"by {kind}: {problem}" for problem in self_hit_problems(index, ids, sha256s)]
        others, known = int(index.searchable.sum()) - 1, set(index.image_sha256s)
        asks = np.array([kind == "text" or sha256 in known for sha256 in sha256s], bool)
        if others > 0 and (missed := int((asks & (ids[:, 0] == NO_HIT)).sum())):
            problems.append(f"by {kind}: {missed} of {len(rows)} rows found nothing among {others} other pictures")
    return problems
