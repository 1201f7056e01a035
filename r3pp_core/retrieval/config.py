"""What decides the bytes of an index."""

from pydantic import BaseModel, ConfigDict, Field

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
