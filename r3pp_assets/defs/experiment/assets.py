"""Experiments beside the production line: the same functions under a run's name. Automation never selects them."""

import re

import dagster as dg

from r3pp_assets.defs.evaluate.assets import EvaluateAssetConfig, ask_champion_too, load_r3, run_evaluation
from r3pp_assets.defs.experiment.partitions import NAME, RESERVED, RUNS, SCORES_ONLY
from r3pp_assets.defs.train.run import TrainAssetConfig, export_run, train_run
from r3pp_assets.failures import user_errors
from r3pp_assets.inputs import ASKED_OF, BACKBONE, ENCODERS, INDICES, NEIGHBOURS, TRAINED_ON
from r3pp_assets.resources.launchers import LauncherResource
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core import code_versions
from r3pp_core.errors import UsageError

CHECKPOINT = dg.AssetKey(["experiment", "checkpoint"])
MODEL = dg.AssetKey(["experiment", "model"])


def run_name(context: dg.AssetExecutionContext) -> str:
    """The partition key, refused where it could not be a folder's name or is taken by the production line."""
    name = context.partition_key
    if not re.fullmatch(NAME, name) or name in (*RESERVED, SCORES_ONLY) or name.startswith("step_"):
        raise UsageError(
            f"{name!r} cannot name an experiment: use letters, digits, '.', '_' and '-', and none of "
            f"{', '.join((*RESERVED, SCORES_ONLY))} or step_*"
        )
    return name


@dg.asset(
    key=CHECKPOINT,
    partitions_def=RUNS,
    deps=[*TRAINED_ON, *INDICES, NEIGHBOURS, *ENCODERS, BACKBONE],
    group_name="experiment",
    kinds={"torch", "safetensors"},
    owners=["team:models"],
    code_version=code_versions.TRAINING,
    pool="gpu",
)
def experiment_checkpoint(
    context: dg.AssetExecutionContext,
    config: TrainAssetConfig,
    workspace: WorkspaceResource,
    launcher: LauncherResource,
) -> dg.MaterializeResult:
    """A training run under a name of its own, with any recipe and changes; never retrained by automation."""
    with user_errors() as started:
        return train_run(context, config, workspace, launcher, started, run=run_name(context))


@dg.asset(
    key=MODEL,
    partitions_def=RUNS,
    deps=[CHECKPOINT, BACKBONE],
    group_name="experiment",
    kinds={"safetensors"},
    owners=["team:models"],
    code_version=code_versions.EXPORT,
    pool="gpu",
)
def experiment_model(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """The experiment's checkpoint as one folder in the Hub's layout."""
    with user_errors() as started:
        return export_run(context, workspace, started, run=run_name(context))


@dg.asset(
    key=["experiment", "evaluation"],
    partitions_def=RUNS,
    deps=[*ASKED_OF, MODEL, BACKBONE, *INDICES, *ENCODERS],
    group_name="experiment",
    kinds={"torch", "json"},
    owners=["team:models"],
    code_version=code_versions.EVALUATION,
    pool="gpu",
)
def experiment_evaluation(
    context: dg.AssetExecutionContext,
    config: EvaluateAssetConfig,
    workspace: WorkspaceResource,
    launcher: LauncherResource,
) -> dg.MaterializeResult:
    """The experiment at every damage level. The job `promote` takes it through the gate to champion."""
    with user_errors() as started:
        name = run_name(context)
        paths = workspace.paths
        subject = load_r3(paths, paths.model_dir(name))
        folder = paths.results_dir(name)
        result = run_evaluation(context, workspace, launcher, config, started, subject, folder, ["r3"], [])
        ask_champion_too(context, workspace, launcher, config, folder)
        return result
