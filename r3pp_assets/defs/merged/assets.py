"""The merged tables that training and evaluation read."""

import dagster as dg

from r3pp_assets.conditions import ON_CHANGE
from r3pp_assets.failures import user_errors
from r3pp_assets.launchpad import refused_at_launch
from r3pp_assets.lineage import merged_lineage
from r3pp_assets.metadata import column_schema, materialization, preview
from r3pp_assets.pictures import contact_sheet_markdown
from r3pp_assets.profiles import profile_metadata
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core import code_versions
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.ingest.config import MergeConfig

PURPOSE = {
    "train": "the questions that models learn from and whose pictures fill the indices",
    "val": "the questions that every choice is made on",
    "test": "the questions of the final score; rows with hidden answers are counted and left out",
}


@refused_at_launch()
class MergeAssetConfig(MergeConfig, dg.Config):
    """Which tables make which split; give all three splits the same, since each is kept apart from the others'."""


def merged_asset(split: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=["merged", split],
        deps=[dg.AssetKey(["unified", dataset]) for dataset in DATASETS],
        group_name="merged",
        kinds={"json"},
        owners=["team:data"],
        code_version=code_versions.MERGE,
        automation_condition=ON_CHANGE,
        description=f"The three data sets in one table: {PURPOSE[split]}. Duplicates and pictures that also stand in "
        "an evaluation split are left out and counted.",
    )
    def merged(
        context: dg.AssetExecutionContext, config: MergeAssetConfig, workspace: WorkspaceResource
    ) -> dg.MaterializeResult:
        from r3pp_core.ingest.merge import merge_split
        from r3pp_core.ingest.schema import UnifiedRow

        with user_errors() as started:
            paths = workspace.paths
            manifest = merge_split(split, paths.unified_dir, config, context.log.info)
            table = paths.merged(split)
            return materialization(
                context,
                manifest,
                table,
                started,
                {
                    "preview": preview(table, ["id", "question", "answers", "image_path", "pseudo_text"]),
                    "pictures_at_a_glance": contact_sheet_markdown(table, paths.image_root),
                    "dagster/column_schema": column_schema(UnifiedRow),
                    "dagster/column_lineage": merged_lineage(DATASETS),
                    **profile_metadata(table),
                },
            )

    return merged


merged_assets = [merged_asset(split) for split in PURPOSE]
