"""Watches where data and models come from: a local folder for other files, the Hub for newer revisions."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from r3pp_assets.automation.why import WHY
from r3pp_assets.failures import GOES_ON
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.errors import R3Error

if TYPE_CHECKING:
    from r3pp_core.ingest.revisions import Look, Place

HUB_INTERVAL_S = 6 * 3600
TAKES_IN = "r3pp/takes_in"


def watch_source(interval_s: int) -> dg.SensorDefinition:
    return dg.SensorDefinition(
        name="new_source_data",
        evaluation_fn=new_source_data,
        asset_selection=dg.AssetSelection.groups("raw"),
        minimum_interval_seconds=interval_s,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Watches the local source: a data set whose Parquet files changed, and have been still since the "
        "last look, is taken in again. The rest follows by `retraining_on_change`. Off until turned on.",
    )


def new_source_data(context: dg.SensorEvaluationContext, workspace: WorkspaceResource) -> dg.SensorResult:
    if workspace.source is None:
        return dg.SensorResult(skip_reason=dg.SkipReason("the source is no local folder; `new_revisions` asks the Hub"))
    seen = json.loads(context.cursor or "{}")
    requests, waiting, unreadable = [], [], []
    for name in DATASETS:
        before = seen.get(name, {})
        try:
            if not (state := look(Path(workspace.source), name)):
                unreadable.append(f"{name}: no Parquet file in {workspace.source}")
                continue
            if state != before.get("look"):
                seen[name] = {**before, "look": state}
                waiting.append(name)
            elif before.get("asked") != state:
                requests += list(_taken_in(workspace, name, state, before.get("times", 0)))
                seen[name] = {**before, "asked": state, "times": before.get("times", 0) + 1}
        except OSError as error:  # being replaced, or not ours to read: the others are looked at all the same
            unreadable.append(f"{name}: {error}")
    reason = f"files of {', '.join(waiting)} changed; waiting until they are still" if waiting else "no file changed"
    reason = "; ".join([*unreadable, reason])
    return dg.SensorResult(
        run_requests=requests, skip_reason=None if requests else dg.SkipReason(reason), cursor=json.dumps(seen)
    )


def look(source: Path, dataset: str) -> str:
    """Names, sizes and times of a data set's Parquet files: what can be seen without reading them."""
    folders = [source / dataset / "data", source / dataset]
    files = sorted({path for folder in folders for path in folder.glob("*.parquet")})
    return " ".join(f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files)


def _taken_in(workspace: WorkspaceResource, dataset: str, state: str, times: int) -> Iterator[dg.RunRequest]:
    """A run for files with other bytes; none where only their times changed. `times`: how often before."""
    from r3pp_core.artefact import hash_json
    from r3pp_core.ingest.config import DownloadConfig
    from r3pp_core.ingest.download import is_current

    try:
        if is_current(dataset, workspace.paths.raw_dir(dataset), DownloadConfig(source=workspace.source)):
            return
    except R3Error:
        pass  # a file is missing: the run says which
    key = dg.AssetKey(["raw", dataset])
    yield dg.RunRequest(
        run_key=f"{dataset} {times} {hash_json(state)[:16]}",
        asset_selection=[key],
        tags={WHY: f"files of {dataset} changed", **GOES_ON},
    )


@dg.sensor(
    asset_selection=dg.AssetSelection.groups("raw", "models"),
    minimum_interval_seconds=HUB_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Asks the Hub which revision of each data set and model is the newest. One that was fetched from a "
    "branch is taken in again where the branch moved; of one that is pinned the newer revision is told. Off until "
    "turned on.",
)
def new_revisions(context: dg.SensorEvaluationContext, workspace: WorkspaceResource) -> dg.SensorResult:
    if (look := look_at_hub(workspace)) is None:
        return dg.SensorResult(skip_reason=dg.SkipReason("nothing of this workspace comes from the Hub"))
    for why in look.not_asked:
        context.log.warning(why)
    told_of = json.loads(context.cursor or "{}")
    requests, told = [], []
    for place in look.places:
        before = told_of.get(place.name, {})
        if isinstance(before, str):  # as the first version kept it
            before = {"newest": before}
        times = before.get("times", 0) if before.get("newest") == place.newest else 0
        if not place.has_moved:
            if before.get("newest") == place.newest:
                continue
            told.append(_observation(place))
        elif is_taken_in(context.instance, place):
            continue
        else:
            times += 1  # a download that failed is tried again at the next look
            requests.append(
                dg.RunRequest(
                    run_key=f"{place.name} {place.newest} {times}",
                    asset_selection=[asset_of(place)],
                    run_config=forced([place]),
                    tags={WHY: moved(place), TAKES_IN: place.name, **GOES_ON},
                )
            )
        told_of[place.name] = {"newest": place.newest, "times": times}
    reason = "; ".join([*look.not_asked, "no branch moved; newer revisions of what is pinned are observations"])
    skip = None if requests else dg.SkipReason(reason)
    return dg.SensorResult(run_requests=requests, skip_reason=skip, asset_events=told, cursor=json.dumps(told_of))


def look_at_hub(workspace: WorkspaceResource) -> "Look | None":
    """None where the profile's models are packaged; data sets of a local source are not asked for."""
    from r3pp_core.ingest import revisions

    if workspace.settings.hub_models is None:
        return None
    datasets = {} if workspace.source else DATASETS
    return revisions.look_at_hub(workspace.settings.hub_models, workspace.paths, datasets)


def asset_of(place: "Place") -> dg.AssetKey:
    return dg.AssetKey([place.group, place.asset])


def moved(place: "Place") -> str:
    return f"{place.repo} moved to {place.newest[:12]}"


def forced(places: Iterable["Place"]) -> dict[str, Any]:
    """The run config that fetches them again: a branch that moved is no other input to the asset."""
    return {"ops": {f"{place.group}__{place.asset}": {"config": {"force": True}} for place in places}}


def is_taken_in(instance: dg.DagsterInstance, place: "Place") -> bool:
    under_way = dg.RunsFilter(tags={TAKES_IN: place.name}, statuses=list(NOT_FINISHED_STATUSES))
    return instance.get_runs_count(under_way) > 0


def _observation(place: "Place") -> dg.AssetObservation:
    return dg.AssetObservation(
        asset_of(place),
        metadata={
            "repository": place.repo,
            "revision": place.held or "none",
            "newest_revision": place.newest,
            "is_newest": place.newest == place.held,
        },
    )
