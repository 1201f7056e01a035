"""The evidence indices over the pictures of merged/train."""

import dagster as dg
from pydantic import Field

from r3pp_assets.conditions import ON_CHANGE
from r3pp_assets.failures import user_errors
from r3pp_assets.metadata import materialization
from r3pp_assets.resources.launchers import USE_LAUNCHER, LauncherResource
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core import code_versions
from r3pp_core.retrieval.config import IndexConfig

ENCODER_OF = {"text": "minilm", "image": "clip"}
PURPOSE = {
    "text": "What each train picture says, embedded by MiniLM: finds pictures that talk about the same thing.",
    "image": "How each train picture looks, embedded by CLIP: finds pictures that look alike.",
}


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
        description=PURPOSE[kind] + " One entry per unique picture.",
    )
    def index(
        context: dg.AssetExecutionContext,
        config: IndexAssetConfig,
        workspace: WorkspaceResource,
        launcher: LauncherResource,
    ) -> dg.MaterializeResult:
        from r3pp_core.retrieval.build import build_index

        with user_errors():
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
            return materialization(manifest, paths.indices_dir / kind, dict(manifest.details))

    return index


index_assets = [index_asset(kind) for kind in ENCODER_OF]
