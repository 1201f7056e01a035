"""Train and export, for the production line (no run name) and for experiments (a run name)."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from r3pp_assets.metadata import materialization
from r3pp_assets.resources.launchers import LauncherResource
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.flags import merged

ENCODERS = [dg.AssetKey(["models", "clip"]), dg.AssetKey(["models", "minilm"])]
INDICES = [dg.AssetKey(["index", kind]) for kind in ("text", "image", "neighbours")]


class TrainAssetConfig(dg.Config):
    """A recipe, and what to change in it. Empty fields are taken from the recipe."""

    recipe: str | None = Field(None, description="name of the recipe; empty: the profile's")
    use_lora: bool | None = Field(None, description="LoRA instead of all weights")
    backend: str | None = Field(None, description="single, fsdp or deepspeed")
    max_steps: int | None = Field(None, description="optimizer steps")
    batch_size: int | None = Field(None, description="rows a micro-batch")
    grad_accum: int | None = Field(None, description="micro-batches a step")
    lr: float | None = Field(None, description="peak learning rate of LoRA and the R3 modules")
    full_lr: float | None = Field(None, description="peak learning rate of the backbone's own weights")
    max_pixels: int | None = Field(None, description="pictures are shrunk to this")
    bf16: bool | None = Field(None, description="bfloat16")
    fp16: bool | None = Field(None, description="float16 with a loss scaler")
    seed: int | None = Field(None, description="seed of everything that is drawn")
    force: bool = Field(False, description="from the start, even if nothing changed since the last training")
    overrides: dict[str, Any] = Field({}, description='any other field, nested: {"r3": {"k": 2}}')

    def changes(self) -> dict[str, Any]:
        fields = self.model_dump(exclude={"recipe", "overrides", "force"})
        return merged({name: value for name, value in fields.items() if value is not None}, self.overrides)


def train_run(
    context: dg.AssetExecutionContext,
    config: TrainAssetConfig,
    workspace: WorkspaceResource,
    launcher: LauncherResource,
    run: str | None,
    recipe: str | None = None,
) -> dg.MaterializeResult:
    """`recipe` is the default where the launchpad names none; None: the profile's."""
    from r3pp_core.artefact import Target, require_manifest
    from r3pp_core.recipes.paths import RunPaths
    from r3pp_core.recipes.resolve import difference, resolve
    from r3pp_core.training.config import require_supported
    from r3pp_core.training.job import training_job

    name = config.recipe or recipe or workspace.settings.recipe
    paths = RunPaths.of(workspace.paths)
    # An asset is never stopped by what an earlier config left behind: another run's checkpoints are set aside.
    resolved = resolve(
        name, paths, merged(config.changes(), {"run": run, "resume": "never" if config.force else "match"})
    )
    launch = launcher.launch_config(one_a_gpu=resolved.backend != "single")
    require_supported(resolved, launch.num_ranks)
    changed = difference(name, paths, resolved)
    context.log.info(f"recipe {name}, changed: {json.dumps(changed) if changed else 'nothing'}")
    result, label_preview = launcher.run(context, training_job(resolved), launch)
    if result.stopped:
        raise dg.Failure(
            description=f"training was asked to stop; what it had is saved in {resolved.run_dir}, run again to resume",
            allow_retries=False,
        )
    folder = Path(str((result.last_message or {})["checkpoint"]))
    manifest = require_manifest(Target(folder), "r3pp train")
    return materialization(
        manifest,
        folder,
        {
            "recipe": name,
            "config": dg.MetadataValue.json(resolved.model_dump(mode="json")),
            "changed_from_recipe": dg.MetadataValue.json(changed),
            "wall_s": result.wall_s,
            "label_preview": dg.MetadataValue.md(f"```\n{label_preview}\n```"),
            **{key: float(value) for key, value in manifest.details.get("metrics", {}).items()},
            **loss_plot(resolved.run_dir / "metrics.jsonl"),
        },
    )


def loss_plot(metrics: Path) -> dict[str, dg.MarkdownMetadataValue]:
    from r3pp_assets.metadata import inline_png
    from r3pp_core.training.curves import loss_curve

    png = loss_curve(metrics)
    return {"loss_curve": inline_png(png, "training and validation loss by step")} if png else {}


def export_run(
    context: dg.AssetExecutionContext, workspace: WorkspaceResource, run: str | None
) -> dg.MaterializeResult:
    from r3pp_core.training.export import export

    paths = workspace.paths
    out_dir = paths.model_dir(run or "r3")
    manifest = export(paths.checkpoint_dir(run), out_dir, paths.model_dir("backbone"), context.log.info)
    return materialization(manifest, out_dir, dict(manifest.details))
