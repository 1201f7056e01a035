"""A look at a line where nothing changes, so that its age in *Freshness* says when somebody looked last."""

import dagster as dg

from r3pp_assets.automation.behind import CHAMPION, REPORT, behind, made_with
from r3pp_assets.automation.why import WHY, told
from r3pp_assets.resources.workspace import WorkspaceResource

EVALUATION = dg.AssetKey(["evaluation", "r3"])


@dg.schedule(
    job_name="evaluate",
    cron_schedule="0 5 1 * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="The first of the month at five, UTC: where nothing is behind, evaluation/r3, the gate and the "
    "champion are gone through once more, which takes seconds and makes nothing anew. Off until turned on.",
)
def monthly_look(context: dg.ScheduleEvaluationContext, workspace: WorkspaceResource) -> dg.RunRequest | dg.SkipReason:
    found = behind(context, workspace)
    if found.keys:
        return dg.SkipReason(f"what is behind is made and not looked at: {told(found.roots)}")
    if found.turned_away:
        return dg.SkipReason(f"{'; '.join(found.not_made_again)}: it would be so again")
    looked_at = [EVALUATION, REPORT, *([CHAMPION] if _is_champion_of_the_line(workspace) else [])]
    return dg.RunRequest(
        asset_selection=looked_at,
        # with other fields than it was made with it would be another evaluation
        run_config={"ops": {"evaluation__r3": {"config": made_with(context.instance, EVALUATION)}}},
        tags={WHY: "nothing changed; a look"},
    )


def _is_champion_of_the_line(workspace: WorkspaceResource) -> bool:
    """An experiment, or one that came back, was chosen by hand: a look would put the line's own model to the gate."""
    from r3pp_core.champion.history import current
    from r3pp_core.model.backbone import weights_hash

    champion = current(workspace.paths.champion_dir)
    return champion is not None and champion.model_hash == weights_hash(workspace.paths.model_dir("r3"))
