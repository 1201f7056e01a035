"""Unified rows keep the one schema."""

import dagster as dg

from r3pp_assets.metadata import problems_result
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.ingest.checks import unified_schema_problems


def unified_check(dataset: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey(["unified", dataset]),
        name="schema",
        blocking=True,
        description="Every unified row has the unified schema, and its answer is the first of its answers.",
    )
    def schema(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        tables = sorted(workspace.paths.unified_dir.glob(f"{dataset}_unified_*.jsonl"))
        tables = [table for table in tables if "rejected" not in table.name]
        return problems_result(unified_schema_problems(tables), "rows that break the unified schema")

    return schema


all_checks = [unified_check(dataset) for dataset in DATASETS]
