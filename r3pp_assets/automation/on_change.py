"""The sensor over the conditions of the production line, whose runs say why they were started."""

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.storage.tags import WILL_RETRY_TAG
from dagster._record import copy

from r3pp_assets.automation.jobs import PRODUCTION_LINE
from r3pp_assets.automation.why import WHY, told
from r3pp_assets.conditions import ON_CHANGE
from r3pp_assets.failures import GOES_ON
from r3pp_assets.staleness import stale_reasons, unchecked_assets

RETRY_FAILED = "Failed to retry run"
LOOKED_BACK = timedelta(days=1)


class TellingSensor(dg.AutomationConditionSensorDefinition):
    """Dagster's own, whose `run_tags` are the same for every run; the cause is another each time. And lost runs of its
    assets that Dagster could not try again, since no code server was there to ask, it tries again itself."""

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> SensorExecutionData:
        """As Dagster does, and each run gets the tag: what the UI says of its assets."""
        data = super().evaluate_tick(context)
        repository = context.repository_def
        assert repository is not None
        requests = list(lost_runs(repository.asset_graph, context.instance))
        for request in data.run_requests or []:
            reasons = stale_reasons(repository.asset_graph, context.instance, set(request.asset_selection or []))
            why = told(reasons) or str(ON_CHANGE.get_label())
            requests.append(request.with_replaced_attrs(tags={**request.tags, WHY: why}))
        return copy(data, run_requests=requests, skip_message=None) if requests else data


def lost_runs(graph: BaseAssetGraph, instance: dg.DagsterInstance) -> Iterator[dg.RunRequest]:
    """A request for what is left of each run of the production line that should have been retried and was not; Dagster
    does not come back to it."""
    failed = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE],
        tags={WILL_RETRY_TAG: "false"},
        updated_after=datetime.now(UTC) - LOOKED_BACK,
    )
    lost = [run for run in instance.get_runs(filters=failed) if _was_not_retried(instance, run)]
    if not lost:  # as at nearly every tick
        return
    keys, unchecked = PRODUCTION_LINE.resolve(graph), unchecked_assets(graph, instance)
    for run in lost:
        selected = run.asset_selection or frozenset()
        left = sorted(key for key in selected if key in unchecked or not _was_made(instance, key, run))
        if left and selected <= keys:
            yield dg.RunRequest(
                run_key=f"instead of {run.run_id}",  # once
                asset_selection=left,
                run_config=dict(run.run_config),
                tags={**GOES_ON, WHY: f"run {run.run_id[:8]} was lost, and no code server was there to try it again"},
            )


def _was_not_retried(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    told = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    return any(entry.dagster_event and entry.dagster_event.message == RETRY_FAILED for entry in told)


def _was_made(instance: dg.DagsterInstance, key: dg.AssetKey, run: dg.DagsterRun) -> bool:
    """Whether the run, or one that it was a retry of, made what stands."""
    event = instance.get_latest_materialization_event(key)
    return event is not None and event.run_id in {run.run_id, run.parent_run_id, run.root_run_id}


def retraining_on_change(interval_s: int) -> TellingSensor:
    with warnings.catch_warnings():
        # Beta in this Dagster, pinned in constraints.txt: the condition IsBehind is ours, which the daemon cannot know.
        warnings.filterwarnings("ignore", message=".*use_user_code_server.*")
        return TellingSensor(
            "retraining_on_change",
            target=PRODUCTION_LINE,
            default_status=dg.DefaultSensorStatus.STOPPED,
            minimum_interval_seconds=interval_s,
            use_user_code_server=True,
            run_tags=GOES_ON,
            description="Makes every asset of the production line whose inputs or code changed, up to the gate. Off "
            "until turned on.",
        )
