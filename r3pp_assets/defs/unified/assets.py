"""The unified tables, one asset per data set: raw rows joined with OCR text, in one schema."""

import dagster as dg

from r3pp_assets.conditions import ON_CHANGE
from r3pp_assets.failures import user_errors
from r3pp_assets.launchpad import refused_at_launch
from r3pp_assets.lineage import unified_lineage
from r3pp_assets.metadata import column_schema, materialization, preview
from r3pp_assets.profiles import profile_metadata
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core import code_versions
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.datasets.spec import DatasetSpec
from r3pp_core.ingest.config import UnifyConfig


@refused_at_launch()
class UnifyAssetConfig(UnifyConfig, dg.Config):
    """Where the pictures' text comes from."""


def unified_asset(spec: DatasetSpec) -> dg.AssetsDefinition:
    @dg.asset(
        key=["unified", spec.name],
        deps=[dg.AssetKey(["raw", spec.name]), dg.AssetKey(["ocr", spec.name])],
        group_name="unified",
        kinds={"json"},
        owners=["team:data"],
        code_version=code_versions.UNIFY,
        automation_condition=ON_CHANGE,
        description=f"{spec.title}: rows in the schema that all three data sets share, with all references and the "
        "picture's text.",
    )
    def unified(
        context: dg.AssetExecutionContext, config: UnifyAssetConfig, workspace: WorkspaceResource
    ) -> dg.MaterializeResult:
        from r3pp_core.ingest.schema import UnifiedRow
        from r3pp_core.ingest.unify import unified_table, unify

        with user_errors() as started:
            paths = workspace.paths
            manifest = unify(spec.name, paths.raw_dir(spec.name), paths.unified_dir, config, context.log.info)
            split = next(split for split in ("train", "val", "test") if f"rows_{split}" in manifest.counts)
            table = unified_table(paths.unified_dir, spec.name, split)
            return materialization(
                context,
                manifest,
                table,
                started,
                {
                    "preview": preview(table, ["id", "question", "answers", "pseudo_text"]),
                    "dagster/column_schema": column_schema(UnifiedRow),
                    "dagster/column_lineage": unified_lineage(spec.name),
                    "parquet": dg.MetadataValue.path(str(table.with_suffix(".parquet"))),
                    **profile_metadata(table),
                },
            )

    return unified


unified_assets = [unified_asset(spec) for spec in DATASETS.values()]
