"""What a score must satisfy before anyone believes it."""

import dagster as dg

from r3pp_assets.metadata import problems_result
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.evaluation.champion import MIN_ROWS, score_problems, size_problems
from r3pp_core.evaluation.reporting import read_results


def evaluation_checks(name: str) -> list[dg.AssetChecksDefinition]:
    key = dg.AssetKey(["evaluation", name])

    @dg.asset_check(asset=key, name="score_bounds", blocking=True, description="Every score is finite and in 0..1.")
    def score_bounds(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        return problems_result(score_problems(read_results(workspace.paths.results_dir(name))), "scores out of bounds")

    @dg.asset_check(
        asset=key,
        name="enough_rows",
        blocking=True,
        description=f"Every score stands on at least {MIN_ROWS} rows (on a local source: on at least one).",
    )
    def enough_rows(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        results = read_results(workspace.paths.results_dir(name))
        return problems_result(size_problems(results, 1 if workspace.source else MIN_ROWS), "scores on too few rows")

    return [score_bounds, enough_rows]


all_checks = [check for name in ("base", "r3") for check in evaluation_checks(name)]
