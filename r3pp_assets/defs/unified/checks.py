"""Unified rows keep the one schema, none is unaccounted for, and little was rejected."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from r3pp_assets.metadata import problems_result, rejected_result
from r3pp_assets.profiles import drift_result
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.datasets.spec import SPLITS
from r3pp_core.workspace import Workspace

if TYPE_CHECKING:
    from r3pp_core.artefact import Manifest

MAX_REJECTED_SHARE = 0.01


def unified_checks(dataset: str) -> list[dg.AssetChecksDefinition]:
    key = dg.AssetKey(["unified", dataset])

    @dg.asset_check(
        asset=key,
        name="schema",
        blocking=True,
        description="Every unified row has the unified schema, and its answer is the first of its answers.",
    )
    def schema(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.ingest.checks import unified_schema_problems

        problems = unified_schema_problems(tables_of(workspace.paths, dataset))
        return problems_result(problems, "rows that break the unified schema")

    @dg.asset_check(asset=key, name="row_counts", blocking=True, description="Rows in are rows out and rejected.")
    def row_counts(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.ingest.checks import row_count_problems

        problems = row_count_problems(manifest_of(workspace.paths, dataset), tables_of(workspace.paths, dataset))
        return problems_result(problems, "counts that do not add up")

    @dg.asset_check(asset=key, name="rejected_share", description="At most 1 % of the raw rows were rejected.")
    def rejected_share(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        where = workspace.paths.unified_dir / f"{dataset}_unified.rejected.jsonl"
        return rejected_result(manifest_of(workspace.paths, dataset), MAX_REJECTED_SHARE, str(where))

    @dg.asset_check(
        asset=key,
        name="distributions_stable",
        description="Question lengths and answer types are as at the last materialization, within 10 %.",
    )
    def distributions_stable(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        return drift_result(context.instance, key)

    return [schema, row_counts, rejected_share, distributions_stable]


def tables_of(paths: Workspace, dataset: str) -> list[Path]:
    from r3pp_core.ingest.unify import unified_table

    tables = [unified_table(paths.unified_dir, dataset, split) for split in SPLITS]
    return [table for table in tables if table.is_file()]


def manifest_of(paths: Workspace, dataset: str) -> "Manifest":
    from r3pp_core.artefact import require_manifest
    from r3pp_core.ingest.unify import unified_target

    return require_manifest(unified_target(paths.unified_dir, dataset), f"r3pp unify --dataset {dataset}")


all_checks = [check for dataset in DATASETS for check in unified_checks(dataset)]
