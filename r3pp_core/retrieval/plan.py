"""What an index is built from, cut into shards: the same pieces whoever encodes them and however many do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from r3pp_core import code_versions
from r3pp_core.artefact import Request, Target, content_hash_of, hash_json
from r3pp_core.retrieval.config import IndexConfig
from r3pp_core.retrieval.encoders import encoder_hash
from r3pp_core.retrieval.faiss_index import require_known, trains_on_gpu
from r3pp_core.retrieval.index_type import AUTO_TYPE
from r3pp_core.retrieval.metadata import IndexEntry, read_pictures

Kind = Literal["text", "image"]


@dataclass(frozen=True)
class IndexPlan:
    """`entries` are the unique pictures in first-seen order; shard n holds the n-th `config.shard_entries` of them."""

    kind: Kind
    image_root: Path
    out_dir: Path
    encoder_dir: Path
    config: IndexConfig
    entries: Sequence[IndexEntry]
    request: Request

    @property
    def target(self) -> Target:
        return Target(self.out_dir / self.kind)

    @property
    def shards_dir(self) -> Path:
        """Where encoded shards wait for each other: none of another request is ever met there."""
        return work_dir(self.out_dir, self.kind) / self.request.fingerprint[:16]

    @property
    def num_shards(self) -> int:
        """At least one, so that an empty corpus has vectors too: none, of the encoder's dimension."""
        return max(1, -(-len(self.entries) // self.config.shard_entries))

    def shard(self, number: int) -> Sequence[IndexEntry]:
        start = number * self.config.shard_entries
        return self.entries[start : start + self.config.shard_entries]


def work_dir(out_dir: Path, kind: str) -> Path:
    return out_dir / f".work-{kind}"


def plan_index(
    kind: Kind, jsonl: Path, image_root: Path, out_dir: Path, encoder_dir: Path, config: IndexConfig
) -> IndexPlan:
    """Read the table and say what is asked for. Raises R3Error for an unusable JSONL, encoder or index type."""
    require_known(config.index_type, config.search_parameters)
    inputs = {"corpus": content_hash_of(jsonl), "encoder": encoder_hash(encoder_dir)}
    entries = read_pictures(jsonl)
    if kind == "image":
        inputs["missing_pictures"] = hash_json(
            [entry.image_path for entry in entries if not (image_root / entry.image_path).is_file()]
        )
    if trains_on_gpu(config.index_type):
        inputs["faiss"] = "gpu"
    unused = {"max_index_bytes"} if config.index_type != AUTO_TYPE else set()
    request = Request(f"index/{kind}", code_versions.INDEX, config.model_dump(exclude=unused), inputs)
    return IndexPlan(kind, image_root, out_dir, encoder_dir, config, entries, request)
