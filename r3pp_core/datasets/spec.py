"""What has to be said of a data set: where its splits lie, how its columns are called, how it is scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from r3pp_core.errors import R3Error

SPLITS = ("train", "val", "test")
# The runbook's picture names say `validation` where its tables say `val`.
PICTURE_PREFIX = {"train": "train", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class HubSource:
    """One split on the Hub: Parquet files `<folder>/<split>-*.parquet` of a data set repository at a revision."""

    repo: str
    revision: str
    folder: str
    split: str


@dataclass(frozen=True)
class DatasetSpec:
    """A data set. Column candidates are tried in order, since mirrors name the same column differently.

    `metric` is the name in r3pp_core.evaluation.metrics that the data set is judged by; `meta` maps a key of the
    unified row's `meta` to its column candidates.
    """

    name: str
    title: str
    sources: Mapping[str, HubSource]
    question: Sequence[str]
    answers: Sequence[str]
    metric: str
    prompt: str
    image: Sequence[str] = ("image",)
    meta: Mapping[str, Sequence[str]] = field(default_factory=dict)
    local_splits: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {"train": ("train",), "val": ("val", "validation", "dev"), "test": ("test",)}
    )

    def column(self, role: str, candidates: Sequence[str], found: Sequence[str]) -> str:
        """The first candidate that is among the found columns; R3Error names what was looked for and found."""
        for candidate in candidates:
            if candidate in found:
                return candidate
        raise R3Error(
            f"{self.name}: no {role} column: looked for {', '.join(candidates)}, found {', '.join(found)}; "
            f"rename the column or add its name to the data set's file in r3pp_core/datasets"
        )
