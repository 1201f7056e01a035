"""Base and R3 under damage, the report over both, and the champion."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from dagster._core.storage.tags import RETRY_NUMBER_TAG
from pydantic import Field, model_validator

from r3pp_assets.conditions import LOOKED_AT_MONTHLY, ON_CHANGE
from r3pp_assets.defs.evaluate.tables import plots_markdown, report_numbers, results_table
from r3pp_assets.defs.experiment.partitions import NAME
from r3pp_assets.failures import user_errors
from r3pp_assets.inputs import ASKED_OF, BACKBONE, ENCODERS, INDICES
from r3pp_assets.launchpad import empty_means, refused_at_launch
from r3pp_assets.metadata import Context, disk_use, materialization
from r3pp_assets.resources.launchers import USE_LAUNCHER, LauncherResource
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core import code_versions
from r3pp_core.errors import R3Error
from r3pp_core.evaluation.config import EvaluateConfig, SweepConfig
from r3pp_core.flags import validated
from r3pp_core.profiles import Profile
from r3pp_core.workspace import Workspace

if TYPE_CHECKING:
    from r3pp_core.champion.history import Entry
    from r3pp_core.champion.promotion import Candidate
    from r3pp_core.evaluation.subjects import Subject

CONTROL = dg.AssetKey(["control", "evaluation"])
R3_MODEL = dg.AssetKey(["model", "r3"])


def of_the_profile(name: str) -> Any:
    return empty_means("profile", EvaluateConfig.model_fields[name])


@refused_at_launch()
class EvaluateAssetConfig(SweepConfig, dg.Config):
    """What is evaluated. Base and R3 must be given the same, or the report refuses to compare them."""

    # Not EvaluateConfig itself: the asset names the arms, and there an empty rows_per_dataset means all rows.
    split: Literal["val", "test"] = Field("val", description="the table that is asked")
    all_rows: bool = Field(False, description="every row of the table, whatever rows_per_dataset says")
    rows_per_dataset: int | None = of_the_profile("rows_per_dataset")
    ablation_levels: list[float] | None = of_the_profile("ablation_levels")
    max_new_tokens: int | None = of_the_profile("max_new_tokens")
    use_launcher: bool | None = Field(None, description=USE_LAUNCHER)

    def resolved(self, settings: Profile, arms: list[str], ablations: list[str]) -> EvaluateConfig:
        """The sweep's config. Raises UsageError for a number that it refuses."""
        profile = {name: getattr(settings, name) for name in ("rows_per_dataset", "ablation_levels", "max_new_tokens")}
        given = self.model_dump(include=set(EvaluateConfig.model_fields), exclude_none=True)
        rows = {"rows_per_dataset": None} if self.all_rows else {}
        return validated(EvaluateConfig, {**profile, **given, **rows, "arms": arms, "ablations": ablations})


def run_evaluation(
    context: Context,
    workspace: WorkspaceResource,
    launcher: LauncherResource,
    config: EvaluateAssetConfig,
    started: float,
    subject: "Subject",
    out_dir: Path,
    arms: list[str],
    ablations: list[str],
) -> dg.MaterializeResult:
    from r3pp_core.evaluation.reporting import read_results
    from r3pp_core.evaluation.sweep import evaluate

    paths = workspace.paths
    manifest = evaluate(
        subject,
        paths.merged(config.split),
        paths.image_root,
        out_dir,
        config.resolved(workspace.settings, arms, ablations),
        context.log.info,
        launch=launcher.for_shards(config.use_launcher),
    )
    results = read_results(out_dir)
    numbers = {
        f"{results['primary'][dataset]}_{dataset}_{arm}_level_{level}": cell["metrics"][results["primary"][dataset]][
            "mean"
        ]
        for dataset, by_arm in results["results"].items()
        for arm, by_level in by_arm.items()
        for level, cell in by_level.items()
        if arm == arms[0]
    }
    return materialization(context, manifest, out_dir, started, {"scores": results_table(results), **numbers})


def ask_champion_too(
    context: dg.AssetExecutionContext,
    workspace: WorkspaceResource,
    launcher: LauncherResource,
    config: EvaluateAssetConfig,
    candidate_dir: Path,
) -> None:
    """Ask the present champion the candidate's questions, where it was promoted with others, so that they compare."""
    from r3pp_core.champion.history import current
    from r3pp_core.champion.promotion import kept_or_new
    from r3pp_core.evaluation.pairing import Evaluation
    from r3pp_core.launch.failures import LaunchFailed

    paths, champion = workspace.paths, current(workspace.paths.champion_dir)
    if champion is None:
        return
    folder = champion_on_questions_of(paths, candidate_dir.name)
    if kept_or_new(champion, Evaluation.read(candidate_dir), folder, workspace.gate_config):
        return
    context.log.info(f"champion {champion.number} was asked other questions; it is asked these too")
    try:
        began, subject = time.monotonic(), load_r3(paths, champion.model_dir)
        run_evaluation(context, workspace, launcher, config, began, subject, folder, ["r3"], [])
    except LaunchFailed:
        raise
    except R3Error as error:
        context.log.warning(f"the champion cannot be asked, so that the gate will stay closed: {error}")


def load_r3(paths: Workspace, model_dir: Path) -> "Subject":
    from r3pp_core.evaluation.subjects import r3_subject

    return r3_subject(
        model_dir,
        paths.model_dir("backbone"),
        paths.indices_dir,
        paths.model_dir("minilm"),
        paths.model_dir("clip"),
    )


@dg.asset(
    key=["evaluation", "base"],
    deps=[*ASKED_OF, BACKBONE],
    group_name="evaluate",
    kinds={"torch", "json"},
    owners=["team:models"],
    code_version=code_versions.EVALUATION,
    pool="gpu",
    automation_condition=ON_CHANGE,
)
def evaluation_base(
    context: dg.AssetExecutionContext,
    config: EvaluateAssetConfig,
    workspace: WorkspaceResource,
    launcher: LauncherResource,
) -> dg.MaterializeResult:
    """The backbone as it came, asked with the picture, and with the picture and its OCR text, at every damage level."""
    from r3pp_core.evaluation.subjects import base_subject
    from r3pp_core.model.config import BASE_ARMS

    with user_errors() as started:
        subject = base_subject(workspace.paths.model_dir("backbone"), workspace.recipe_model)
        return run_evaluation(
            context,
            workspace,
            launcher,
            config,
            started,
            subject,
            workspace.paths.results_dir("base"),
            list(BASE_ARMS),
            [],
        )


@dg.asset(
    key=["evaluation", "r3"],
    deps=[*ASKED_OF, R3_MODEL, BACKBONE, *INDICES, *ENCODERS],
    group_name="evaluate",
    kinds={"torch", "json"},
    owners=["team:models"],
    code_version=code_versions.EVALUATION,
    pool="gpu",
    automation_condition=ON_CHANGE,
    freshness_policy=LOOKED_AT_MONTHLY,
)
def evaluation_r3(
    context: dg.AssetExecutionContext,
    config: EvaluateAssetConfig,
    workspace: WorkspaceResource,
    launcher: LauncherResource,
) -> dg.MaterializeResult:
    """The trained R3 model with evidence at every damage level, and without each kind of evidence (full: and part)."""
    from r3pp_core.model.config import ARMS

    with user_errors() as started:
        paths, settings = workspace.paths, workspace.settings
        subject = load_r3(paths, paths.model_dir("r3"))
        ablations = [arm for arm in subject.arms if arm != "r3" and ARMS[arm].off <= set(settings.ablated_parts)]
        folder = paths.results_dir("r3")
        result = run_evaluation(context, workspace, launcher, config, started, subject, folder, ["r3"], ablations)
        ask_champion_too(context, workspace, launcher, config, folder)
        return result


@dg.asset(
    key=["report"],
    deps=[dg.AssetKey(["evaluation", "base"]), dg.AssetKey(["evaluation", "r3"]), CONTROL],
    group_name="evaluate",
    kinds={"html"},
    owners=["team:models"],
    code_version=code_versions.REPORT,
    automation_condition=ON_CHANGE,
)
def report(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Base against R3 under damage: robustness curves, scores with intervals, and cases with their evidence; and how
    much of what damage costs the control R3 wins back, where the control was evaluated on the same questions."""
    from r3pp_core.evaluation.reporting import disagreement, make_report, read_results
    from r3pp_core.recipes.control import RUN as CONTROL_RUN
    from r3pp_core.recipes.control import trained_otherwise

    with user_errors() as started:
        paths = workspace.paths
        out_dir = paths.results_dir("report")
        folders = [paths.results_dir("base"), paths.results_dir("r3")]
        if (control := paths.results_dir(CONTROL_RUN)).is_dir():
            models = paths.model_dir("r3"), paths.model_dir(CONTROL_RUN)
            if why := disagreement([*folders, control]) or trained_otherwise(*models):
                context.log.warning(f"the control is left out: {why}")
            else:
                folders.append(control)
        manifest = make_report(folders, paths.image_root, out_dir, workspace.heading, context.log.info)
        results = read_results(out_dir)
        shown = {"scores": results_table(results), **report_numbers(results), **plots_markdown(results)}
        return materialization(context, manifest, out_dir / "report.html", started, shown)


@refused_at_launch()
class ChampionConfig(dg.Config):
    """Which model is put to the gate, or that an earlier champion comes back."""

    candidate: str | None = Field(
        None, pattern=f"^{NAME}$", description="an experiment's name; empty: the production model"
    )
    again: bool = Field(False, description="let a model pass that was rolled back from")
    roll_back: bool = Field(False, description="no promotion: an earlier champion becomes the champion again")
    roll_back_to: int | None = Field(None, ge=1, description="its number; empty: the newest other model")
    reason: str = Field("", description="why it is rolled back; the champion's card says it")

    @model_validator(mode="after")
    def _one_of_two(self) -> "ChampionConfig":
        if self.roll_back_to is not None and not self.roll_back:
            raise ValueError("roll_back_to is for roll_back, which is off")
        return self


def candidate_of(paths: Workspace, name: str) -> "Candidate":
    from r3pp_core.champion.promotion import Candidate

    return Candidate(
        paths.model_dir(name),
        paths.results_dir(name),
        paths.results_dir("base"),
        paths.merged("train"),
        champion_on_questions_of(paths, name),
    )


def champion_on_questions_of(paths: Workspace, candidate: str) -> Path:
    """Where the champion's answers to a candidate's questions lie; one folder for each, since they may differ."""
    return paths.results_dir("champion") / candidate


@dg.asset(
    key=["champion"],
    deps=[dg.AssetKey(["report"])],  # a second way to it, by the model, could overtake the report and its gate
    group_name="evaluate",
    kinds={"safetensors"},
    owners=["team:models"],
    code_version=code_versions.CHAMPION,
    automation_condition=ON_CHANGE,
    freshness_policy=LOOKED_AT_MONTHLY,
)
def champion(
    context: dg.AssetExecutionContext, config: ChampionConfig, workspace: WorkspaceResource
) -> dg.MaterializeResult:
    """The model to use, `champion/current/model`: the newest that passed the gate, with the history of those before it.
    A closed gate leaves it as it is and says why."""
    from r3pp_core.champion.promotion import promote, roll_back

    with user_errors() as started:
        paths = workspace.paths
        if config.roll_back:
            is_retry = RETRY_NUMBER_TAG in context.run.tags  # of its own accord: it asks for the same once more
            wish = (context.run.root_run_id if is_retry else None) or context.run_id
            entry = roll_back(paths.champion_dir, config.roll_back_to, config.reason, context.log.info, asked_by=wish)
        else:
            candidate = candidate_of(paths, config.candidate or "r3")
            entry = promote(candidate, paths.champion_dir, workspace.gate_config, context.log.info, again=config.again)
        return champion_result(context, entry, started)


def champion_result(context: Context, entry: "Entry", started: float) -> dg.MaterializeResult:
    """The champion's card and numbers; its data version is its weights, so that a way back is a version seen before."""
    from r3pp_core.artefact import Target, require_manifest
    from r3pp_core.model.storage import read_description

    manifest = require_manifest(Target(entry.folder), "r3pp promote")
    card = (entry.folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)[-1]
    scores = {
        f"{cell['metric']}_{dataset}_r3_level_{level}": float(cell["mean"])
        for dataset, levels in entry.card["why"]["scores"].items()
        for level, cell in levels.items()
    }
    return materialization(
        context,
        manifest,
        entry.model_dir,
        started,
        {
            "card": dg.MetadataValue.md(card),
            "change": entry.card["change"],
            "model_hash": entry.model_hash,
            "made_of": dg.MetadataValue.json(read_description(entry.model_dir)["made_from"]),
            **disk_use(entry.folder.parent),
            **scores,
        },
    )._replace(data_version=dg.DataVersion(entry.model_hash))
