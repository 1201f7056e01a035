"""Where a data set's Parquet files come from: the Hub at a revision, or a local folder laid out like it."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from r3pp_core.artefact import hash_file, hash_json
from r3pp_core.datasets.spec import SPLITS, DatasetSpec
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.hub import hub_errors
from r3pp_core.progress import Progress, silent

# The Hub's own conversions end in a hash: train-00000-of-00003-49492f364babfa44.parquet
SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})(-[0-9a-f]+)?\.parquet")


@dataclass(frozen=True)
class SourceFiles:
    """Parquet files by split (train, val, test), what they are pinned to, and from the Hub their commits by split."""

    files: Mapping[str, list[Path]]
    identity: str
    commits: Mapping[str, str] = field(default_factory=dict)


def check_splits(splits: list[str]) -> list[str]:
    unknown = [split for split in splits if split not in SPLITS]
    if unknown or not splits:
        raise UsageError(f"unknown split {', '.join(unknown) or '(none)'}: choose from {', '.join(SPLITS)}")
    return [split for split in SPLITS if split in splits]


def spec_splits(spec: DatasetSpec, splits: list[str]) -> list[str]:
    """Those of `splits` that the data set has; a data set need not have all three."""
    found = [split for split in check_splits(splits) if split in spec.sources]
    if not found:
        raise UsageError(f"{spec.name} has no split {', '.join(splits)}: choose from {', '.join(spec.sources)}")
    return found


def local_source(
    spec: DatasetSpec, folder: Path, splits: list[str], hash_of: Callable[[Path], str] = hash_file
) -> SourceFiles:
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
    for paths in files.values():
        refuse_missing_shards(spec.name, paths, str(data), "copy them there as well")
    identity = hash_json({split: [hash_of(path) for path in paths] for split, paths in files.items()})
    return SourceFiles(files, identity)


def refuse_missing_shards(dataset: str, paths: list[Path], where: str, remedy: str) -> None:
    """Raise R3Error naming the files that `<split>-00000-of-00003.parquet` says there should be and that are not."""
    found: dict[tuple[str, str], set[int]] = defaultdict(set)
    for path in paths:
        if match := SHARD.fullmatch(path.name):
            found[match["split"], match["total"]].add(int(match["number"]))
    missing = [
        f"{split}-{number:05}-of-{total}"
        for (split, total), numbers in found.items()
        for number in sorted(set(range(int(total))) - numbers)
    ]
    if missing:
        raise R3Error(f"{dataset}: {len(missing)} files are missing in {where}: {', '.join(missing[:5])}; {remedy}")


def _files_of_split(spec: DatasetSpec, data: Path, split: str) -> list[Path]:
    """Under the first of the split's names that has any: `val-*` beside `validation-*` are the same rows twice."""
    found = (sorted(data.glob(f"{alias}[-.]*parquet")) for alias in spec.local_splits[split])
    return next((paths for paths in found if paths), [])


def hub_identity(spec: DatasetSpec, splits: list[str]) -> str:
    """What the Hub source of these splits is pinned to, known without asking the Hub."""
    return hash_json({split: vars(spec.sources[split]) for split in splits})


def hub_source(spec: DatasetSpec, splits: list[str], progress: Progress = silent) -> SourceFiles:
    """Download the Parquet files of the splits into the Hub cache; an interrupted download goes on.

    `HF_TOKEN` and `HF_HUB_OFFLINE` apply. Raises R3Error naming what cannot be fetched or is missing in the cache.
    """
    from huggingface_hub import snapshot_download

    files: dict[str, list[Path]] = {}
    commits: dict[str, str] = {}
    for split in splits:
        source = spec.sources[split]
        pattern = f"{source.folder}/{source.split}-*.parquet"
        progress(f"raw/{spec.name}: {split} from {source.repo}@{source.revision[:12]}")
        try:
            snapshot = Path(
                snapshot_download(source.repo, repo_type="dataset", revision=source.revision, allow_patterns=[pattern])
            )
        except hub_errors() as error:
            raise R3Error(
                f"{spec.name}: cannot fetch {source.repo}@{source.revision} {pattern}{_offline()}: "
                f"{str(error).splitlines()[0]}; check the network and HF_TOKEN, or give a local folder with --source"
            ) from error
        files[split], commits[split] = sorted(snapshot.glob(pattern)), snapshot.name
        if not files[split]:
            raise R3Error(f"{spec.name}: {source.repo}@{source.revision}{_offline()} holds no {pattern}")
        remedy = "unset HF_HUB_OFFLINE and run it again where there is a network" if _offline() else "run it again"
        refuse_missing_shards(spec.name, files[split], f"the Hub cache of {source.repo}{_offline()}", remedy)
    return SourceFiles(files, hub_identity(spec, splits), commits)


def _offline() -> str:
    """Said where huggingface_hub would stay offline: it takes 1, ON, YES and TRUE for that."""
    is_offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    return " (HF_HUB_OFFLINE is set)" if is_offline else ""
