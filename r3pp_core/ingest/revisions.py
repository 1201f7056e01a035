"""Which revision of each data set and model the Hub has now, beside the one that is held."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from r3pp_core.artefact import Target, read_manifest
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.datasets.spec import DatasetSpec
from r3pp_core.errors import R3Error
from r3pp_core.hub import hub_errors
from r3pp_core.ingest.download import raw_target
from r3pp_core.profiles import HubModel
from r3pp_core.workspace import Workspace

COMMIT = re.compile(r"[0-9a-f]{40}")
TIMEOUT_S = 10


@dataclass(frozen=True)
class Place:
    """One repository that an asset comes from. `held` is None where it was never fetched."""

    group: Literal["raw", "models"]
    asset: str
    part: str
    repo: str
    held: str | None
    newest: str
    is_pinned: bool

    @property
    def name(self) -> str:
        return f"{self.group}/{self.asset} {self.part}".strip()

    @property
    def has_moved(self) -> bool:
        """Whether its branch did since it was fetched. What is pinned, adopted or was never fetched stays."""
        return not self.is_pinned and self.held is not None and self.newest != self.held


@dataclass(frozen=True)
class Look:
    """What the Hub said. `not_asked` has a sentence for every repository that it did not answer for."""

    places: list[Place]
    not_asked: list[str]


def look_at_hub(
    models: Mapping[str, HubModel], paths: Workspace, datasets: Mapping[str, DatasetSpec] = DATASETS
) -> Look:
    """Asks the Hub for every data set's split and every model; one that cannot be asked keeps no other from it."""
    places: list[Place] = []
    answers: dict[str, str | R3Error] = {}  # a repository may hold several splits

    def newest(repo: str, repo_type: Literal["dataset", "model"]) -> str | None:
        if repo not in answers:
            try:
                answers[repo] = newest_revision(repo, repo_type)
            except R3Error as error:
                answers[repo] = error
        answer = answers[repo]
        return None if isinstance(answer, R3Error) else answer

    for name, spec in datasets.items():
        manifest = read_manifest(raw_target(paths.raw_dir(name)))
        commits = manifest.details.get("commits", {}) if manifest else {}
        for split, source in spec.sources.items():
            if commit := newest(source.repo, "dataset"):
                is_pinned = COMMIT.fullmatch(source.revision) is not None
                places.append(Place("raw", name, split, source.repo, commits.get(split), commit, is_pinned))
    for name, model in models.items():
        if commit := newest(model.repo, "model"):
            held = model.revision if read_manifest(Target(paths.model_dir(name))) else None
            places.append(Place("models", name, "", model.repo, held, commit, True))
    return Look(places, [str(answer) for answer in answers.values() if isinstance(answer, R3Error)])


def newest_revision(repo: str, repo_type: Literal["dataset", "model"]) -> str:
    """The commit of a repository's main branch. `HF_TOKEN` applies. Raises R3Error."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().repo_info(repo, repo_type=repo_type, timeout=TIMEOUT_S)
    except hub_errors() as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise R3Error(f"the Hub cannot be asked for {repo}: {why}") from error
    if info.sha is None:
        raise R3Error(f"the Hub names no commit of {repo}")
    return str(info.sha)
