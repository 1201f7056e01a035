"""The evidence indices over the pictures of merged/train."""

import dagster as dg
from pydantic import Field

from r3pp_assets.conditions import ON_CHANGE
from r3pp_assets.failures import user_errors
from r3pp_assets.launchpad import refused_at_launch
from r3pp_assets.lineage import index_lineage
from r3pp_assets.metadata import materialization, preview
from r3pp_assets.resources.launchers import USE_LAUNCHER, LauncherResource
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core import code_versions
from r3pp_core.retrieval.config import IndexConfig
from r3pp_core.retrieval.index_type import EXACT_TYPE

ENCODER_OF = {"text": "minilm", "image": "clip"}
PURPOSE = {
    "text": "What each train picture says, embedded by MiniLM: finds pictures that talk about the same thing.",
    "image": "How each train picture looks, embedded by CLIP: finds pictures that look alike.",
}

SHOWN = ["dataset", "image_path", "pseudo_text", "row_ids"]


def entry_schema() -> dg.TableSchema:
    """The columns of an index's metadata.parquet."""
    from r3pp_core.ingest.schema import FIELDS

    types = {
        "row": ("number", "of the vector in vectors.npy and in the FAISS index"),
        **{name: ("string", FIELDS[name]) for name in ("image_path", "image_sha256", "dataset", "pseudo_text")},
        "row_ids": ("array", "the questions of merged/train that ask about this picture"),
        "searchable": ("boolean", "false where there is no text to be found by"),
    }
    return dg.TableSchema(
        [
            dg.TableColumn(name, kind, about, constraints=dg.TableColumnConstraints(nullable=False))
            for name, (kind, about) in types.items()
        ]
    )


def require_known_type(config: "IndexAssetConfig") -> None:
    if config.index_type != EXACT_TYPE or config.search_parameters:
        from r3pp_core.retrieval.faiss_index import require_known

        require_known(config.index_type, config.search_parameters)


@refused_at_launch(require_known_type)
class IndexAssetConfig(IndexConfig, dg.Config):
    """The kind of FAISS index, and how it is built."""

    use_launcher: bool | None = Field(None, description=USE_LAUNCHER)


def index_asset(kind: str) -> dg.AssetsDefinition:
    encoder = ENCODER_OF[kind]

    @dg.asset(
        key=["index", kind],
        deps=[dg.AssetKey(["merged", "train"]), dg.AssetKey(["models", encoder])],
        group_name="index",
        kinds={"faiss", "parquet"},
        owners=["team:models"],
        code_version=code_versions.INDEX,
        automation_condition=ON_CHANGE,
        pool="gpu",  # `device` may say so
        description=PURPOSE[kind] + " One entry per unique picture.",
    )
    def index(
        context: dg.AssetExecutionContext,
        config: IndexAssetConfig,
        workspace: WorkspaceResource,
        launcher: LauncherResource,
    ) -> dg.MaterializeResult:
        from r3pp_core.retrieval.build import build_index
        from r3pp_core.retrieval.search import METADATA

        with user_errors() as started:
            paths = workspace.paths
            manifest = build_index(
                kind,  # type: ignore[arg-type]
                paths.merged("train"),
                paths.image_root,
                paths.indices_dir,
                paths.model_dir(encoder),
                IndexConfig(**config.model_dump(exclude={"use_launcher"})),
                context.log.info,
                launch=launcher.for_shards(config.use_launcher),
            )
            folder = paths.indices_dir / kind
            tables = {
                "preview": preview(folder / METADATA, SHOWN),
                "dagster/column_schema": entry_schema(),
                "dagster/column_lineage": index_lineage(),
            }
            return materialization(context, manifest, folder, started, {**manifest.details, **tables})

    return index


index_assets = [index_asset(kind) for kind in ENCODER_OF]
