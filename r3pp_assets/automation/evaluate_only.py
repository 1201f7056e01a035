"""Scores of any checkpoint or exported folder, beside the production line: nothing of it is touched."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import ConfigDict, Field

from r3pp_assets.defs.evaluate.assets import EvaluateAssetConfig, load_r3, run_evaluation
from r3pp_assets.defs.experiment.partitions import NAME, RESERVED, RUNS, SCORES_ONLY
from r3pp_assets.failures import user_errors
from r3pp_assets.launchpad import one_of, refused_at_launch
from r3pp_assets.resources.launchers import LauncherResource
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.errors import UsageError
from r3pp_core.model.config import CONTROL_ARMS, R3_ARMS

if TYPE_CHECKING:
    ArmName = str
else:
    ArmName = one_of(*R3_ARMS, *CONTROL_ARMS)


def require_free_name(config: "EvaluateOnlyConfig") -> None:
    if not re.fullmatch(NAME, config.name) or config.name in RESERVED:
        raise UsageError(
            f"name: {config.name!r} cannot name results: use letters, digits, '.', '_' and '-', and none of "
            f"{', '.join(RESERVED)}"
        )


@refused_at_launch(require_free_name)
class EvaluateOnlyConfig(EvaluateAssetConfig):
    """What is asked, and of which model."""

    model_config = ConfigDict(use_enum_values=True)

    checkpoint: str = Field(
        "models/r3", description="a step_<n> or an exported folder; a relative path is under the workspace"
    )
    name: str = Field(SCORES_ONLY, description="the scores go to results/<name>")
    arms: list[ArmName] = Field(["r3"], min_length=1, description="r3 and its ablations and controls, at every level")


@dg.op(pool="gpu", description="Asks the model at every damage level and writes samples and scores to results/<name>.")
def evaluate_checkpoint(
    context: dg.OpExecutionContext,
    config: EvaluateOnlyConfig,
    workspace: WorkspaceResource,
    launcher: LauncherResource,
) -> None:
    with user_errors() as started:
        if context.instance.has_dynamic_partition(str(RUNS.name), config.name):
            raise UsageError(
                f"name: results/{config.name} are those of the experiment {config.name}; choose another name"
            )
        paths = workspace.paths
        subject = load_r3(paths, paths.root / Path(config.checkpoint))
        out_dir = paths.results_dir(config.name)
        result = run_evaluation(context, workspace, launcher, config, started, subject, out_dir, config.arms, [])
        context.add_output_metadata(dict(result.metadata or {}))


@dg.job(description="Scores of one checkpoint: set `checkpoint` and `name`. The production line is not touched.")
def evaluate_only() -> None:
    evaluate_checkpoint()
