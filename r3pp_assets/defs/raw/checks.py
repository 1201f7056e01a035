"""Raw rows keep the schema, their pictures are whole, none is unaccounted for, and little was rejected."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from r3pp_assets.metadata import problems_result, rejected_result
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.datasets.spec import SPLITS

if TYPE_CHECKING:
    from r3pp_core.artefact import Manifest

MAX_REJECTED_SHARE = 0.01


def raw_checks(dataset: str) -> list[dg.AssetChecksDefinition]:
    key = dg.AssetKey(["raw", dataset])

    @dg.asset_check(asset=key, name="schema", blocking=True, description="Every raw row has the raw schema.")
    def schema(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.ingest.checks import raw_schema_problems

        tables = tables_of(workspace.paths.raw_dir(dataset), dataset)
        return problems_result(raw_schema_problems(tables), "rows that break the raw schema")

    @dg.asset_check(asset=key, name="row_counts", blocking=True, description="Rows in are rows out and rejected.")
    def row_counts(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.ingest.checks import row_count_problems

        folder = workspace.paths.raw_dir(dataset)
        manifest = manifest_of(folder, dataset)
        tables = tables_of(folder, dataset)
        return problems_result(row_count_problems(manifest, tables), "counts that do not add up")

    @dg.asset_check(
        asset=key,
        name="pictures_whole",
        blocking=True,
        description="Every picture exists and is whole (a PNG by its checksums; OCR decodes it).",
    )
    def pictures_whole(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.ingest.checks import whole_picture_problems

        folder = workspace.paths.raw_dir(dataset)
        tables = tables_of(folder, dataset)
        return problems_result(whole_picture_problems(tables, folder, "image"), "pictures that are not whole")

    @dg.asset_check(asset=key, name="rejected_share", description="At most 1 % of the source's rows were rejected.")
    def rejected_share(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        folder = workspace.paths.raw_dir(dataset)
        manifest = manifest_of(folder, dataset)
        return rejected_result(manifest, MAX_REJECTED_SHARE, str(folder / "rejected.jsonl"))

    return [schema, row_counts, pictures_whole, rejected_share]


def tables_of(folder: Path, dataset: str) -> list[Path]:
    """Ours: an adopted folder may hold the runbook's `_raw_validation.jsonl` besides."""
    from r3pp_core.ingest.download import raw_table

    return [table for split in SPLITS if (table := raw_table(folder, dataset, split)).is_file()]


def manifest_of(folder: Path, dataset: str) -> "Manifest":
    from r3pp_core.artefact import require_manifest
    from r3pp_core.ingest.download import raw_target

    return require_manifest(raw_target(folder), f"r3pp download {dataset}")


all_checks = [check for dataset in DATASETS for check in raw_checks(dataset)]
