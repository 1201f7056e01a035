"""The weekly retraining: what is behind, in one run; nothing, with the reason, where nothing is."""

from datetime import UTC, datetime

import dagster as dg

from r3pp_assets.automation.behind import CHAMPION, REPORT, behind, run_that_makes
from r3pp_assets.automation.sources import TAKES_IN, forced
from r3pp_assets.automation.why import WHY, told
from r3pp_assets.resources.workspace import WorkspaceResource


@dg.schedule(
    job_name="full",
    cron_schedule="0 3 * * 1",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Mondays at three, UTC: what changed since the last run, and all below it. Skips where nothing did; to "
    "train all the same launch the job `retrain`. Off until turned on.",
)
def weekly_retraining(
    context: dg.ScheduleEvaluationContext, workspace: WorkspaceResource
) -> dg.RunRequest | dg.SkipReason:
    found = behind(context, workspace)
    if not found.keys:
        since = f"no new data or code since {_last_run(context.instance)}"
        return dg.SkipReason("; ".join([since, *found.not_made_again, *found.not_asked]))
    if run := run_that_makes(context, found.roots):
        return dg.SkipReason(f"run {run.run_id[:8]} is at it already: {told(found.roots)}")
    takes_in = {TAKES_IN: ", ".join(place.name for place in found.moved)} if found.moved else {}
    return dg.RunRequest(
        asset_selection=sorted(found.keys),
        run_config=forced(found.moved),
        tags={WHY: told(found.roots), **takes_in},
    )


def _last_run(instance: dg.DagsterInstance) -> str:
    """What made the newest report or champion, whoever started it."""
    events = [event for key in (REPORT, CHAMPION) if (event := instance.get_latest_materialization_event(key))]
    if not events:
        return "the assets were made"
    newest = max(events, key=lambda event: event.timestamp)
    made_by = f"run {newest.run_id[:8]}" if newest.run_id else "what was reported by hand"
    return f"{made_by} of {datetime.fromtimestamp(newest.timestamp, UTC):%Y-%m-%d %H:%M} UTC"
