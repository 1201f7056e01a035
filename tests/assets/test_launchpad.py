"""Recipe, launchpad and what they make together; experiments and their names."""

import dagster as dg
import pytest

from r3pp_assets.defs.evaluate.assets import EvaluateAssetConfig
from r3pp_assets.defs.experiment.assets import run_name
from r3pp_assets.defs.train.run import TrainAssetConfig
from r3pp_core.errors import UsageError
from r3pp_core.evaluation.config import EvaluateConfig
from r3pp_core.flags import merged
from r3pp_core.profiles import PROFILES
from r3pp_core.recipes.paths import RunPaths
from r3pp_core.recipes.resolve import difference, resolve
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
    with pytest.raises(UsageError, match=r"max_new_tokens: .* \(got 0\)"):
        EvaluateAssetConfig(max_new_tokens=0).resolved(PROFILES["sample"], ["r3"], [])


@pytest.mark.parametrize("name", ["r3", "step_100", "../escape", "a/b", "", "replaced"])
def test_a_name_that_cannot_be_a_folder_cannot_be_an_experiment(name):
    class Context:
        partition_key = name

    with pytest.raises(UsageError, match="cannot name an experiment"):
        run_name(Context())


def test_an_experiment_trains_beside_the_production_line(made):
    """Its checkpoint, model and evaluation stand under its name, and production's checkpoints are untouched."""
    before = sorted(path.name for path in made.paths.checkpoint_dir().glob("step_*"))
    made.instance.add_dynamic_partitions("experiment", ["short"])
    keys = [dg.AssetKey(["experiment", part]) for part in ("checkpoint", "model", "evaluation")]
    definitions = dg.Definitions.merge(
        made.definitions, dg.Definitions(jobs=[dg.define_asset_job("experiment", dg.AssetSelection.assets(*keys))])
    )
    result = definitions.resolve_job_def("experiment").execute_in_process(
        instance=made.instance,
        partition_key="short",
        run_config={
            "ops": {
                "experiment__checkpoint": {"config": {"max_steps": 2, "overrides": {"eval_rows": 0}}},
                "experiment__evaluation": {"config": {"rows_per_dataset": 1, "levels": [0.0]}},
            }
        },
    )
    assert result.success
    assert (made.paths.checkpoint_dir("short") / "step_2").is_dir()
    assert (made.paths.model_dir("short") / "config.json").is_file()
    assert (made.paths.results_dir("short") / "results.json").is_file()
    assert sorted(path.name for path in made.paths.checkpoint_dir().glob("step_*")) == before
