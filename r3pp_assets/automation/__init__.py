"""Jobs, the weekly schedule, sensors and alerts. Everything but the jobs is off until it is turned on in the UI."""

import warnings

import dagster as dg


def automation() -> dg.Definitions:
    from r3pp_assets.automation.alerts import failed_runs
    from r3pp_assets.automation.evaluate_only import evaluate_only
    from r3pp_assets.automation.jobs import JOBS, PRODUCTION_LINE
    from r3pp_assets.automation.sources import new_revisions, watch_source
    from r3pp_assets.automation.weekly import weekly_retraining
    from r3pp_assets.failures import GOES_ON
    from r3pp_assets.resources.environment import tick_s

    with warnings.catch_warnings():
        # Beta in this Dagster, pinned in constraints.txt: the condition IsBehind is ours, which the daemon cannot know.
        warnings.filterwarnings("ignore", message=".*use_user_code_server.*")
        retraining = dg.AutomationConditionSensorDefinition(
            "retraining_on_change",
            target=PRODUCTION_LINE,
            default_status=dg.DefaultSensorStatus.STOPPED,
            minimum_interval_seconds=tick_s(),
            use_user_code_server=True,
            run_tags=GOES_ON,
            description="Makes every asset of the production line whose inputs or code changed, up to the gate. Off "
            "until turned on.",
        )
    return dg.Definitions(
        jobs=[*JOBS, evaluate_only],
        schedules=[weekly_retraining],
        sensors=[retraining, watch_source(tick_s()), new_revisions, failed_runs],
    )
