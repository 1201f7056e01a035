"""The checkpoint is what it says: it loads exactly, and training did something."""

import dagster as dg

from r3pp_assets.metadata import problems_result
from r3pp_assets.resources.workspace import WorkspaceResource

CHECKPOINT = dg.AssetKey(["checkpoint", "r3"])


@dg.asset_check(
    asset=CHECKPOINT,
    blocking=True,
    pool="gpu",
    description="The checkpoint loads with no missing and no unexpected weight.",
)
def loads_exactly(workspace: WorkspaceResource) -> dg.AssetCheckResult:
    from r3pp_core.training.checks import load_problems

    paths = workspace.paths
    return problems_result(
        load_problems(paths.checkpoint_dir(), paths.model_dir("backbone")), "weights that do not fit"
    )


@dg.asset_check(
    asset=CHECKPOINT,
    blocking=True,
    pool="gpu",
    description="The reloaded checkpoint says what the live model said when saved.",
)
def equals_live_model(workspace: WorkspaceResource) -> dg.AssetCheckResult:
    from r3pp_core.training.checks import live_problems

    paths = workspace.paths
    problems = live_problems(paths.checkpoint_dir(), paths.model_dir("backbone"))
    return problems_result(problems, "differences from the live model")


@dg.asset_check(
    asset=CHECKPOINT, pool="gpu", description="The trained backbone answers otherwise than the one it started from."
)
def differs_from_base(workspace: WorkspaceResource) -> dg.AssetCheckResult:
    from r3pp_core.training.checks import base_problems

    paths = workspace.paths
    problems = base_problems(paths.checkpoint_dir(), paths.model_dir("backbone"))
    return problems_result(problems, "signs that nothing was trained")


@dg.asset_check(asset=CHECKPOINT, description="The teacher's averages lag behind the student's weights.")
def teacher_differs(workspace: WorkspaceResource) -> dg.AssetCheckResult:
    from r3pp_core.training.checks import teacher_problems

    return problems_result(teacher_problems(workspace.paths.checkpoint_dir()), "signs that the teacher does nothing")


@dg.asset_check(asset=CHECKPOINT, description="The validation loss did not rise.")
def loss_fell(workspace: WorkspaceResource) -> dg.AssetCheckResult:
    from r3pp_core.training.checks import loss_problems

    problems = loss_problems(workspace.paths.checkpoint_dir() / "metrics.jsonl")
    return problems_result(problems, "signs that training did no good")


@dg.asset_check(asset=CHECKPOINT, description="No step had a loss or gradient that is not finite.")
def steps_finite(workspace: WorkspaceResource) -> dg.AssetCheckResult:
    from r3pp_core.training.checks import finite_problems

    problems = finite_problems(workspace.paths.checkpoint_dir() / "metrics.jsonl")
    return problems_result(problems, "steps that are not finite")
