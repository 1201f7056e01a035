"""Recipe, launchpad and what they make together; experiments and their names."""

import dagster as dg
import pytest

from r3pp_assets.defs.experiment.assets import run_name
from r3pp_assets.defs.train.run import TrainAssetConfig
from r3pp_core.errors import UsageError
from r3pp_core.flags import merged
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
