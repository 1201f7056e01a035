"""The models that everything else starts from."""

import dagster as dg

from r3pp_assets.conditions import ON_CHANGE
from r3pp_assets.failures import user_errors
from r3pp_assets.metadata import materialization
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core import code_versions

PURPOSE = {
    "clip": "CLIP: embeds pictures for the image index and for the confidence head.",
    "minilm": "all-MiniLM-L6-v2: embeds questions and picture texts for the text index.",
    "backbone": "The Qwen3-VL that answers; the sample profile takes a small one that comes with the package.",
}


def model_asset(name: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=["models", name],
        group_name="models",
        kinds={"huggingface", "safetensors"},
        owners=["team:models"],
        code_version=code_versions.MODELS,
        automation_condition=ON_CHANGE,
        description=PURPOSE[name],
    )
    def model(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
        from r3pp_core.ingest.models import announce_size, get_model

        with user_errors() as started:
            models_dir = workspace.paths.root / "models"
            announce_size([name], models_dir, workspace.settings, context.log.info)
            manifest = get_model(name, models_dir, workspace.settings, context.log.info)
            details = {key: str(value) for key, value in manifest.details.items()}
            return materialization(context, manifest, models_dir / name, started, details)

    return model


model_assets = [model_asset(name) for name in PURPOSE]
