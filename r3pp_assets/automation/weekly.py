"""The weekly retraining: what is behind, in one run; nothing, with the reason, where nothing is."""

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_assets.staleness import (
    NOT_PASSED,
    SOURCE_CHANGED,
    changed_sources,
    failed_assets,
    stale_reasons,
    with_descendants,
)

REPORT, CHAMPION = dg.AssetKey(["report"]), dg.AssetKey(["champion"])
WHY = "r3pp/why"
MAX_TAG_CHARS = 250


@dg.schedule(
    job_name="full",
    cron_schedule="0 3 * * 1",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Mondays at three: what changed since the last run, and all below it. Skips where nothing did; to "
    "train all the same launch `full` with `force` of checkpoint/r3. Off until turned on.",
)
def weekly_retraining(
    context: dg.ScheduleEvaluationContext, workspace: WorkspaceResource
) -> dg.RunRequest | dg.SkipReason:
    repository = context.repository_def
    assert repository is not None
    graph = repository.asset_graph
    keys = set(repository.get_job("full").asset_layer.executable_asset_keys)
    reasons = stale_reasons(graph, context.instance, keys)
    reasons |= dict.fromkeys(changed_sources(workspace), SOURCE_CHANGED)
    is_closed = reasons.get(REPORT) == NOT_PASSED and REPORT in failed_assets(graph, context.instance)
    if is_closed:  # the same model would be turned away again
        reasons = {key: reason for key, reason in reasons.items() if key not in (REPORT, CHAMPION)}
    stale = with_descendants(graph, set(reasons)) & keys
    if not stale:
        gate = "; the gate is closed to what there is" if is_closed else ""
        return dg.SkipReason(f"no new data or code since {_last_run(context.instance)}{gate}")
    roots = {key: reason for key, reason in reasons.items() if not graph.get(key).parent_keys & reasons.keys()}
    return dg.RunRequest(asset_selection=sorted(stale), tags={WHY: told(roots)})


def told(reasons: dict[dg.AssetKey, str]) -> str:
    """For a run's tag."""
    text = "; ".join(f"{key.to_user_string()}: {reason}" for key, reason in sorted(reasons.items()))
    return text if len(text) <= MAX_TAG_CHARS else text[: MAX_TAG_CHARS - 1] + "…"


def _last_run(instance: dg.DagsterInstance) -> str:
    found = [
        record
        for name in ("full", "proof")
        for record in instance.get_run_records(RunsFilter(job_name=name, statuses=[DagsterRunStatus.SUCCESS]), limit=1)
    ]
    if not found:
        return "the assets were made"
    newest = max(found, key=lambda record: record.create_timestamp)
    return f"run {newest.dagster_run.run_id[:8]} of {newest.create_timestamp:%Y-%m-%d %H:%M}"
