"""What decides the bytes of an index."""

from pydantic import BaseModel, ConfigDict, Field


class IndexConfig(BaseModel):
    """How an index is built.

    `index_type` is any FAISS factory string ("Flat", "IVF4096,PQ64", "HNSW32"); `search_parameters` are FAISS's own
    ("nprobe=16", "efSearch=128"), stored inside the index file. `seed` draws the queries that measure the recall;
    FAISS trains from its own fixed seed. `batch_size` and `device` move a vector by rounding, so they count too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    index_type: str = Field(default="Flat", min_length=1)
    search_parameters: str | None = None
    batch_size: int = Field(default=32, ge=1)
    seed: int = 0
    num_recall_queries: int = Field(default=200, ge=1)
    device: str = "cpu"
