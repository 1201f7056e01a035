"""Each check finds what it is there for, and is silent otherwise."""

import pytest

from r3pp_core.ingest.checks import (
    MAX_LISTED,
    answerless_rows,
    picture_problems,
    raw_schema_problems,
    shared_pictures,
    unified_schema_problems,
)
from r3pp_core.jsonl import read_jsonl, write_jsonl


def test_a_raw_row_of_another_shape_is_found(own_raw_dir):
    path = own_raw_dir / "chartqa_raw_train.jsonl"
    rows = list(read_jsonl(path))
    del rows[1]["image"]
    rows[2]["answers"] = "3"
    write_jsonl(path, rows)
    assert raw_schema_problems([path]) == [
        "chartqa_raw_train.jsonl line 2 lacks image",
        "chartqa_raw_train.jsonl line 3 answers is str",
    ]


@pytest.mark.parametrize(
    "fields, problem",
    [
        ({"pseudo_text": None}, "pseudo_text is NoneType"),
        ({"ocr_conf": True}, "ocr_conf is bool"),
        ({"ocr_conf": 1.5}, "ocr_conf is 1.5, outside 0..1"),
        ({"answers": ["1", ""]}, "answers holds something that is not a non-empty string"),
        ({"answer": "2"}, "answer is not the first of answers"),
        ({"question": "  "}, "question is empty"),
    ],
)
def test_a_unified_row_of_another_shape_is_found(write_unified, fields, problem):
    path = write_unified("chartqa", "train", [("a",)])
    (row,) = read_jsonl(path)
    assert unified_schema_problems([path]) == []
    write_jsonl(path, [row | fields])
    assert unified_schema_problems([path]) == [f"chartqa_unified_train.jsonl line 1 {problem}"]


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


def test_an_answerless_row_is_found(write_unified):
    table = write_unified("chartqa", "train", [("a",), ("b", "What?", ())])
    assert answerless_rows(table) == ["chartqa/train/1"]
