"""The runbook's rows by hand, from Parquet to indices, on a very small sample."""

import contextlib
import json
import shutil

import pytest

from r3pp_core.cli import main
from r3pp_core.jsonl import read_jsonl
from r3pp_core.sample.artefact import ensure_sample
from r3pp_core.sample.config import SampleConfig

SMALL = "--source source --max-rows 12 --num-workers 1"
ROWS = f"""
download-models --out_dir models --profile sample
download screenqa --out_dir data/raw/screenqa {SMALL}
download chartqa --out-dir data/raw/chartqa {SMALL}
download infovqa --out_dir data/raw/infovqa {SMALL}
ocr --dataset screenqa --raw_dir data/raw/screenqa --num_workers 1 --num_processes 2
unify --dataset screenqa --raw_dir data/raw/screenqa --out_dir data/unified --image_prefix screenqa
unify --dataset chartqa --raw_dir data/raw/chartqa --out_dir data/unified --image_prefix chartqa --ocr none
unify --dataset infovqa --raw-dir data/raw --out-dir data/unified --image-prefix infovqa
merge --unified_dir data/unified
index --jsonl data/unified/train.jsonl --image_root data/raw --out_dir indices
""".strip().splitlines()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """The workspace after every row of the runbook ended with code 0."""
    root = tmp_path_factory.mktemp("workspace")
    ensure_sample(root / "source", SampleConfig(num_screens=6, num_charts=6, num_infographics=6))
    with contextlib.chdir(root):
        for line in ROWS:
            assert main(line.split()) == 0, line
    return root


@pytest.fixture
def inside(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    return workspace


def test_every_path_of_the_runbook_is_there(workspace):
    for path in (
        "models/clip/config.json",
        "models/minilm/model.safetensors",
        "models/backbone/tokenizer.json",
        "data/raw/chartqa/images/validation_0.png",
        "data/raw/screenqa/screenqa_raw_val.jsonl",
        "data/raw/screenqa/ocr.jsonl",
        "data/raw/infovqa/ocr.jsonl",
        "data/unified/infovqa_unified_test.jsonl",
        "data/unified/train.jsonl",
        "data/unified/val.jsonl",
        "data/unified/test.jsonl",
        "indices/text/manifest.json",
        "indices/image/manifest.json",
    ):
        assert (workspace / path).is_file(), path


def test_the_screens_were_read_by_launched_ranks_and_the_infographics_by_this_process(workspace):
    for dataset, num_ranks in (("screenqa", 2), ("infovqa", 1)):
        files = {path.name for path in workspace.glob(f"data/raw/{dataset}/.ocr_cache/rapidocr*/*.jsonl")}
        assert files, dataset
        assert files <= {f"rank{rank}of{num_ranks}.jsonl" for rank in range(num_ranks)}


def test_what_was_read_stands_in_the_merged_rows_and_what_was_not_does_not(workspace):
    texts: dict[str, set[bool]] = {"screenqa": set(), "chartqa": set(), "infovqa": set()}
    for row in read_jsonl(workspace / "data/unified/train.jsonl"):
        texts[row["dataset"]].add(bool(row["pseudo_text"]))
        assert (workspace / "data/raw" / row["image_path"]).is_file()
    assert texts == {"screenqa": {True}, "chartqa": {False}, "infovqa": {True}}


def test_hidden_test_answers_are_rows_of_the_unified_table_and_not_of_the_merged_one(workspace):
    hidden = list(read_jsonl(workspace / "data/unified/infovqa_unified_test.jsonl"))
    assert [row["answers"] for row in hidden] == [[]] * 12
    assert {row["dataset"] for row in read_jsonl(workspace / "data/unified/test.jsonl")} == {"screenqa", "chartqa"}


def test_the_indices_hold_each_train_picture_once(workspace):
    pictures = {row["image_sha256"] for row in read_jsonl(workspace / "data/unified/train.jsonl")}
    for kind in ("text", "image"):
        manifest = json.loads((workspace / "indices" / kind / "manifest.json").read_text())
        assert manifest["counts"]["pictures"] == len(pictures)


@pytest.mark.parametrize("line", [line for line in ROWS if not line.startswith(("index", "download-models"))])
def test_a_second_run_of_a_row_does_nothing_and_says_so(inside, r3pp, line):
    said = r3pp(line)
    assert said.code == 0
    assert "nothing to do" in said.out


def test_the_runbooks_literal_cat_gives_a_table_that_can_be_indexed(inside, r3pp, tmp_path):
    tables = [inside / "data/unified" / f"{name}_unified_train.jsonl" for name in ("screenqa", "chartqa", "infovqa")]
    (tmp_path / "train.jsonl").write_bytes(b"".join(table.read_bytes() for table in tables))
    said = r3pp(f"index --jsonl {tmp_path}/train.jsonl --image_root data/raw --out_dir {tmp_path}/indices")
    assert said.code == 0
    assert "index/image: " in said.out


def test_a_picture_that_went_after_unify_fails_the_index_and_is_named(inside, r3pp, tmp_path):
    shutil.copytree(inside / "data/raw", tmp_path / "raw")
    row = next(read_jsonl(inside / "data/unified/train.jsonl"))
    (tmp_path / "raw" / row["image_path"]).unlink()
    said = r3pp(f"index --jsonl data/unified/train.jsonl --image_root {tmp_path}/raw --out_dir {tmp_path}/indices")
    rejected = tmp_path / "indices/image/rejected.jsonl"
    assert said.code == 1
    assert f"1 pictures are gone or changed, named in {rejected}" in said.err
    assert [line["image_path"] for line in read_jsonl(rejected)] == [row["image_path"]]


def test_rejected_rows_are_said(inside, r3pp):
    said = r3pp("merge --unified_dir data/unified --splits test")
    assert "left out: answer_missing 12" in said.out
