"""The graph as users see it: every box of the house plan, made by the real functions."""

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest

from r3pp_assets.staleness import changed_sources, stale_assets, with_descendants

SNAPSHOT = Path(__file__).with_name("graph.json")
ANY_MODEL_PASSES = Path(__file__).parents[1] / "any_model_passes.json"


def graph_of(definitions: dg.Definitions) -> dict:
    graph = definitions.resolve_asset_graph()
    checks: dict[str, list[str]] = {}
    for key in graph.asset_check_keys:
        checks.setdefault(key.asset_key.to_user_string(), []).append(key.name)
    return {
        key.to_user_string(): {
            "deps": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
            "group": graph.get(key).group_name,
            "checks": sorted(checks.get(key.to_user_string(), [])),
        }
        for key in sorted(graph.get_all_asset_keys())
    }


def test_the_graph_is_the_one_in_the_snapshot(made):
    """A changed asset, arrow or check shows up in review; rewrite graph.json when it is meant."""
    assert graph_of(made.definitions) == json.loads(SNAPSHOT.read_text())


def test_every_asset_has_a_description_an_owner_a_kind_a_group_and_a_code_version(made):
    for spec in made.definitions.resolve_all_asset_specs():
        name = spec.key.to_user_string()
        assert spec.description, name
        assert spec.owners, name
        assert spec.kinds, name
        assert spec.group_name != "default", name
        assert spec.code_version, name


def test_the_whole_line_materializes(made):
    failures = [event.event_specific_data for event in made.result.all_events if event.is_failure]
    assert made.result.success, failures[:2]


def test_every_check_passes_on_sound_data(made):
    evaluations = made.result.get_asset_check_evaluations()
    assert len(evaluations) == len(made.definitions.resolve_asset_graph().asset_check_keys)
    assert [(e.asset_key, e.check_name) for e in evaluations if not e.passed] == []


def test_nothing_is_stale_after_a_run(made):
    keys = set(made.definitions.resolve_job_def("proof").asset_layer.executable_asset_keys)
    assert stale_assets(made.definitions.resolve_asset_graph(), made.instance, keys) == set()
    assert changed_sources(made.workspace) == set()


def test_a_changed_source_makes_its_raw_asset_and_all_below_stale(made, tmp_path):
    """One more byte in a Parquet file is another source."""
    import shutil

    from r3pp_assets.resources.workspace import WorkspaceResource

    source = tmp_path / "source"
    shutil.copytree(made.source, source)
    file = next((source / "chartqa" / "data").glob("train*.parquet"))
    file.write_bytes(file.read_bytes() + b"\0")
    workspace = WorkspaceResource(root=str(made.root), profile="smoke", source=str(source))
    changed = changed_sources(workspace)
    assert changed == {dg.AssetKey(["raw", "chartqa"])}
    below = with_descendants(made.definitions.resolve_asset_graph(), changed)
    assert dg.AssetKey(["champion"]) in below
    assert dg.AssetKey(["raw", "screenqa"]) not in below


def test_other_weights_in_the_package_make_their_model_and_all_below_stale(made, tmp_path, monkeypatch):
    import shutil

    from r3pp_core.sample import packaged

    shutil.copytree(packaged.WEIGHTS_DIR, tmp_path / "weights")
    monkeypatch.setattr(packaged, "WEIGHTS_DIR", tmp_path / "weights")
    hashes = tmp_path / "weights" / "clip" / packaged.HASHES
    hashes.write_text(hashes.read_text().translate(str.maketrans("01", "10")))
    assert changed_sources(made.workspace) == {dg.AssetKey(["models", "clip"])}


def test_a_sample_that_is_drawn_otherwise_now_makes_raw_data_stale(tmp_path):
    from r3pp_assets.resources.workspace import WorkspaceResource
    from r3pp_core.sample.artefact import ensure_sample
    from r3pp_core.sample.config import SampleConfig

    workspace = WorkspaceResource(root=str(tmp_path), profile="sample")
    assert changed_sources(workspace) == set()
    ensure_sample(workspace.paths.source_dir, SampleConfig(num_screens=6, num_charts=6, num_infographics=6))
    assert {key.path[0] for key in changed_sources(workspace)} == {"raw"}


def test_materializing_again_redoes_nothing_and_keeps_the_data_version(made):
    """The same inputs give the same artefact, found and not made."""
    manifest = made.paths.merged("train").with_name("train.manifest.json")
    before = manifest.stat().st_mtime_ns
    again = made.definitions.resolve_job_def("full").execute_in_process(
        instance=made.instance, asset_selection=[dg.AssetKey(["merged", "train"])]
    )
    assert again.success
    assert manifest.stat().st_mtime_ns == before
    versions = [
        event.materialization.tags["dagster/data_version"]
        for result in (made.result, again)
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["merged", "train"])
        for event in [event.event_specific_data]
    ]
    assert len(versions) == 2
    assert versions[0] == versions[1]


def test_every_model_that_can_be_had_is_an_asset():
    """Named twice, so that the definitions load nothing of the stage."""
    from r3pp_assets.defs.models.assets import PURPOSE
    from r3pp_core.ingest.models import MODEL_NAMES

    assert tuple(PURPOSE) == tuple(MODEL_NAMES)


def test_the_champion_of_a_sound_workspace_verifies_down_to_its_sources(made, capsys):
    from r3pp_core.cli import main

    assert main(["verify", str(made.paths.champion_dir)]) == 0, capsys.readouterr().out
    assert "0 damaged; 0 inputs are no longer in the workspace" in capsys.readouterr().out


def test_the_report_weighs_r3_against_the_control(made):
    results = json.loads((made.paths.results_dir("report") / "results.json").read_text())
    assert results["recovery"]["against"] == "control"
    trained = [made.paths.checkpoint_dir(run) / "step_4" / "model" / "config.json" for run in ("control", None)]
    control, r3 = (json.loads(path.read_text()) for path in trained)
    assert not any(value for name, value in control["r3"].items() if name.startswith("use_"))
    assert control["r3"]["adapter"] == r3["r3"]["adapter"]
    assert control["made_from"].keys() >= {"train_jsonl", "val_jsonl", "backbone", "code"}
    assert r3["made_from"].keys() - control["made_from"].keys() == {
        *("text_index", "image_index", "neighbours", "text_encoder", "image_encoder")
    }


def test_checkpoint_export_and_champion_carry_the_hashes_of_data_index_backbone_config_and_code(made):
    from r3pp_core import code_versions
    from r3pp_core.artefact import Target, hash_file, read_manifest
    from r3pp_core.model.backbone import weights_hash

    paths = made.paths
    checkpoint = read_manifest(Target(paths.checkpoint_dir() / "step_4"))
    exported = read_manifest(Target(paths.model_dir("r3")))
    described = json.loads((paths.model_dir("r3") / "config.json").read_text())
    card = json.loads((paths.champion_dir / "current" / "champion.json").read_text())
    assert checkpoint.code_version == code_versions.TRAINING
    assert exported.inputs["checkpoint"] == checkpoint.content_hash
    assert exported.files["training_config.json"]["sha256"] == checkpoint.files["config.json"]["sha256"]
    for made_from in (checkpoint.inputs, described["made_from"], card["made_from"]):
        assert made_from["code"] == code_versions.TRAINING
        assert made_from["train_jsonl"] == hash_file(paths.merged("train"))
        assert made_from["backbone"] == weights_hash(paths.model_dir("backbone"))
        assert all(len(made_from[name]) == 64 for name in ("text_index", "image_index", "neighbours"))
    assert card["model_hash"] == weights_hash(paths.model_dir("r3"))
    readme = (paths.champion_dir / "current" / "README.md").read_text()
    assert all(value in readme for value in card["made_from"].values())


def test_the_champions_lineage_reaches_the_sources_after_the_line_moved_on(broken, capsys):
    from r3pp_core.cli import main

    paths = broken.paths
    gone = [paths.image_root / "chartqa", paths.merged("train").parent, paths.model_dir("r3"), paths.model_dir("clip")]
    for path in (*gone, paths.indices_dir, paths.results_dir("r3"), *paths.checkpoint_dir().glob("step_*")):
        shutil.rmtree(path)
    assert main(["lineage", str(paths.champion_dir)]) == 0
    told = capsys.readouterr().out
    for stage in ("raw/chartqa", "merged", "checkpoint", "models/clip", "index/text", "index/neighbours"):
        assert any(stage in line and "replaced or removed since" in line for line in told.splitlines()), (stage, told)
    lost = [line for line in told.splitlines() if "no artefact of this workspace" in line]
    assert not [line for line in lost if any(word in line for word in ("encoder", "index", "_jsonl:", "checkpoint"))]
    assert "history/0001/model" in told, "which stands there whole"
    assert main(["verify", str(paths.champion_dir)]) == 0
    told = capsys.readouterr().out
    assert "0 damaged" in told
    assert "is no longer in the workspace" in told
    assert main(["verify", str(paths.champion_dir), "--whole"]) == 1


def test_neighbours_cut_queries_as_the_profile_s_recipe_does(made):
    from r3pp_core.artefact import Target, read_manifest

    recipe = made.workspace.recipe_model
    for name in ("neighbours", "quality"):
        assert read_manifest(Target(made.paths.indices_dir / name)).config["max_query_chars"] == recipe.max_query_chars


def test_a_control_of_other_questions_is_left_out(broken):
    evaluation = broken.paths.results_dir("control") / "manifest.json"
    manifest = json.loads(evaluation.read_text())
    manifest["inputs"]["table"] = "of last week"
    evaluation.write_text(json.dumps(manifest))
    gate = json.loads(ANY_MODEL_PASSES.read_text())
    workspace = {"config": {"root": str(broken.root), "source": str(broken.source), "gate": gate}}
    with dg.DagsterInstance.ephemeral() as instance:
        broken.definitions.resolve_job_def("evaluate").execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(["report"])],
            run_config={"resources": {"workspace": workspace}, "loggers": {"brief": {}}},
        )
    results = json.loads((broken.paths.results_dir("report") / "results.json").read_text())
    assert results["recovery"]["against"] == "base_ocr"


@pytest.mark.parametrize("name", ["full", "retrain", "ingest", "index", "train", "evaluate", "promote"])
def test_jobs_leave_experiments_alone(made, name):
    keys = made.definitions.resolve_job_def(name).asset_layer.executable_asset_keys
    assert keys
    assert not any(key.path[0] in ("experiment", "control") for key in keys)
