"""Train and export, for the production line (no run name) and for experiments (a run name)."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import ConfigDict, Field

from r3pp_assets.launchpad import empty_means, one_of, refused_at_launch
from r3pp_assets.metadata import disk_use, inline_png, materialization
from r3pp_assets.resources.launchers import LauncherResource
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.flags import merged
from r3pp_core.recipes.registry import RECIPES
from r3pp_core.training.config import TrainConfig
from r3pp_core.workspace import Workspace

if TYPE_CHECKING:
    RecipeName = str
    BackendName = str
else:
    RecipeName, BackendName = one_of(*RECIPES), one_of("single", "fsdp", "deepspeed")


def of_the_recipe(name: str) -> Any:
    return empty_means("recipe", TrainConfig.model_fields[name])


def require_resolvable(config: "TrainAssetConfig") -> None:
    """Raises UsageError for what no training could be made of, `overrides` included."""
    from r3pp_assets.resources.environment import workspace_from_environment
    from r3pp_core.recipes.paths import RunPaths
    from r3pp_core.recipes.resolve import resolve

    name = config.recipe or workspace_from_environment().settings.recipe
    resolve(name, RunPaths.of(Workspace(Path())), config.changes())


@refused_at_launch(require_resolvable)
class TrainAssetConfig(dg.Config):
    """A recipe, and what to change in it. Empty fields are taken from the recipe."""

    model_config = ConfigDict(use_enum_values=True)

    recipe: RecipeName | None = Field(None, description="name of the recipe; empty: the profile's")
    use_lora: bool | None = of_the_recipe("use_lora")
    backend: BackendName | None = of_the_recipe("backend")
    max_steps: int | None = of_the_recipe("max_steps")
    batch_size: int | None = of_the_recipe("batch_size")
    grad_accum: int | None = of_the_recipe("grad_accum")
    lr: float | None = of_the_recipe("lr")
    lora_lr: float | None = of_the_recipe("lora_lr")
    full_lr: float | None = of_the_recipe("full_lr")
    max_pixels: int | None = of_the_recipe("max_pixels")
    bf16: bool | None = of_the_recipe("bf16")
    fp16: bool | None = of_the_recipe("fp16")
    seed: int | None = of_the_recipe("seed")
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
    started: float,
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
        context,
        manifest,
        folder,
        started,
        {
            "recipe": name,
            "config": dg.MetadataValue.json(resolved.model_dump(mode="json")),
            "changed_from_recipe": dg.MetadataValue.json(changed),
            "label_preview": dg.MetadataValue.md(f"```\n{label_preview}\n```"),
            **{key: float(value) for key, value in manifest.details.get("metrics", {}).items()},
            **loss_plot(resolved.run_dir / "metrics.jsonl"),
            **disk_use(resolved.run_dir, other_runs_in(resolved.run_dir)),
        },
    )


def other_runs_in(run_dir: Path) -> list[Path]:
    """The folders of experiments and of the control, which stand in the production line's own."""
    return [path.parent for path in run_dir.glob("*/.trainer.lock")]


def loss_plot(metrics: Path) -> dict[str, dg.MarkdownMetadataValue]:
    from r3pp_core.training.curves import loss_curve

    png = loss_curve(metrics)
    return {"loss_curve": inline_png(png, "training and validation loss by step")} if png else {}


def export_run(
    context: dg.AssetExecutionContext, workspace: WorkspaceResource, started: float, run: str | None
) -> dg.MaterializeResult:
    from r3pp_core.training.export import export

    paths = workspace.paths
    out_dir = paths.model_dir(run or "r3")
    manifest = export(paths.checkpoint_dir(run), out_dir, paths.model_dir("backbone"), context.log.info)
    return materialization(context, manifest, out_dir, started, dict(manifest.details))
