"""The checkpoint is what it says: it loads exactly, and training did something."""

import dagster as dg

from r3pp_assets.metadata import problems_result
from r3pp_assets.resources.workspace import WorkspaceResource

CHECKPOINT = dg.AssetKey(["checkpoint", "r3"])


@dg.asset_check(
    asset=CHECKPOINT, blocking=True, description="The checkpoint loads with no missing and no unexpected weight."
)
def loads_exactly(workspace: WorkspaceResource) -> dg.AssetCheckResult:
    from r3pp_core.training.checks import load_problems

    paths = workspace.paths
    return problems_result(
        load_problems(paths.checkpoint_dir(), paths.model_dir("backbone")), "weights that do not fit"
    )


@dg.asset_check(asset=CHECKPOINT, description="The loss fell, and every logged number is finite.")
def loss_fell(workspace: WorkspaceResource) -> dg.AssetCheckResult:
    from r3pp_core.training.checks import loss_problems

    problems = loss_problems(workspace.paths.checkpoint_dir() / "metrics.jsonl")
    return problems_result(problems, "signs that training did nothing")
