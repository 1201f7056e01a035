"""Raw rows and pictures, one asset per data set."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import ConfigDict, Field

from r3pp_assets.conditions import ON_CHANGE
from r3pp_assets.failures import user_errors
from r3pp_assets.launchpad import one_of, refused_at_launch
from r3pp_assets.metadata import column_schema, materialization, preview
from r3pp_assets.pictures import contact_sheet_markdown
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core import code_versions
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.datasets.spec import SPLITS, DatasetSpec
from r3pp_core.ingest.config import DownloadConfig
from r3pp_core.progress import Progress

if TYPE_CHECKING:
    SplitName = str
else:
    SplitName = one_of(*SPLITS)


@refused_at_launch()
class RawAssetConfig(DownloadConfig, dg.Config):
    """What to fetch. Empty fields mean everything there is, from the profile's source."""

    model_config = ConfigDict(use_enum_values=True)

    splits: list[SplitName] = Field(list(SPLITS), min_length=1, description="which of train, val, test")
    force: bool = Field(False, description="again, even if nothing changed")


def raw_asset(spec: DatasetSpec) -> dg.AssetsDefinition:
    @dg.asset(
        key=["raw", spec.name],
        group_name="raw",
        kinds={"huggingface", "parquet"},
        owners=["team:data"],
        code_version=code_versions.DOWNLOAD,
        automation_condition=ON_CHANGE,
        description=f"{spec.title}: every unique picture as a file, and one table of questions and all accepted "
        "answers per split, as they come from the source.",
    )
    def raw(
        context: dg.AssetExecutionContext, config: RawAssetConfig, workspace: WorkspaceResource
    ) -> dg.MaterializeResult:
        from r3pp_core.ingest.download import download, raw_table
        from r3pp_core.ingest.schema import RawRow
        from r3pp_core.ingest.source import spec_splits

        with user_errors() as started:
            folder = workspace.paths.raw_dir(spec.name)
            source = config.source or source_folder(workspace, context.log.info)
            request = DownloadConfig(**{**config.model_dump(exclude={"force"}), "source": source})
            manifest = download(spec.name, folder, request, context.log.info, force=config.force)
            commits = manifest.details.get("commits")  # of the Hub's repositories
            table = raw_table(folder, spec.name, spec_splits(spec, config.splits)[0])
            return materialization(
                context,
                manifest,
                folder,
                started,
                {
                    **({"revisions": dg.MetadataValue.json(commits)} if commits else {}),
                    "preview": preview(table, ["id", "question", "answers", "image"]),
                    "pictures_at_a_glance": contact_sheet_markdown(table, folder, "image"),
                    "dagster/column_schema": column_schema(RawRow),
                },
            )

    return raw


def source_folder(workspace: WorkspaceResource, progress: Progress) -> str | None:
    """The folder to read: the one that was given, the embedded sample (drawn on first use), or None for the Hub."""
    if workspace.source:
        return workspace.source
    if workspace.settings.hub_models is not None:
        return None
    from r3pp_core.sample.artefact import ensure_sample

    folder: Path = workspace.paths.source_dir
    ensure_sample(folder, progress=progress)
    return str(folder)


raw_assets = [raw_asset(spec) for spec in DATASETS.values()]
