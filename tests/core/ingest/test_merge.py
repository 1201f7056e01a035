"""One table a split, with evaluation kept out of training and every omission counted."""

import pytest

from r3pp_core.errors import R3Error, UsageError
from r3pp_core.ingest.config import MergeConfig
from r3pp_core.ingest.merge import merge_split
from r3pp_core.jsonl import read_jsonl, write_jsonl


def of(*datasets):
    """The tables of these data sets, in this order."""
    return MergeConfig(
        **{split: [f"{name}_unified_{split}.jsonl" for name in datasets] for split in ("train", "val", "test")}
    )


TWO = of("screenqa", "chartqa")
ONE = of("chartqa")


def ids(tmp_path, split="train"):
    return [row["id"] for row in read_jsonl(tmp_path / "unified" / f"{split}.jsonl")]


def rejected(tmp_path, split="train"):
    return {row["id"]: row["reason"] for row in read_jsonl(tmp_path / "unified" / f"{split}.rejected.jsonl")}


def test_data_sets_follow_each_other_in_the_given_order(tmp_path, write_unified):
    write_unified("chartqa", "train", [("a",), ("b",)])
    write_unified("screenqa", "train", [("c",)])
    manifest = merge_split("train", tmp_path / "unified", TWO)
    assert ids(tmp_path) == ["screenqa/train/0", "chartqa/train/0", "chartqa/train/1"]
    assert manifest.counts == {
        "rows_in": 3,
        "rows": 3,
        "rows_screenqa": 1,
        "rows_chartqa": 2,
        "pictures": 3,
        "rows_without_phash": 3,
        "pictures_alike_in_evaluation": 0,
    }
    merge_split("train", tmp_path / "unified", of("chartqa", "screenqa"))
    assert ids(tmp_path) == ["chartqa/train/0", "chartqa/train/1", "screenqa/train/0"]


def test_merging_is_what_cat_gives_when_nothing_is_left_out(tmp_path, write_unified):
    tables = [write_unified("screenqa", "val", [("a",), ("b",)]), write_unified("chartqa", "val", [("c",)])]
    merge_split("val", tmp_path / "unified", TWO)
    assert (tmp_path / "unified" / "val.jsonl").read_bytes() == b"".join(table.read_bytes() for table in tables)


def test_the_same_question_about_the_same_picture_is_kept_once(tmp_path, write_unified):
    write_unified("screenqa", "train", [("a", "How many?"), ("b", "How many?"), ("a", "Who?")])
    write_unified("chartqa", "train", [("a", " how  MANY?")])
    manifest = merge_split("train", tmp_path / "unified", TWO)
    assert rejected(tmp_path) == {"chartqa/train/0": "duplicate"}
    assert (manifest.counts["rows_in"], manifest.counts["rows"]) == (4, 3)
    assert manifest.left_out == {"duplicate": 1}


def test_a_train_row_whose_picture_is_evaluated_in_any_data_set_is_left_out(tmp_path, write_unified):
    write_unified("screenqa", "train", [("a",), ("b",), ("c",)])
    write_unified("chartqa", "train", [("d",)])
    write_unified("screenqa", "val", [("d",)])
    write_unified("chartqa", "test", [("b", "Hidden?", ())])
    manifest = merge_split("train", tmp_path / "unified", TWO)
    assert rejected(tmp_path) == {
        "screenqa/train/1": "picture_in_evaluation",
        "chartqa/train/0": "picture_in_evaluation",
    }
    assert manifest.left_out == {"picture_in_evaluation": 2}


def test_a_test_row_whose_picture_is_in_val_is_left_out(tmp_path, write_unified):
    write_unified("chartqa", "test", [("a",), ("b",)])
    write_unified("chartqa", "val", [("a",)])
    merge_split("test", tmp_path / "unified", ONE)
    assert rejected(tmp_path, "test") == {"chartqa/test/0": "picture_in_val"}


def test_answerless_test_rows_are_left_out_and_counted(tmp_path, write_unified):
    write_unified("chartqa", "test", [("a", "What?", ()), ("b",)])
    manifest = merge_split("test", tmp_path / "unified", ONE)
    assert ids(tmp_path, "test") == ["chartqa/test/1"]
    assert manifest.left_out == {"answer_missing": 1}


def test_a_second_run_does_nothing_until_a_table_or_a_guard_changes(tmp_path, write_unified):
    write_unified("chartqa", "train", [("a",), ("b",)])
    said: list[str] = []
    first = merge_split("train", tmp_path / "unified", ONE)
    assert merge_split("train", tmp_path / "unified", ONE, said.append) == first
    assert "nothing to do" in said[-1]
    write_unified("chartqa", "val", [("b",)])
    assert merge_split("train", tmp_path / "unified", ONE).left_out == {"picture_in_evaluation": 1}


def test_the_splits_are_artefacts_of_their_own(tmp_path, write_unified):
    write_unified("chartqa", "train", [("a",)])
    write_unified("chartqa", "val", [("b",)])
    for split in ("train", "val"):
        merge_split(split, tmp_path / "unified", ONE)
    assert ids(tmp_path) == ["chartqa/train/0"]
    assert ids(tmp_path, "val") == ["chartqa/val/0"]
    assert (tmp_path / "unified" / "train.manifest.json").is_file()


def test_a_missing_table_is_named_with_its_command(tmp_path, write_unified):
    write_unified("screenqa", "train", [("a",)])
    with pytest.raises(R3Error, match=r"chartqa_unified_train.jsonl does not exist; run `r3pp unify --dataset chartqa"):
        merge_split("train", tmp_path / "unified", TWO)
    assert not (tmp_path / "unified" / "train.jsonl").exists()


@pytest.mark.parametrize("broken", ["train", "val"], ids=["the table itself", "a table it is guarded by"])
@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda row: row.pop("image_sha256"), "line 2: Object missing required field `image_sha256`"),
        (lambda row: row.update(answer="other"), "line 2: answer is not the first of answers"),
        (lambda row: row.update(ocr_conf=80), r"line 2: Expected `float` <= 1.0 - at `\$.ocr_conf`"),
        (lambda row: row.update(question=" "), "line 2: question is empty"),
        (lambda row: row.update(hint="42"), "line 2: Object contains unknown field `hint`"),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path, write_unified, broken, damage, words):
    for split in ("train", "val"):
        write_unified("chartqa", split, [(f"{split} a",), (f"{split} b",)])
    path = tmp_path / "unified" / f"chartqa_unified_{broken}.jsonl"
    rows = list(read_jsonl(path))
    damage(rows[1])
    write_jsonl(path, rows)
    with pytest.raises(
        R3Error, match=rf"chartqa_unified_{broken}.jsonl {words}; make the table again with `r3pp unify`"
    ):
        merge_split("train", tmp_path / "unified", ONE)
    assert not (tmp_path / "unified" / "train.jsonl").exists()


def test_a_row_of_an_unregistered_data_set_is_named_by_file_and_line(tmp_path, write_unified):
    path = write_unified("chartqa", "train", [("a",), ("b",)])
    first, second = read_jsonl(path)
    write_jsonl(path, [first, {**second, "dataset": "mnist"}])
    with pytest.raises(R3Error, match=r"chartqa_unified_train.jsonl line 2 is of data set 'mnist', which is not regis"):
        merge_split("train", tmp_path / "unified", ONE)


def test_an_unknown_split_or_a_table_elsewhere_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="unknown split 'dev': choose one of train, val, test"):
        merge_split("dev", tmp_path)
    for name in ("../mine.jsonl", "/tmp/mine.jsonl", "sub/mine.jsonl"):
        with pytest.raises(UsageError, match=f"table '{name}' is not the name of a file in"):
            merge_split("train", tmp_path, MergeConfig(train=[name]))
    assert list(tmp_path.iterdir()) == []
