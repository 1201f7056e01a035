"""What the UI shows of an asset."""

import dataclasses
import json
import re
import time
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from r3pp_assets.metadata import disk_use, materialization
from r3pp_core.artefact import Manifest
from r3pp_core.datasets.registry import DATASETS


def metadata_of(made, *path: str) -> dict:
    event = made.instance.get_latest_materialization_event(dg.AssetKey(list(path)))
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_merged_train_shows_counts_a_preview_its_schema_and_pictures(made):
    shown = metadata_of(made, "merged", "train")
    assert shown["dagster/row_count"] == shown["rows"] > 0
    assert {column.name for column in shown["dagster/column_schema"].columns} >= {"id", "answers", "pseudo_text"}
    assert all(column.description for column in shown["dagster/column_schema"].columns)
    assert shown["preview"]
    assert shown["pictures_at_a_glance"].startswith("![")
    assert len(shown["pictures_at_a_glance"]) < 130_000


def test_the_checkpoint_shows_its_recipe_what_was_changed_and_a_label_preview(made):
    shown = metadata_of(made, "checkpoint", "r3")
    assert shown["recipe"] == "smoke"
    assert shown["changed_from_recipe"]["max_steps"]["here"] == 4
    assert set(shown["changed_from_recipe"]) == {"max_steps", "eval_rows", "save_every", "resume"}
    assert shown["config"]["max_steps"] == 4
    assert "«" in shown["label_preview"]
    assert "loss_curve" in shown


def test_training_is_observed_while_it_runs(made):
    """The loss reaches the asset as observations with numbers, the last step included."""
    records = made.instance.fetch_observations(dg.AssetKey(["checkpoint", "r3"]), limit=100).records
    shown = [record.event_log_entry.asset_observation.metadata for record in records]
    steps = [metadata["step"].value for metadata in shown]
    losses = [metadata["loss"].value for metadata in shown if "loss" in metadata]
    assert max(steps) == 4
    assert all(isinstance(loss, float) for loss in losses)


def test_the_evaluation_shows_scores_with_intervals_and_n(made):
    shown = metadata_of(made, "evaluation", "r3")
    records = shown["scores"].records if hasattr(shown["scores"], "records") else shown["scores"]
    assert {record.data["data set"] for record in records} == {"screenqa", "chartqa", "infovqa"}
    assert all(record.data["n"] == 3 and " to " in record.data["95 % interval"] for record in records)


def test_the_report_is_one_page_that_asks_the_network_for_nothing(made):
    page = (made.paths.results_dir("report") / "report.html").read_text()
    assert "smoke test: a few steps" in page
    assert 'src="http' not in page
    assert "<script src" not in page


def test_the_report_shows_every_plot_of_its_page_inline(made):
    shown = metadata_of(made, "report")
    page = (made.paths.results_dir("report") / "report.html").read_text()
    names = [f"{kind}_{name}" for kind in ("robustness", "ablations", "operators") for name in DATASETS]
    pictures = [re.search(r"data:image/png;base64,[^)]+", shown[name]) for name in [*names, "reliability"]]
    assert all(picture and picture[0] in page for picture in pictures)
    assert len(pictures) == page.count("data:image/png;base64,")
    assert sum(len(picture[0]) for picture in pictures) < 1_200_000, "all of them are in one event"


def test_the_champion_is_a_copy_of_the_model_that_passed(made):
    champion = made.root / "champion" / "current" / "model"
    for path in made.paths.model_dir("r3").glob("*.safetensors"):
        assert (champion / path.name).read_bytes() == path.read_bytes()


def test_the_champion_shows_its_card_and_its_scores(made):
    shown = metadata_of(made, "champion")
    assert "## Why this one" in shown["card"]
    assert "- no regression: passed (there is no champion yet)" in shown["card"]
    assert {"model_hash", "change", "anls_infovqa_r3_level_0.8"} <= set(shown)


def test_every_asset_says_in_a_sentence_what_is_there_and_what_was_left_out(made):
    for event in made.result.get_asset_materialization_events():
        text = event.materialization.metadata["summary"].value
        assert text.startswith("**"), event.asset_key
        assert "left out: " in text
        assert text.endswith(" MB")


def test_every_asset_says_how_long_it_took_how_fast_and_what_changed_since_its_last(made):
    for event in made.result.get_asset_materialization_events():
        shown = event.materialization.metadata
        assert shown["wall_s"].value > 0, event.asset_key
        (rate,) = [name for name in shown if name.endswith("_per_s")]
        assert rate not in ("number_per_s", "files_per_s", "weight_files_per_s"), event.asset_key
        assert rate != "step_per_s" or event.asset_key.path[-2:] != ["model", "r3"], event.asset_key
        assert shown["changed_since_last"].value == "the first one", event.asset_key


def test_the_disk_that_a_run_takes_is_its_own_with_what_it_set_aside(tmp_path):
    from r3pp_assets.defs.train.run import other_runs_in

    for name, size in (
        ("step_4/a", 100),
        ("replaced/step_2/a", 50),
        ("replaced/metrics.jsonl", 7),
        ("control/a", 1000),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    (tmp_path / "control" / ".trainer.lock").touch()
    (tmp_path / "replaced" / "step_2" / "another name").hardlink_to(tmp_path / "step_4" / "a")
    assert disk_use(tmp_path, other_runs_in(tmp_path))["disk_bytes"] == 157


def test_every_table_has_a_column_schema_that_names_the_columns_of_its_file(made):
    files = {
        "raw": made.paths.raw_dir("chartqa") / "chartqa_raw_train.jsonl",
        "ocr": made.paths.raw_dir("chartqa") / "ocr.jsonl",
        "unified": made.paths.unified_dir / "chartqa_unified_train.jsonl",
    }
    for group, path in files.items():
        schema = metadata_of(made, group, "chartqa")["dagster/column_schema"]
        assert {column.name for column in schema.columns} == set(json.loads(path.read_text().splitlines()[0])), group
        assert all(column.description for column in schema.columns), group


@pytest.mark.parametrize("kind", ["text", "image"])
def test_an_index_shows_its_entries(made, kind):
    shown = metadata_of(made, "index", kind)
    entries = pq.read_table(made.paths.indices_dir / kind / "metadata.parquet")
    schema = shown["dagster/column_schema"]
    assert [column.name for column in schema.columns] == entries.column_names
    assert all(column.description for column in schema.columns)
    first = entries.slice(0, 8).to_pylist()
    assert [record.data["image_path"] for record in shown["preview"].records] == [row["image_path"] for row in first]
    assert shown["index_type"] == "Flat"


def test_every_column_of_a_table_s_lineage_is_one_of_the_table_above(made):
    columns = {}
    for event in made.result.get_asset_materialization_events():
        shown = event.materialization.metadata
        if "dagster/column_schema" in shown:
            names = [column.name for column in shown["dagster/column_schema"].schema.columns]
            columns.setdefault(event.asset_key, set()).update(names)
    lineages = {
        event.asset_key: event.materialization.metadata["dagster/column_lineage"].value.deps_by_column
        for event in made.result.get_asset_materialization_events()
        if "dagster/column_lineage" in event.materialization.metadata
    }
    assert {key.path[0] for key in lineages} == {"ocr", "unified", "merged", "index"}
    for key, lineage in lineages.items():
        assert set(lineage) <= columns[key], key
        for above in (one for deps in lineage.values() for one in deps):
            assert above.column_name in columns[above.asset_key], (key, above)
    assert set(lineages[dg.AssetKey(["merged", "train"])]) == columns[dg.AssetKey(["merged", "train"])]


def test_the_data_version_is_the_hash_of_the_content(made):
    for event in made.result.get_asset_materialization_events():
        shown, version = event.materialization.metadata, event.materialization.tags["dagster/data_version"]
        assert version == shown["model_hash" if event.asset_key.path == ["champion"] else "content_hash"].value


def test_every_asset_links_to_its_code(made):
    for spec in made.definitions.resolve_all_asset_specs():
        (link,) = spec.metadata["dagster/code_references"].code_references
        assert "r3pp_assets/defs" in link.file_path, spec.key


def test_validation_is_observed_as_it_comes(made):
    records = made.instance.fetch_observations(dg.AssetKey(["checkpoint", "r3"]), limit=100).records
    shown = [record.event_log_entry.asset_observation.metadata for record in records]
    assert any("val_loss" in metadata for metadata in shown)


@pytest.mark.parametrize(
    "other, said",
    [
        ({}, "nothing"),
        ({"config": {"k": 4}}, "config k"),
        ({"inputs": {"table": "2"}, "content_hash": "3" * 64}, "input table"),
        ({"code_version": "2"}, "code, version 1 to 2"),
        ({"content_hash": "3" * 64}, "other content from the same inputs and config"),
    ],
)
def test_what_changed_is_told_by_name(other, said):
    def one(context: dg.AssetExecutionContext):
        return materialization(context, manifests.pop(0), Path("somewhere"), time.monotonic())

    first = Manifest("a", "1", "f", "0" * 64, {"k": 3}, {"table": "1"}, {"rows": 2}, {}, {}, {}, {})
    manifests = [first, dataclasses.replace(first, **other)]
    asset = dg.asset(one, key="one")
    with dg.DagsterInstance.ephemeral() as instance:
        results = [dg.materialize([asset], instance=instance) for _ in range(2)]
    shown = [result.asset_materializations_for_node("one")[0].metadata for result in results]
    assert [metadata["changed_since_last"].value for metadata in shown] == ["the first one", said]
    assert ("rows_per_s" in shown[1]) == (said != "nothing")
