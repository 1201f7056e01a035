"""Where a data set's Parquet files come from: the Hub at a revision, or a local folder laid out like it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from r3pp_core.artefact import hash_file, hash_json
from r3pp_core.datasets.spec import SPLITS, DatasetSpec
from r3pp_core.errors import R3Error, UsageError


@dataclass(frozen=True)
class SourceFiles:
    """Parquet files by split (train, val, test), and what they are pinned to."""

    files: Mapping[str, list[Path]]
    identity: str


def check_splits(splits: list[str]) -> list[str]:
    unknown = [split for split in splits if split not in SPLITS]
    if unknown or not splits:
        raise UsageError(f"unknown split {', '.join(unknown) or '(none)'}: choose from {', '.join(SPLITS)}")
    return [split for split in SPLITS if split in splits]


def local_source(spec: DatasetSpec, folder: Path, splits: list[str]) -> SourceFiles:
    """Find `<folder>/<dataset>/data/<split>-*.parquet` (or `<folder>/data/...`), identified by its bytes."""
    if not folder.is_dir():
        raise UsageError(f"--source {folder} is not a folder; give a folder that holds {spec.name}/data/*.parquet")
    candidates = [folder / spec.name / "data", folder / spec.name, folder / "data", folder]
    data = next((path for path in candidates if any(path.glob("*.parquet"))), None)
    if data is None:
        raise R3Error(
            f"no Parquet file for {spec.name} in {folder}; expected {spec.name}/data/<split>-*.parquet below it"
        )
    files = {split: _files_of_split(spec, data, split) for split in splits}
    missing = [split for split in splits if not files[split]]
    if missing:
        found = ", ".join(path.name for path in sorted(data.glob("*.parquet")))
        raise R3Error(f"{spec.name}: no Parquet file for split {', '.join(missing)} in {data}; found {found}")
    identity = hash_json({split: [hash_file(path) for path in paths] for split, paths in files.items()})
    return SourceFiles(files, identity)


def _files_of_split(spec: DatasetSpec, data: Path, split: str) -> list[Path]:
    return sorted(path for alias in spec.local_splits[split] for path in data.glob(f"{alias}[-.]*parquet"))


def hub_identity(spec: DatasetSpec, splits: list[str]) -> str:
    """What the Hub source of these splits is pinned to, known without asking the Hub."""
    return hash_json({split: vars(spec.sources[split]) for split in splits})


def hub_source(spec: DatasetSpec, splits: list[str]) -> SourceFiles:
    """Download the Parquet files of the splits into the Hub cache (resumable; `HF_TOKEN`, `HF_HUB_OFFLINE` apply)."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    files: dict[str, list[Path]] = {}
    for split in splits:
        source = spec.sources[split]
        pattern = f"{source.folder}/{source.split}-*.parquet"
        try:
            snapshot = Path(
                snapshot_download(source.repo, repo_type="dataset", revision=source.revision, allow_patterns=[pattern])
            )
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
            raise R3Error(
                f"{spec.name}: cannot fetch {source.repo}@{source.revision} {pattern}{offline}: "
                f"{str(error).splitlines()[0]}; check the network and HF_TOKEN, or give a local folder with --source"
            ) from error
        files[split] = sorted(snapshot.glob(pattern))
        if not files[split]:
            raise R3Error(f"{spec.name}: {source.repo}@{source.revision} holds no {pattern}")
    return SourceFiles(files, hub_identity(spec, splits))
