"""What a run of the production line would change: asked of the instance, of the local source, and of the Hub."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from r3pp_assets.automation.sources import asset_of, is_taken_in, look_at_hub, moved
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_assets.staleness import (
    NOT_PASSED,
    SOURCE_CHANGED,
    changed_sources,
    failed_assets,
    stale_reasons,
    with_descendants,
)

if TYPE_CHECKING:
    from r3pp_core.ingest.revisions import Place

REPORT, CHAMPION = dg.AssetKey(["report"]), dg.AssetKey(["champion"])
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class Behind:
    """`keys` are to be made. `roots` are those of them with a reason of their own and none above. `turned_away` are
    what a blocking check said no to, and would again; nothing is built on them. `moved` are the branches of the Hub
    among the reasons, `not_asked` says of which repositories nobody knows."""

    keys: set[dg.AssetKey]
    roots: dict[dg.AssetKey, str]
    turned_away: set[dg.AssetKey]
    moved: "list[Place]"
    not_asked: list[str]

    @property
    def not_made_again(self) -> list[str]:
        """Why what is behind is left so."""
        told = [f"{key.to_user_string()} did not pass its checks" for key in sorted(self.turned_away - {REPORT})]
        return told + ["the gate is closed to what there is"] * (REPORT in self.turned_away)


def behind(context: dg.ScheduleEvaluationContext, workspace: WorkspaceResource) -> Behind:
    repository = context.repository_def
    assert repository is not None
    graph = repository.asset_graph
    keys = set(repository.get_job("full").asset_layer.executable_asset_keys)
    reasons = stale_reasons(graph, context.instance, keys)
    reasons |= dict.fromkeys(changed_sources(workspace), SOURCE_CHANGED)
    look = look_at_hub(workspace)
    places = (
        [place for place in look.places if place.has_moved and not is_taken_in(context.instance, place)] if look else []
    )
    reasons |= {asset_of(place): moved(place) for place in places}
    failed = failed_assets(graph, context.instance)
    turned_away = {
        key
        for key, reason in reasons.items()
        # made with what somebody set in the launchpad, it may pass with what the profile says
        if reason == NOT_PASSED and key in failed and not made_with(context.instance, key)
    }
    if set(reasons) == {CHAMPION} and _is_rolled_back(workspace):  # it may not come back by itself
        reasons = {}
    made = with_descendants(graph, reasons.keys() - turned_away) & keys
    made -= with_descendants(graph, turned_away - made)
    reasons = {key: reason for key, reason in reasons.items() if key in made - turned_away}
    below = with_descendants(graph, {child for key in reasons for child in graph.get(key).child_keys})
    return Behind(
        keys=made,
        roots={key: reason for key, reason in reasons.items() if key not in below},
        turned_away=turned_away - made,
        moved=places,
        not_asked=look.not_asked if look else [],
    )


def made_with(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, Any]:
    """The launchpad's fields that it was last made with; none where the profile alone decided."""
    event = instance.get_latest_materialization_event(key)
    run = instance.get_run_by_id(event.run_id) if event else None
    ops: Any = run.run_config.get("ops", {}) if run else {}
    return dict(ops.get("__".join(key.path), {}).get("config") or {})


def _is_rolled_back(workspace: WorkspaceResource) -> bool:
    """Whether the line's model is one that was champion and was left."""
    from r3pp_core.champion.history import entries, withdrawn
    from r3pp_core.model.backbone import weights_hash

    paths = workspace.paths
    return weights_hash(paths.model_dir("r3")) in withdrawn(entries(paths.champion_dir))


def run_that_makes(context: dg.ScheduleEvaluationContext, keys: Collection[dg.AssetKey]) -> dg.DagsterRun | None:
    """A run that waits or goes on and makes one of `keys`, the newest; None where there is none."""
    repository = context.repository_def
    assert repository is not None
    for run in context.instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)):
        made = run.asset_selection
        if made is None and repository.has_job(run.job_name):
            made = frozenset(repository.get_job(run.job_name).asset_layer.executable_asset_keys)
        if made and not made.isdisjoint(keys):
            return run
    return None
