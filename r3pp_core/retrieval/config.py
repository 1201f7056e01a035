"""What decides the bytes of an index, of the neighbours, and of what is measured of both."""

from pydantic import BaseModel, ConfigDict, Field, field_validator

from r3pp_core.corruption.levels import LEVELS, require_levels

DEVICE = r"^(cpu|cuda(:\d+)?)$"


class IndexConfig(BaseModel):
    """How an index is built.

    `index_type` is any FAISS factory string ("Flat", "IVF4096,PQ64", "HNSW32") or "auto"; `search_parameters` are
    FAISS's own ("nprobe=16", "efSearch=128"), stored inside the index file. `seed` draws the queries that measure the
    recall; FAISS trains from fixed seeds. `batch_size`, `shard_entries` (no batch crosses a shard's border) and
    `device` move a vector by rounding, so they count too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    index_type: str = Field("Flat", min_length=1, description="a FAISS factory string, or auto: by size and budget")
    search_parameters: str | None = Field(None, description="FAISS's own, for example nprobe=16")
    max_index_bytes: int = Field(2 << 30, ge=1, description="memory that an index chosen by auto may take")
    batch_size: int = Field(32, ge=1, description="pictures or texts that are encoded at once")
    shard_entries: int = Field(4096, ge=1, description="entries that are encoded, and kept after a crash, together")
    seed: int = Field(0, ge=0, description="seed of the queries that measure the recall")
    num_recall_queries: int = Field(200, ge=1, description="queries that measure the recall against exact search")
    device: str = Field("cpu", pattern=DEVICE, description="where the encoder runs: cpu, cuda or cuda:<n>")


class NeighboursConfig(BaseModel):
    """How many neighbours are kept; `max_query_chars` must be the model's, or training looks up again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(10, ge=1, description="neighbours kept of each kind")
    max_query_chars: int = Field(1000, ge=1, description="text queries (question, picture text) are cut here")
    batch_size: int = Field(32, ge=1, description="queries that are encoded at once")
    device: str = Field("cpu", pattern=DEVICE, description="where the text encoder runs: cpu, cuda or cuda:<n>")


class QualityConfig(BaseModel):
    """Which questions are asked, at which damage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_per_dataset: int = Field(40, ge=1, description="questions of each data set, spread over its pictures")
    levels: list[float] = Field(LEVELS, min_length=1, description="damage levels in 0..1")
    max_query_chars: int = Field(1000, ge=1, description="text queries are cut here, as the model's are")
    seed: int = Field(0, ge=0, description="seed of the damage")

    @field_validator("levels")
    @classmethod
    def _least_first(cls, levels: list[float]) -> list[float]:
        require_levels(levels)
        return sorted(set(levels))
