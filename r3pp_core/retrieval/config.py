"""What decides the bytes of an index, and what decides the answer of a search."""

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


class SearchConfig(BaseModel):
    """How evidence is searched; its fields are arguments of `Index.search` (METHOD 4: k = 3, temperature 1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(default=3, ge=1)
    min_score: float | None = None
    temperature: float = Field(default=1.0, gt=0)
