"""A data set that nobody has thought of yet needs a DatasetSpec and nothing else."""

import pytest
from hub_files import picture, row

from r3pp_core.datasets.registry import DATASETS
from r3pp_core.datasets.spec import DatasetSpec, HubSource
from r3pp_core.errors import UsageError
from r3pp_core.ingest.config import MergeConfig, UnifyConfig
from r3pp_core.ingest.merge import merge_split
from r3pp_core.ingest.unify import unify
from r3pp_core.jsonl import read_jsonl

MAPS = DatasetSpec(
    name="maps",
    title="Maps",
    sources={
        "train": HubSource("nobody/maps", "main", "data", "train"),
        "val": HubSource("nobody/maps", "main", "data", "dev"),
    },
    question=("ask",),
    answers=("reply",),
    metric="anls",
    prompt="Answer in a word.",
    image=("map",),
    meta={"scale": ("scale", "ratio")},
)


@pytest.fixture
def maps(monkeypatch):
    monkeypatch.setitem(DATASETS, "maps", MAPS)


def map_row(number, question, reply="42"):
    line = row(picture(number), question)
    return {"map": line["image"]["bytes"], "ask": question, "reply": reply, "ratio": number}


def write_maps(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "maps" / "data").mkdir(parents=True)
    tables = {
        "train": [map_row(0, "Where?"), map_row(1, "Which?"), map_row(2, "Who?", None)],
        "dev": [map_row(1, "How?")],
    }
    for split, rows in tables.items():
        pq.write_table(pa.Table.from_pylist(rows), folder / "maps" / "data" / f"{split}-00000-of-00001.parquet")


def test_a_fourth_data_set_goes_from_parquet_to_the_merged_tables(maps, fetch, tmp_path):
    write_maps(tmp_path)
    raw_dir, unified_dir = tmp_path / "raw" / "maps", tmp_path / "unified"
    raw = fetch(tmp_path, raw_dir, "maps")
    assert (raw.stage, raw.counts["rows_train"], raw.counts["rows_val"]) == ("raw/maps", 3, 1)
    unified = unify("maps", raw_dir, unified_dir, UnifyConfig(ocr="none"))
    assert unified.left_out == {"answer_missing": 1}
    config = MergeConfig(train=["maps_unified_train.jsonl"], val=["maps_unified_val.jsonl"], test=[])
    merged = merge_split("train", unified_dir, config)
    assert (merged.counts["rows_maps"], merged.left_out) == (1, {"picture_in_evaluation": 1})
    (only,) = read_jsonl(unified_dir / "train.jsonl")
    assert (only["dataset"], only["id"], only["meta"]) == ("maps", "maps/train/0", {"scale": 0})
    assert only["image_path"] == "maps/images/train_0.png"
    assert merge_split("val", unified_dir, config).counts["rows_maps"] == 1


def test_it_is_merged_with_the_others_each_under_its_own_name(maps, fetch, raw_dir, tmp_path):
    """The keys that unify keeps beside a table know nothing of the registry's order."""
    write_maps(tmp_path)
    fetch(tmp_path, tmp_path / "maps_raw", "maps")
    unify("maps", tmp_path / "maps_raw", tmp_path / "unified", UnifyConfig(ocr="none"))
    unify("chartqa", raw_dir, tmp_path / "unified", UnifyConfig(ocr="none"))
    config = MergeConfig(train=["maps_unified_train.jsonl", "chartqa_unified_train.jsonl"], val=[], test=[])
    counts = merge_split("train", tmp_path / "unified", config).counts
    assert (counts["rows_maps"], counts["rows_chartqa"], counts["rows"]) == (2, 4, 6)
    assert {line["dataset"] for line in read_jsonl(tmp_path / "unified" / "train.jsonl")} == {"maps", "chartqa"}


def test_a_split_that_it_does_not_have_is_passed_over_unless_it_is_the_only_one(maps, fetch, tmp_path):
    write_maps(tmp_path)
    assert "rows_test" not in fetch(tmp_path, tmp_path / "raw", "maps", splits=["val", "test"]).counts
    with pytest.raises(UsageError, match="maps has no split test: choose from train, val"):
        fetch(tmp_path, tmp_path / "other", "maps", splits=["test"])
