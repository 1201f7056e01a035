"""The encoding itself, shard by shard, each kept at once: an interrupted build goes on where it stood.

A shard is one safetensors file: `vectors` float32 [kept, d], and as metadata the pictures that were left out. It
appears whole or not at all, and no batch crosses its border, so its bytes do not depend on who encodes the others.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from r3pp_core.artefact import sync, unfinished
from r3pp_core.errors import R3Error
from r3pp_core.launch.run_dir import StopPoint, no_stop
from r3pp_core.pictures import PictureError
from r3pp_core.progress import Progress, counted
from r3pp_core.retrieval.batches import Batch, encoded_batches
from r3pp_core.retrieval.encoders import Encoder, load_image_encoder, load_text_encoder
from r3pp_core.retrieval.metadata import IndexEntry
from r3pp_core.retrieval.pictures_ahead import prepared_pictures
from r3pp_core.retrieval.plan import IndexPlan

NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Shard:
    """`vectors` are of the entries that came through, `rejected` maps the positions of the others to the reason."""

    vectors: np.ndarray
    rejected: dict[int, str]


def encode_shards(
    plan: IndexPlan, progress: Progress, rank: int = 0, num_ranks: int = 1, stop_point: StopPoint = no_stop
) -> int:
    """Encode what rank `rank` of `num_ranks` has to and nobody has yet; returns the number of shards encoded.

    Shard n belongs to rank n modulo `num_ranks`; `stop_point` is called before each. Raises R3Error for an unusable
    encoder and when a vector is not finite.
    """
    plan.shards_dir.mkdir(parents=True, exist_ok=True)
    own = range(rank, plan.num_shards, num_ranks)
    missing = [number for number in own if not shard_path(plan, number).is_file()]
    where = f" of rank {rank}" if num_ranks > 1 else ""
    if plan.num_shards > 1:
        progress(f"{plan.request.stage}: {len(own)} shards{where}, {len(own) - len(missing)} encoded before")
    if missing:
        encode = _encoded_pictures if plan.kind == "image" else _encoded_texts
        stop_point()
        for number, shard in zip(missing, encode(plan, missing, f"{plan.request.stage}{where}", progress), strict=True):
            _write(shard, shard_path(plan, number))
            if number != missing[-1]:
                stop_point()
    return len(missing)


def shard_path(plan: IndexPlan, number: int) -> Path:
    return plan.shards_dir / f"{number:06d}.safetensors"


def read_rejected(path: Path) -> dict[int, str]:
    """Why entries of a shard have no vector, by position. Raises R3Error naming a file that is damaged."""
    with _opened(path) as file:
        rejected = json.loads(file.metadata()["rejected"])
    return {int(position): reason for position, reason in rejected.items()}


def read_vectors(path: Path) -> np.ndarray:
    """float32 [kept, d]. Raises R3Error naming a file that is damaged."""
    with _opened(path) as file:
        vectors: np.ndarray = file.get_tensor("vectors")
    return vectors


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except SafetensorError as error:
        raise R3Error(f"{path} is no whole shard ({error}); remove it and build the index again") from error


def _encoded_pictures(plan: IndexPlan, numbers: Sequence[int], what: str, progress: Progress) -> Iterator[Shard]:
    encoder = load_image_encoder(plan.encoder_dir, plan.config.device)
    entries = [entry for number in numbers for entry in plan.shard(number)]
    pictures = prepared_pictures(entries, plan.image_root, encoder, plan.config.batch_size)
    stream = counted(pictures, len(entries), what, progress)
    return _encoded(plan, encoder, (batch for number in numbers for batch in _of_pictures(plan, number, stream)))


def _of_pictures(
    plan: IndexPlan, number: int, stream: Iterator[np.ndarray | PictureError]
) -> Iterator[Batch[np.ndarray]]:
    batch: Batch[np.ndarray] = Batch(number)
    for position, picture in enumerate(islice(stream, len(plan.shard(number)))):
        if isinstance(picture, PictureError):
            batch.rejected[position] = picture.reason
            continue
        if len(batch.items) == plan.config.batch_size:
            yield batch
            batch = Batch(number)
        batch.add(position, picture)
    yield batch


def _encoded_texts(plan: IndexPlan, numbers: Sequence[int], what: str, progress: Progress) -> Iterator[Shard]:
    encoder = load_text_encoder(plan.encoder_dir, plan.config.device)
    encoder.encode([""])  # sets the tokenizer's padding once, which threads must not do at the same time
    total = sum(len(plan.shard(number)) for number in numbers)
    stream = counted((item for number in numbers for item in _by_length(plan, number)), total, what, progress)
    return _encoded(plan, encoder, (batch for number in numbers for batch in _of_texts(plan, number, stream)))


def _by_length(plan: IndexPlan, number: int) -> list[tuple[int, str]]:
    """A shard's texts with their positions, longest first: little padding, and the largest batch comes first.

    An entry without text has the vector of the empty text.
    """
    texts = [entry.pseudo_text if entry.has_text else "" for entry in plan.shard(number)]
    return sorted(enumerate(texts), key=lambda item: -len(item[1]))


def _of_texts(plan: IndexPlan, number: int, stream: Iterator[tuple[int, str]]) -> Iterator[Batch[str]]:
    batch: Batch[str] = Batch(number)
    for position, text in islice(stream, len(plan.shard(number))):
        if len(batch.items) == plan.config.batch_size:
            yield batch
            batch = Batch(number)
        batch.add(position, text)
    yield batch


def _encoded(plan: IndexPlan, encoder: Encoder, batches: Iterator[Batch[Any]]) -> Iterator[Shard]:
    """A shard for every run of batches with its number, each entry's vector at the entry's place."""
    encoded = encoded_batches(encoder, batches, plan.config.device)
    for number, of_shard in groupby(encoded, key=lambda pair: pair[0].shard):
        entries = plan.shard(number)
        vectors = np.zeros((len(entries), encoder.dim), np.float32)
        rejected: dict[int, str] = {}
        for batch, of_batch in of_shard:
            _require_unit(of_batch, [entries[position] for position in batch.positions], encoder)
            vectors[batch.positions] = of_batch
            rejected |= batch.rejected
        yield Shard(np.delete(vectors, list(rejected), axis=0), rejected)


def _require_unit(vectors: np.ndarray, entries: Sequence[IndexEntry], encoder: Encoder) -> None:
    norms = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))
    if len(wrong):
        raise R3Error(
            f"encoder {encoder.name} gave a vector of length {norms[wrong[0]]} for {entries[wrong[0]].image_path}; "
            "every vector must be finite and of length 1: check the encoder's weights and the device"
        )


def _write(shard: Shard, path: Path) -> None:
    """Whole and on disk before it has its name, so that what a crash leaves under that name can be used."""
    from safetensors.numpy import save_file

    staging = unfinished(path)
    save_file({"vectors": shard.vectors}, staging, metadata={"rejected": json.dumps(shard.rejected)})
    sync(staging)
    staging.replace(path)
    sync(path.parent)
