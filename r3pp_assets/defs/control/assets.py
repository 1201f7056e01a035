"""The control: the same training without evidence and soft tokens. Automation never makes it; the report shows it."""

import dagster as dg

from r3pp_assets.defs.evaluate.assets import EvaluateAssetConfig, load_r3, run_evaluation
from r3pp_assets.defs.train.run import TrainAssetConfig, export_run, train_run
from r3pp_assets.failures import user_errors
from r3pp_assets.inputs import ASKED_OF, BACKBONE, INDICES, TRAINED_ON
from r3pp_assets.resources.launchers import LauncherResource
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core import code_versions

CHECKPOINT, MODEL = (dg.AssetKey(["control", name]) for name in ("checkpoint", "model"))


@dg.asset(
    key=CHECKPOINT,
    deps=[*TRAINED_ON, BACKBONE],
    group_name="control",
    kinds={"torch", "safetensors"},
    owners=["team:models"],
    code_version=code_versions.TRAINING,
    pool="gpu",
)
def control_checkpoint(
    context: dg.AssetExecutionContext,
    config: TrainAssetConfig,
    workspace: WorkspaceResource,
    launcher: LauncherResource,
) -> dg.MaterializeResult:
    """The production recipe without retrieval and without soft tokens: same adapter, steps, rows and damage."""
    from r3pp_core.recipes.control import RUN, control_name

    with user_errors() as started:
        return train_run(
            context, config, workspace, launcher, started, run=RUN, recipe=control_name(workspace.settings.recipe)
        )


@dg.asset(
    key=MODEL,
    deps=[CHECKPOINT, BACKBONE],
    group_name="control",
    kinds={"safetensors"},
    owners=["team:models"],
    code_version=code_versions.EXPORT,
    pool="gpu",
)
def control_model(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """The control's checkpoint as one folder in the Hub's layout."""
    from r3pp_core.recipes.control import RUN

    with user_errors() as started:
        return export_run(context, workspace, started, run=RUN)


@dg.asset(
    key=["control", "evaluation"],
    deps=[*ASKED_OF, MODEL, BACKBONE, *INDICES],
    group_name="control",
    kinds={"torch", "json"},
    owners=["team:models"],
    code_version=code_versions.EVALUATION,
    pool="gpu",
)
def control_evaluation(
    context: dg.AssetExecutionContext,
    config: EvaluateAssetConfig,
    workspace: WorkspaceResource,
    launcher: LauncherResource,
) -> dg.MaterializeResult:
    """The control at every damage level, on the questions that base and R3 are asked."""
    from r3pp_core.model.config import CONTROL_ARMS
    from r3pp_core.recipes.control import RUN

    with user_errors() as started:
        paths = workspace.paths
        subject, folder = load_r3(paths, paths.model_dir(RUN)), paths.results_dir(RUN)
        return run_evaluation(context, workspace, launcher, config, started, subject, folder, list(CONTROL_ARMS), [])
