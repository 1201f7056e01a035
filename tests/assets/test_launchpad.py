"""Recipe, launchpad and what they make together; experiments and their names."""

import typing
from collections.abc import Iterator

import dagster as dg
import pytest
from pydantic import ValidationError

from r3pp_assets.defs.evaluate.assets import EvaluateAssetConfig
from r3pp_assets.defs.experiment.assets import run_name
from r3pp_assets.defs.train.run import TrainAssetConfig
from r3pp_core.datasets.spec import SPLITS
from r3pp_core.errors import UsageError
from r3pp_core.evaluation.config import EvaluateConfig
from r3pp_core.flags import merged
from r3pp_core.model.config import ARMS
from r3pp_core.profiles import PROFILES
from r3pp_core.recipes.paths import RunPaths
from r3pp_core.recipes.registry import RECIPES
from r3pp_core.recipes.resolve import difference, resolve
from r3pp_core.training.config import TrainConfig
from r3pp_core.workspace import Workspace


@pytest.fixture
def paths(tmp_path) -> RunPaths:
    return RunPaths.of(Workspace(tmp_path))


def test_empty_fields_mean_the_recipe(paths):
    assert TrainAssetConfig().changes() == {}
    assert difference("sample", paths, resolve("sample", paths, TrainAssetConfig().changes())) == {}


def test_given_fields_win_and_are_reported(paths):
    changes = TrainAssetConfig(max_steps=7, overrides={"r3": {"k": 2}}).changes()
    config = resolve("sample", paths, changes)
    assert (config.max_steps, config.r3.k) == (7, 2)
    assert set(difference("sample", paths, config)) == {"max_steps", "r3.k"}
    assert config.r3.bottleneck == resolve("sample", paths, {}).r3.bottleneck


def test_overrides_merge_into_nested_fields():
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}) == {"a": {"b": 1, "c": 3}}


@pytest.mark.parametrize("changes", [{"no_such_field": 1}, {"r3": {"no_such_field": 1}}, {"max_steps": 0}])
def test_nonsense_is_refused_naming_the_field(paths, changes):
    with pytest.raises(UsageError, match=r"no_such_field|max_steps"):
        resolve("sample", paths, changes)


def test_an_unknown_recipe_is_refused_naming_the_known(paths):
    with pytest.raises(UsageError, match="sample"):
        resolve("none", paths, {})


def test_the_evaluations_launchpad_shows_each_field_of_the_sweep_with_its_description():
    shown = EvaluateAssetConfig.to_config_schema().as_field().config_type.fields
    own = {"split", "all_rows", "use_launcher"}
    assert set(shown) == set(EvaluateConfig.model_fields) - {"arms", "ablations"} | own
    for name, field in shown.items():
        assert field.description, name
        if name in EvaluateConfig.model_fields:
            assert field.description.startswith(EvaluateConfig.model_fields[name].description.split(";")[0])


@pytest.mark.parametrize("profile", PROFILES)
def test_empty_fields_of_an_evaluation_mean_the_profile(profile):
    settings = PROFILES[profile]
    config = EvaluateAssetConfig().resolved(settings, ["base"], ["base_ocr"])
    assert config == EvaluateConfig(
        arms=["base"],
        ablations=["base_ocr"],
        rows_per_dataset=settings.rows_per_dataset,
        ablation_levels=settings.ablation_levels,
        max_new_tokens=settings.max_new_tokens,
    )


def test_given_fields_of_an_evaluation_win_over_the_profile():
    given = {"rows_per_dataset": 3, "ablation_levels": [0.4], "max_new_tokens": 5, "batch_size": 2, "damage": "text"}
    config = EvaluateAssetConfig(**given).resolved(PROFILES["sample"], ["r3"], [])
    assert config.model_dump(include=set(given)) == given
    assert EvaluateAssetConfig(all_rows=True).resolved(PROFILES["sample"], ["r3"], []).rows_per_dataset is None


def test_a_number_that_an_evaluation_refuses_is_named():
    with pytest.raises(ValidationError, match=r"max_new_tokens\n.*greater than or equal to 1"):
        EvaluateAssetConfig(max_new_tokens=0)


@pytest.mark.parametrize("name", ["r3", "step_100", "../escape", "a/b", "", "replaced"])
def test_a_name_that_cannot_be_a_folder_cannot_be_an_experiment(name):
    class Context:
        partition_key = name

    with pytest.raises(UsageError, match="cannot name an experiment"):
        run_name(Context())


def test_an_experiment_trains_beside_the_production_line(made, run_experiment):
    """Its checkpoint, model and evaluation stand under its name, and production's checkpoints are untouched."""
    before = sorted(path.name for path in made.paths.checkpoint_dir().glob("step_*"))
    result = run_experiment(made, "short", {"rows_per_dataset": 1, "levels": [0.0]})
    assert result.success
    assert (made.paths.checkpoint_dir("short") / "step_2").is_dir()
    assert (made.paths.model_dir("short") / "config.json").is_file()
    assert (made.paths.results_dir("short") / "results.json").is_file()
    assert sorted(path.name for path in made.paths.checkpoint_dir().glob("step_*")) == before


def fields_of(config_type, place: str) -> Iterator[tuple[str, dg.Field]]:
    """Every field of a config, with those of nested ones."""
    for name, field in getattr(config_type, "fields", {}).items():
        yield f"{place}.{name}", field
        yield from fields_of(field.config_type, f"{place}.{name}")


@pytest.fixture(scope="module")
def shown() -> dict[str, dg.Field]:
    """What the launchpad shows: every field of every asset, op and resource of our own, in all jobs."""
    from r3pp_assets.definitions import defs

    found: dict[str, dg.Field] = {}
    for job in defs().get_repository_def().get_all_jobs():
        ours = {name: job.resource_defs[name] for name in ("workspace", "launcher") if name in job.resource_defs}
        for name, owner in {**ours, **{node.name: node.definition for node in job.nodes}}.items():
            if owner.config_schema.config_type:
                found |= fields_of(owner.config_schema.config_type, name)
    return found


def words_of(config_type) -> set[str]:
    """Of a choice, of a list of them, or of one that may stay empty."""
    while not hasattr(config_type, "config_values"):
        config_type = config_type.inner_type
    return set(config_type.config_values)


def test_every_field_of_the_launchpad_has_a_description(shown):
    assert {"checkpoint__r3.lora_lr", "experiment__checkpoint.lr", "evaluate_checkpoint.arms"} <= set(shown)
    assert {"workspace.root", "launcher.launcher", "index__text.num_recall_queries"} <= set(shown)
    assert [place for place, field in shown.items() if not field.description] == []


def test_a_field_says_its_range_and_a_choice_is_one_of_a_list(shown):
    says = {
        "checkpoint__r3.max_steps": "optimizer steps, at least 1; empty: the recipe's",
        "checkpoint__r3.lora_lr": "peak learning rate of LoRA, more than 0 and at most 1; empty: the recipe's",
        "evaluation__r3.max_new_tokens": "longest answer, at least 1; empty: the profile's",
        "evaluate_checkpoint.seed": "seed of row choice, damage and intervals, at least 0",
        "launcher.poll_s": "seconds between two looks at the job's messages, more than 0",
    }
    assert {place: shown[place].description for place in says} == says
    assert EvaluateConfig.model_fields["batch_size"].description == "rows generated together", "the core's own stays"
    backends = typing.get_args(TrainConfig.model_fields["backend"].annotation)
    choices = {
        "checkpoint__r3.recipe": set(RECIPES),
        "checkpoint__r3.backend": set(backends),
        "evaluation__base.split": {"val", "test"},
        "evaluate_checkpoint.arms": set(ARMS) - {"base", "base_ocr"},
        "raw__chartqa.splits": set(SPLITS),
        "workspace.profile": set(PROFILES),
        "launcher.launcher": {"local", "slurm"},
    }
    assert {place: words_of(shown[place].config_type) for place in choices} == choices


def test_every_config_of_ours_is_looked_at_before_a_run_exists():
    """Not only by its step, which others may come before."""
    from r3pp_assets.definitions import defs

    for job in defs().get_repository_def().get_all_jobs():
        for node in job.nodes:
            config_type = node.definition.config_schema.config_type
            assert not getattr(config_type, "fields", {}) or "post_process" in vars(config_type), node.name


def test_lora_and_the_modules_have_learning_rates_of_their_own(paths):
    config = resolve("sample", paths, TrainAssetConfig(lr=0.01, lora_lr=0.002).changes())
    assert (config.lr, config.lora_lr) == (0.01, 0.002)
