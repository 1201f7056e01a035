"""The layout of a workspace: one root, the runbook's own folders below it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    root: Path

    @property
    def source_dir(self) -> Path:
        """The embedded sample's Parquet files, in the Hub's layout."""
        return self.root / "source"

    @property
    def image_root(self) -> Path:
        return self.root / "data" / "raw"

    def raw_dir(self, dataset: str) -> Path:
        return self.image_root / dataset

    @property
    def unified_dir(self) -> Path:
        return self.root / "data" / "unified"

    def merged(self, split: str) -> Path:
        return self.unified_dir / f"{split}.jsonl"

    @property
    def indices_dir(self) -> Path:
        return self.root / "indices"

    def model_dir(self, name: str) -> Path:
        return self.root / "models" / name

    def checkpoint_dir(self, run: str | None = None) -> Path:
        """Holds `step_<n>`; a named run has a folder of its own."""
        return self.root / "checkpoints" / run if run else self.root / "checkpoints"

    def results_dir(self, run: str) -> Path:
        return self.root / "results" / run

    @property
    def champion_dir(self) -> Path:
        """The history of champions; the one that stands is `current/model` in it."""
        return self.root / "champion"
