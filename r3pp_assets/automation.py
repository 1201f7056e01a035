"""Jobs over the production line, and the weekly retraining (off until turned on)."""

import dagster as dg

INGEST = dg.AssetSelection.groups("raw", "ocr", "unified", "merged")
INDEX = dg.AssetSelection.groups("models", "index")
TRAIN = dg.AssetSelection.assets(["checkpoint", "r3"], ["model", "r3"])
EVALUATE = dg.AssetSelection.groups("evaluate")
PRODUCTION_LINE = INGEST | INDEX | TRAIN | EVALUATE


def automation() -> dg.Definitions:
    full = dg.define_asset_job("full", PRODUCTION_LINE, description="Everything, from the sources to the champion.")
    return dg.Definitions(
        jobs=[
            dg.define_asset_job("ingest", INGEST, description="From the sources to the merged tables."),
            dg.define_asset_job("index", INDEX, description="The models and the evidence indices."),
            dg.define_asset_job("train", TRAIN, description="Train and export the production model."),
            dg.define_asset_job("evaluate", EVALUATE, description="Evaluate, report and pass the gate."),
            full,
            dg.define_asset_job(
                "promote",
                dg.AssetSelection.assets(["champion"]),
                description="Put an experiment to the gate: set `candidate` of champion to its name.",
            ),
            dg.define_asset_job(
                "rollback",
                dg.AssetSelection.assets(["champion"]),
                config={"ops": {"champion": {"config": {"roll_back": True}}}},
                description="Back to the champion before (or to `roll_back_to`); say why in `reason`.",
            ),
        ],
        schedules=[
            dg.ScheduleDefinition(
                name="weekly_retraining",
                job=full,
                cron_schedule="0 3 * * 1",
                description="Mondays at three: everything that changed, again. Off until turned on.",
                default_status=dg.DefaultScheduleStatus.STOPPED,
            )
        ],
    )
