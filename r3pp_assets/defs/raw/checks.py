"""Raw rows keep the schema, their pictures decode, and little was rejected."""

import dagster as dg

from r3pp_assets.metadata import problems_result
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.artefact import require_manifest
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.ingest.checks import picture_problems, raw_schema_problems
from r3pp_core.ingest.download import raw_target

MAX_REJECTED_SHARE = 0.01


def raw_checks(dataset: str) -> list[dg.AssetChecksDefinition]:
    key = dg.AssetKey(["raw", dataset])

    @dg.asset_check(asset=key, name="schema", blocking=True, description="Every raw row has the raw schema.")
    def schema(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        tables = sorted(workspace.paths.raw_dir(dataset).glob(f"{dataset}_raw_*.jsonl"))
        return problems_result(raw_schema_problems(tables), "rows that break the raw schema")

    @dg.asset_check(asset=key, name="pictures_decode", blocking=True, description="Every picture exists and decodes.")
    def pictures_decode(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        folder = workspace.paths.raw_dir(dataset)
        tables = sorted(folder.glob(f"{dataset}_raw_*.jsonl"))
        return problems_result(picture_problems(tables, folder, "image"), "pictures that cannot be opened")

    @dg.asset_check(asset=key, name="rejected_share", description="At most 1 % of the source's rows were rejected.")
    def rejected_share(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        folder = workspace.paths.raw_dir(dataset)
        manifest = require_manifest(raw_target(folder), f"r3pp download {dataset}")
        share = sum(manifest.left_out.values()) / max(1, manifest.counts["rows_in"])
        return dg.AssetCheckResult(
            passed=share <= MAX_REJECTED_SHARE,
            metadata={"rejected_share": share, "limit": MAX_REJECTED_SHARE, "reasons": manifest.left_out},
            description=f"{share:.2%} of the rows were rejected; see {folder / 'rejected.jsonl'}",
        )

    return [schema, pictures_decode, rejected_share]


all_checks = [check for dataset in DATASETS for check in raw_checks(dataset)]
