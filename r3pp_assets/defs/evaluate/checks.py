"""What a score must satisfy before anyone believes it, and the gate that a model passes on its way to champion."""

from collections.abc import Iterator

import dagster as dg

from r3pp_assets.defs.evaluate.assets import candidate_of
from r3pp_assets.metadata import problems_result
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.champion.config import GateConfig

REPORT = dg.AssetKey(["report"])
GATE = GateConfig()
CRITERIA = {
    "clean_not_below_base": "On undamaged input r3 is not below the base, on any data set (lower bound of the paired "
    f"difference above -{GATE.clean_margin:g}).",
    "robustness_above_base": "Over all damage levels r3 is above the base (lower bound of the paired difference of the "
    "areas, mean of the data sets).",
    "no_regression": "No data set is below the present champion, clean or over all levels (lower bound above "
    f"-{GATE.champion_margin:g}).",
}


def evaluation_checks(name: str) -> list[dg.AssetChecksDefinition]:
    key = dg.AssetKey(["evaluation", name])

    @dg.asset_check(asset=key, name="score_bounds", blocking=True, description="Every score is finite and in 0..1.")
    def score_bounds(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.champion.gate import score_problems
        from r3pp_core.evaluation.reporting import read_results

        return problems_result(score_problems(read_results(workspace.paths.results_dir(name))), "scores out of bounds")

    @dg.asset_check(
        asset=key,
        name="enough_rows",
        blocking=True,
        description=f"Every score stands on at least {GATE.min_rows} rows and {GATE.min_pictures} pictures (on a local "
        "source: on at least one).",
    )
    def enough_rows(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.champion.gate import size_problems
        from r3pp_core.evaluation.reporting import read_results

        results = read_results(workspace.paths.results_dir(name))
        return problems_result(size_problems(results, workspace.gate_config), "scores on too few rows")

    return [score_bounds, enough_rows]


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(name, asset=REPORT, blocking=True, description=description)
        for name, description in CRITERIA.items()
    ]
)
def gate(workspace: WorkspaceResource) -> Iterator[dg.AssetCheckResult]:
    """On the report and not on evaluation/r3, since a blocked evaluation would leave no report to see the reason in."""
    from r3pp_core.champion.promotion import verdict_on

    paths = workspace.paths
    verdict = verdict_on(candidate_of(paths, "r3"), paths.champion_dir, workspace.gate_config, again=True)
    found = {criterion.name: criterion for criterion in verdict.criteria}
    for name in CRITERIA:
        criterion = found.get(name)
        reasons = criterion.reasons if criterion else verdict.reasons
        notes = criterion.notes if criterion else []
        numbers = criterion.numbers if criterion else {}
        yield dg.AssetCheckResult(
            check_name=name,
            asset_key=REPORT,
            passed=not reasons,
            description=reasons[0] if reasons else "; ".join(notes),
            metadata={
                "num_problems": len(reasons),
                "reasons": dg.MetadataValue.json(reasons),
                "differences": dg.MetadataValue.md("\n".join(f"- {note}" for note in notes)),
                **numbers,
            },
        )


all_checks = [*(check for name in ("base", "r3") for check in evaluation_checks(name)), gate]
