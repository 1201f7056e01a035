"""Which revision of each data set and model the Hub has now, beside the one that is held."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from r3pp_core.artefact import Target, read_manifest
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.errors import R3Error
from r3pp_core.hub import hub_errors
from r3pp_core.ingest.download import raw_target
from r3pp_core.profiles import HubModel
from r3pp_core.workspace import Workspace

COMMIT = re.compile(r"[0-9a-f]{40}")


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


def newest_revisions(models: Mapping[str, HubModel], paths: Workspace) -> list[Place]:
    """Asks the Hub for every data set's split and every model. Raises R3Error where it cannot be asked."""
    found = []
    for name, spec in DATASETS.items():
        manifest = read_manifest(raw_target(paths.raw_dir(name)))
        commits = manifest.details.get("commits", {}) if manifest else {}
        for split, source in spec.sources.items():
            newest = newest_revision(source.repo, "dataset")
            is_pinned = COMMIT.fullmatch(source.revision) is not None
            found.append(Place("raw", name, split, source.repo, commits.get(split), newest, is_pinned))
    for name, model in models.items():
        held = model.revision if read_manifest(Target(paths.model_dir(name))) else None
        found.append(Place("models", name, "", model.repo, held, newest_revision(model.repo, "model"), True))
    return found


def newest_revision(repo: str, repo_type: Literal["dataset", "model"]) -> str:
    """The commit of a repository's main branch. `HF_TOKEN` applies. Raises R3Error."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().repo_info(repo, repo_type=repo_type)
    except hub_errors() as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise R3Error(f"the Hub cannot be asked for {repo}: {why}") from error
    return str(info.sha)
