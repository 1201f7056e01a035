"""What each stage of ingest is told; apart from the stages, since the definitions only show it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from r3pp_core.datasets.registry import DATASETS
from r3pp_core.datasets.spec import SPLITS
from r3pp_core.pictures import MAX_SOURCE_PIXELS


class DownloadConfig(BaseModel):
    """Where raw rows come from and what is accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str | None = Field(None, description="local folder of Parquet in the Hub's layout; empty: the Hub")
    splits: list[str] = Field(list(SPLITS), description="which of train, val, test")
    max_rows: int | None = Field(None, ge=1, description="only the first rows of each split; empty: all")
    max_source_pixels: int = Field(
        MAX_SOURCE_PIXELS, ge=1, le=MAX_SOURCE_PIXELS, description="larger pictures are rejected undecoded"
    )
    image_format: Literal["png", "original"] = Field("png", description="original: keep the source's bytes and suffix")
    num_workers: int | None = Field(None, ge=1, description="processes that convert pictures; empty: one a core")


class OcrConfig(BaseModel):
    """How pictures are read. `min_conf` drops lines that the engine itself doubts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_conf: float = Field(0.5, ge=0, le=1, description="lines below this confidence are left out")
    num_workers: int | None = Field(None, ge=1, description="worker processes of each rank; empty: one a core")


class UnifyConfig(BaseModel):
    """`ocr` is auto (reuse or run OCR), none, or a JSONL file with image_path, ocr_text, ocr_conf."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_prefix: str | None = Field(None, description="first part of image_path; empty: the data set's name")
    ocr: str = Field("auto", description="auto, none, or a JSONL file")
    num_workers: int | None = Field(None, ge=1, description="worker processes for large tables; empty: one a core")


def default_tables(split: str) -> list[str]:
    """The tables of all data sets that have the split."""
    return [f"{name}_unified_{split}.jsonl" for name, spec in DATASETS.items() if split in spec.sources]


class MergeConfig(BaseModel):
    """Which tables make each split, in this order: names of files in the unified folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: list[str] = Field(default_tables("train"), description="tables that make train.jsonl")
    val: list[str] = Field(default_tables("val"), description="tables that make val.jsonl")
    test: list[str] = Field(default_tables("test"), description="tables that make test.jsonl")
    num_workers: int | None = Field(None, ge=1, description="worker processes for large tables; empty: one a core")

    def tables(self, split: str) -> list[str]:
        names: list[str] = getattr(self, split)
        return names
