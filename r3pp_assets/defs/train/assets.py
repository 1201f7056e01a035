"""The production checkpoint and its export; experiments are the same functions under a run's name."""

import dagster as dg

from r3pp_assets.conditions import ON_CHANGE
from r3pp_assets.defs.train.run import TrainAssetConfig, export_run, train_run
from r3pp_assets.failures import user_errors
from r3pp_assets.inputs import BACKBONE, ENCODERS, INDICES, NEIGHBOURS, TRAINED_ON
from r3pp_assets.resources.launchers import LauncherResource
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core import code_versions


@dg.asset(
    key=["checkpoint", "r3"],
    deps=[
        *TRAINED_ON,
        *INDICES,
        NEIGHBOURS,
        *ENCODERS,
        BACKBONE,
    ],
    group_name="train",
    kinds={"torch", "safetensors"},
    owners=["team:models"],
    code_version=code_versions.TRAINING,
    automation_condition=ON_CHANGE,
    pool="gpu",
)
def checkpoint_r3(
    context: dg.AssetExecutionContext,
    config: TrainAssetConfig,
    workspace: WorkspaceResource,
    launcher: LauncherResource,
) -> dg.MaterializeResult:
    """The production training run: the newest whole `step_<n>`, resumed when it was interrupted, started anew when
    its data, code or config changed. Loss, learning rate and speed appear as observations while it runs."""
    with user_errors() as started:
        return train_run(context, config, workspace, launcher, started, run=None)


@dg.asset(
    key=["model", "r3"],
    deps=[dg.AssetKey(["checkpoint", "r3"]), BACKBONE],
    group_name="train",
    kinds={"safetensors"},
    owners=["team:models"],
    code_version=code_versions.EXPORT,
    automation_condition=ON_CHANGE,
    pool="gpu",
)
def model_r3(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """The checkpoint as one folder in the Hub's layout, reloaded and compared logit by logit."""
    with user_errors() as started:
        return export_run(context, workspace, started, run=None)
