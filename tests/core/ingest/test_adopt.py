"""A folder that the runbook's own scripts filled is validated and kept."""

import shutil

import pytest
from hub_files import picture

from r3pp_core.artefact import read_manifest
from r3pp_core.errors import R3Error
from r3pp_core.ingest.config import DownloadConfig
from r3pp_core.ingest.download import download, is_current, raw_target
from r3pp_core.jsonl import read_jsonl, write_jsonl

NO_SOURCE = DownloadConfig(source="there is no such folder")


@pytest.fixture
def runbook_dir(tmp_path):
    """Two pictures and a torn one; tables with the runbook's columns and no manifest."""
    folder = tmp_path / "chartqa"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "train_0.png").write_bytes(picture(0))
    (folder / "images" / "train_1.png").write_bytes(b"torn")
    (folder / "images" / "validation_0.png").write_bytes(picture(1))
    train = [
        {"image": "images/train_0.png", "query": "One?", "label": ["1", "one"], "human_or_machine": 1},
        {"image": "data/raw/chartqa/images/train_0.png", "query": "Two?", "label": "2", "human_or_machine": 0},
        {"image": "images/train_1.png", "query": "Torn?", "label": ["3"], "human_or_machine": 0},
        {"image": "../../../etc/passwd", "query": "Away?", "label": ["4"], "human_or_machine": 0},
    ]
    write_jsonl(folder / "chartqa_raw_train.jsonl", train)
    write_jsonl(
        folder / "chartqa_raw_validation.jsonl", [{"image": "validation_0.png", "question": "V?", "answer": "v"}]
    )
    return folder


def test_it_is_adopted_with_its_pictures_where_they_are(runbook_dir):
    manifest = download("chartqa", runbook_dir, NO_SOURCE)
    assert manifest.details == {"adopted": True}
    assert (manifest.counts["rows_train"], manifest.counts["rows_val"], manifest.counts["rows_in"]) == (2, 1, 5)
    assert manifest.left_out == {"picture_undecodable": 1, "picture_missing": 1}
    rows = list(read_jsonl(runbook_dir / "chartqa_raw_train.jsonl"))
    assert [(row["image"], row["question"], row["answers"]) for row in rows] == [
        ("images/train_0.png", "One?", ["1", "one"]),
        ("images/train_0.png", "Two?", ["2"]),
    ]
    assert rows[0]["meta"] == {"human_or_machine": 1}
    assert (runbook_dir / "images" / "train_0.png").read_bytes() == picture(0)
    assert next(read_jsonl(runbook_dir / "chartqa_raw_val.jsonl"))["answers"] == ["v"]


def test_the_runbooks_own_tables_stay_readable_beside_ours(runbook_dir):
    before = (runbook_dir / "chartqa_raw_train.jsonl").read_bytes()
    download("chartqa", runbook_dir, NO_SOURCE)
    assert (runbook_dir / "chartqa_raw_train.jsonl.runbook").read_bytes() == before


def test_it_is_never_downloaded_again_by_a_later_run(runbook_dir):
    said: list[str] = []
    adopted = download("chartqa", runbook_dir, NO_SOURCE)
    assert download("chartqa", runbook_dir, NO_SOURCE, said.append) == adopted
    assert "was adopted, nothing to do" in said[-1]
    assert download("chartqa", runbook_dir, DownloadConfig()) == adopted
    assert is_current("chartqa", runbook_dir, NO_SOURCE)


def test_force_downloads_it_anew(runbook_dir, hub, fetch):
    download("chartqa", runbook_dir, NO_SOURCE)
    manifest = fetch(hub, runbook_dir, force=True)
    assert "adopted" not in manifest.details
    assert manifest.counts["rows_in"] == 13
    assert not (runbook_dir / "chartqa_raw_train.jsonl.runbook").exists()


def test_a_table_without_a_needed_column_is_named_and_left_alone(runbook_dir):
    path = runbook_dir / "chartqa_raw_train.jsonl"
    write_jsonl(path, [*list(read_jsonl(path))[:1], {"image": "train_0.png", "frage": "?", "label": ["1"]}])
    before = path.read_bytes()
    with pytest.raises(
        R3Error, match=r"chartqa_raw_train.jsonl line 2: .*no question column.*found image, frage, label"
    ):
        download("chartqa", runbook_dir, NO_SOURCE)
    assert path.read_bytes() == before
    assert read_manifest(raw_target(runbook_dir)) is None


def test_a_folder_without_pictures_rejects_its_rows(runbook_dir):
    shutil.rmtree(runbook_dir / "images")
    manifest = download("chartqa", runbook_dir, NO_SOURCE)
    assert manifest.counts["rows"] == 0
    assert manifest.left_out == {"picture_missing": 5}


def test_a_line_that_is_no_json_object_is_left_out_and_counted(runbook_dir):
    path = runbook_dir / "chartqa_raw_train.jsonl"
    path.write_text("{torn\n[1]\n" + path.read_text())
    manifest = download("chartqa", runbook_dir, NO_SOURCE)
    assert (manifest.counts["rows_train"], manifest.counts["rows_in"]) == (2, 7)
    assert manifest.left_out["not_json"] == 2
    rejected = list(read_jsonl(runbook_dir / "rejected.jsonl"))
    assert [row["id"] for row in rejected if row["reason"] == "not_json"] == ["chartqa/train/0", "chartqa/train/1"]


def test_pictures_of_one_name_in_two_folders_are_two(runbook_dir):
    for number, folder in enumerate("ab"):
        (runbook_dir / "images" / folder).mkdir()
        (runbook_dir / "images" / folder / "0.png").write_bytes(picture(number))
    paths = ["images/a/0.png", "data/images/b/0.png", "/home/x/raw/images/a/0.png"]
    write_jsonl(
        runbook_dir / "chartqa_raw_train.jsonl", [{"image": path, "query": "?", "label": "1"} for path in paths]
    )
    manifest = download("chartqa", runbook_dir, NO_SOURCE)
    rows = list(read_jsonl(runbook_dir / "chartqa_raw_train.jsonl"))
    assert [row["image"] for row in rows] == ["images/a/0.png", "images/b/0.png", "images/a/0.png"]
    assert rows[0]["image_sha256"] != rows[1]["image_sha256"]
    assert manifest.counts["pictures"] == 3


def test_a_name_that_stands_for_two_paths_is_not_guessed(runbook_dir):
    """images/train_0.png may be either."""
    (runbook_dir / "chartqa_raw_validation.jsonl").unlink()
    paths = ["a/train_0.png", "b/train_0.png", "c/validation_0.png"]
    write_jsonl(
        runbook_dir / "chartqa_raw_train.jsonl", [{"image": path, "query": "?", "label": "1"} for path in paths]
    )
    manifest = download("chartqa", runbook_dir, NO_SOURCE)
    assert manifest.left_out == {"picture_missing": 2}
    assert next(read_jsonl(runbook_dir / "chartqa_raw_train.jsonl"))["image"] == "images/validation_0.png"
