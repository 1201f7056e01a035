"""Jobs, the schedules, sensors and alerts. Everything but the jobs is off until it is turned on in the UI."""

import dagster as dg


def automation() -> dg.Definitions:
    from r3pp_assets.automation.alerts import failed_runs
    from r3pp_assets.automation.evaluate_only import evaluate_only
    from r3pp_assets.automation.jobs import JOBS
    from r3pp_assets.automation.monthly import monthly_look
    from r3pp_assets.automation.on_change import retraining_on_change
    from r3pp_assets.automation.sources import new_revisions, watch_source
    from r3pp_assets.automation.weekly import weekly_retraining
    from r3pp_assets.resources.environment import tick_s

    return dg.Definitions(
        jobs=[*JOBS, evaluate_only],
        schedules=[weekly_retraining, monthly_look],
        sensors=[retraining_on_change(tick_s()), watch_source(tick_s()), new_revisions, failed_runs],
    )
