"""Jobs over the production line."""

import dagster as dg

from r3pp_assets.failures import GOES_ON

INGEST = dg.AssetSelection.groups("raw", "ocr", "unified", "merged")
INDEX = dg.AssetSelection.groups("models", "index")
TRAIN = dg.AssetSelection.assets(["checkpoint", "r3"], ["model", "r3"])
EVALUATE = dg.AssetSelection.groups("evaluate")
PRODUCTION_LINE = INGEST | INDEX | TRAIN | EVALUATE
CONTROL = dg.AssetSelection.groups("control")

JOBS = [
    dg.define_asset_job("ingest", INGEST, description="From the sources to the merged tables."),
    dg.define_asset_job("index", INDEX, description="The models and the evidence indices."),
    dg.define_asset_job("train", TRAIN, tags=GOES_ON, description="Train and export the production model."),
    dg.define_asset_job("evaluate", EVALUATE, description="Evaluate, report and pass the gate."),
    dg.define_asset_job(
        "full", PRODUCTION_LINE, tags=GOES_ON, description="Everything, from the sources to the champion."
    ),
    dg.define_asset_job(
        "retrain",
        PRODUCTION_LINE,
        tags=GOES_ON,
        config={"ops": {"checkpoint__r3": {"config": {"force": True}}}},
        description="`full`, forced: trains from the start although nothing changed, and what that leads to.",
    ),
    dg.define_asset_job(
        "control", CONTROL, tags=GOES_ON, description="Train and evaluate what R3's gain is measured against."
    ),
    dg.define_asset_job(
        "proof", PRODUCTION_LINE | CONTROL, tags=GOES_ON, description="`full`, and the control for the report."
    ),
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
]
