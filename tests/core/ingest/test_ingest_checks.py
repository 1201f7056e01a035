"""Each check finds what it is there for, and is silent otherwise."""

import dataclasses

import pytest
from hub_files import torn_inside

from r3pp_core.artefact import require_manifest
from r3pp_core.ingest import checks
from r3pp_core.ingest.checks import (
    MAX_LISTED,
    answerless_rows,
    near_shared_pictures,
    picture_problems,
    picture_size_problems,
    raw_schema_problems,
    rejected_share,
    row_count_problems,
    shared_pictures,
    unified_schema_problems,
    whole_picture_problems,
)
from r3pp_core.ingest.download import raw_target
from r3pp_core.jsonl import read_jsonl, write_jsonl


def test_a_raw_row_of_another_shape_is_found(own_raw_dir):
    path = own_raw_dir / "chartqa_raw_train.jsonl"
    rows = list(read_jsonl(path))
    del rows[1]["image"]
    rows[2]["answers"] = "3"
    write_jsonl(path, rows)
    assert raw_schema_problems([path]) == [
        "chartqa_raw_train.jsonl line 2: Object missing required field `image`",
        "chartqa_raw_train.jsonl line 3: Expected `array`, got `str` - at `$.answers`",
    ]


def test_a_line_that_is_no_json_is_found_by_its_number(own_raw_dir):
    path = own_raw_dir / "chartqa_raw_train.jsonl"
    path.write_bytes(b"\n" + path.read_bytes() + b'{"id": "torn')
    (problem,) = raw_schema_problems([path])
    assert problem.startswith("chartqa_raw_train.jsonl line 8: Input data was truncated")


@pytest.mark.parametrize(
    "fields, problem",
    [
        ({"pseudo_text": None}, "Expected `str`, got `null` - at `$.pseudo_text`"),
        ({"ocr_conf": True}, "Expected `float | null`, got `bool` - at `$.ocr_conf`"),
        ({"ocr_conf": 1.5}, "Expected `float` <= 1.0 - at `$.ocr_conf`"),
        ({"answers": ["1", ""]}, "Expected `str` of length >= 1 - at `$.answers[1]`"),
        ({"answer": "2"}, "answer is not the first of answers"),
        ({"question": "  "}, "question is empty"),
    ],
)
def test_a_unified_row_of_another_shape_is_found(write_unified, fields, problem):
    path = write_unified("chartqa", "train", [("a",)])
    (row,) = read_jsonl(path)
    assert unified_schema_problems([path]) == []
    write_jsonl(path, [row | fields])
    assert unified_schema_problems([path]) == [f"chartqa_unified_train.jsonl line 1: {problem}"]


def test_the_list_of_problems_has_an_end(write_unified):
    path = write_unified("chartqa", "train", [{"id": str(i)} for i in range(MAX_LISTED + 5)])
    assert len(unified_schema_problems([path])) == MAX_LISTED


def test_missing_torn_and_escaping_pictures_are_found(own_raw_dir):
    path = own_raw_dir / "chartqa_raw_train.jsonl"
    rows = list(read_jsonl(path))
    rows.append({**rows[0], "image": "../../../../etc/passwd"})
    write_jsonl(path, rows)
    (own_raw_dir / "images" / "train_1.png").unlink()
    (own_raw_dir / "images" / "train_3.png").write_bytes(b"torn")
    gone, torn, away = picture_problems([path], own_raw_dir, "image")
    assert "train_1.png does not exist" in gone
    assert "train_3.png is in no known picture format" in torn
    assert "leads out of" in away


def test_a_picture_of_train_and_evaluation_is_found_by_its_bytes(write_unified):
    train = write_unified("chartqa", "train", [("a",), ("b",)])
    assert shared_pictures(train, write_unified("chartqa", "val", [("c",)])) == []
    assert shared_pictures(train, write_unified("chartqa", "val", [("c",), ("b",), ("b",)])) == [
        "chartqa/images/val_1.png",
        "chartqa/images/val_2.png",
    ]


def test_a_lost_row_is_found_in_the_tables_and_in_the_manifests_own_sum(own_raw_dir):
    manifest = require_manifest(raw_target(own_raw_dir), "make it")
    tables = sorted(own_raw_dir.glob("chartqa_raw_*.jsonl"))
    assert row_count_problems(manifest, tables) == []
    fewer = dataclasses.replace(manifest, left_out={"picture_missing": 1})
    assert row_count_problems(fewer, tables) == ["13 rows went in, 10 came out, 1 were left out"]
    tables[0].write_bytes(tables[0].read_bytes().partition(b"\n")[2])
    assert row_count_problems(manifest, tables) == ["the tables hold 9 rows, the manifest says 10"]


def test_the_rejected_share_is_of_what_went_in_but_for_what_is_ignored(raw_dir):
    manifest = require_manifest(raw_target(raw_dir), "make it")
    assert rejected_share(manifest) == 3 / 13
    assert rejected_share(manifest, ["picture_missing"]) == 1 / 13
    assert rejected_share(manifest, ["picture_missing", "picture_undecodable"]) == 0
    without = {name: count for name, count in manifest.counts.items() if name != "rows_in"}
    assert rejected_share(dataclasses.replace(manifest, counts=without)) == 3 / 13


def test_a_picture_that_is_not_whole_is_found_without_decoding_it(own_raw_dir):
    path = own_raw_dir / "chartqa_raw_train.jsonl"
    images = own_raw_dir / "images"
    assert whole_picture_problems([path], own_raw_dir, "image") == []
    (images / "train_0.png").write_bytes(torn_inside())
    assert whole_picture_problems([path], own_raw_dir, "image") == [], "its checksums are right"
    (images / "train_1.png").unlink()
    (images / "train_3.png").write_bytes((images / "train_3.png").read_bytes()[:-4])
    (images / "train_4.png").write_bytes(b"no picture at all")
    gone, short, none = whole_picture_problems([path], own_raw_dir, "image")
    assert gone == "images/train_1.png: No such file or directory"
    assert short.startswith("images/train_3.png: the PNG ends within a chunk")
    assert none.startswith("images/train_4.png: ")


def test_many_pictures_are_opened_by_processes_with_the_same_result(own_raw_dir, monkeypatch):
    monkeypatch.setattr(checks, "WORTH_PROCESSES_BYTES", 0)
    path = own_raw_dir / "chartqa_raw_train.jsonl"
    (own_raw_dir / "images" / "train_3.png").write_bytes(b"torn")
    (problem,) = picture_problems([path], own_raw_dir, "image")
    assert "train_3.png is in no known picture format" in problem


def test_a_picture_too_large_or_too_narrow_is_found_by_its_size(tmp_path):
    sizes = {"whole": (200, 1), "narrow": (201, 1), "flat": (1, 300), "large": (1000, 1001), "no": (0, 0)}
    lines = [{"image_path": name, "width": width, "height": height} for name, (width, height) in sizes.items()]
    write_jsonl(tmp_path / "ocr.jsonl", lines)
    assert picture_size_problems(tmp_path / "ocr.jsonl", max_pixels=1_000_000) == [
        "narrow has 201 x 1 pixels",
        "flat has 1 x 300 pixels",
        "large has 1000 x 1001 pixels",
    ]


def test_a_train_row_about_a_nearly_equal_picture_is_found(write_unified):
    look, nearly = "a5" * 32, "a4" + "a5" * 31
    train = write_unified("chartqa", "train", [("a", "Who?", ("1",), nearly), ("b", "What?", ("1",), nearly), ("c",)])
    apart = write_unified("chartqa", "val", [("d", "When?", ("1",), look), ("e", "What?")])
    assert near_shared_pictures(train, apart, ["chartqa"]) == []
    near = write_unified("chartqa", "val", [("d", "what?", ("1",), look)])
    assert near_shared_pictures(train, near, ["chartqa"]) == ["chartqa/train/1"]


def test_an_answerless_row_is_found(write_unified):
    table = write_unified("chartqa", "train", [("a",), ("b", "What?", ())])
    assert answerless_rows(table) == ["chartqa/train/1"]
