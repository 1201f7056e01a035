"""OCR text, one asset per data set."""

import dagster as dg
from pydantic import Field

from r3pp_assets.conditions import ON_CHANGE
from r3pp_assets.failures import user_errors
from r3pp_assets.launchpad import refused_at_launch
from r3pp_assets.lineage import ocr_lineage
from r3pp_assets.metadata import column_schema, materialization, preview
from r3pp_assets.resources.launchers import USE_LAUNCHER, LauncherResource
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core import code_versions
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.datasets.spec import DatasetSpec
from r3pp_core.ingest.config import OcrConfig

LAYOUT = [
    dg.TableColumn("width", "number", description="of the picture, in pixels"),
    dg.TableColumn("height", "number", description="of the picture, in pixels"),
    dg.TableColumn("lines", "array", description="what was read: text, box (left, top, right, bottom) and confidence"),
]


@refused_at_launch()
class OcrAssetConfig(OcrConfig, dg.Config):
    """How pictures are read."""

    use_launcher: bool | None = Field(None, description=USE_LAUNCHER)


def ocr_asset(spec: DatasetSpec) -> dg.AssetsDefinition:
    @dg.asset(
        key=["ocr", spec.name],
        deps=[dg.AssetKey(["raw", spec.name])],
        group_name="ocr",
        kinds={"rapidocr", "json"},
        owners=["team:data"],
        code_version=code_versions.OCR,
        automation_condition=ON_CHANGE,
        description=f"{spec.title}: what each unique picture says, line by line with boxes and confidence.",
    )
    def ocr(
        context: dg.AssetExecutionContext,
        config: OcrAssetConfig,
        workspace: WorkspaceResource,
        launcher: LauncherResource,
    ) -> dg.MaterializeResult:
        from r3pp_core.ingest.ocr import ocr_path, run_ocr
        from r3pp_core.ingest.schema import OcrRow

        with user_errors() as started:
            folder = workspace.paths.raw_dir(spec.name)
            launch = launcher.for_shards(config.use_launcher)
            manifest = run_ocr(spec.name, folder, config, context.log.info, launch=launch)
            return materialization(
                context,
                manifest,
                ocr_path(folder),
                started,
                {
                    "preview": preview(ocr_path(folder), ["image_path", "ocr_conf", "ocr_text"]),
                    "dagster/column_schema": column_schema(OcrRow, LAYOUT),
                    "dagster/column_lineage": ocr_lineage(spec.name),
                },
            )

    return ocr


ocr_assets = [ocr_asset(spec) for spec in DATASETS.values()]
