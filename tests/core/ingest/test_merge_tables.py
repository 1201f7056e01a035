"""Merging copies lines byte for byte from whatever tables it is given, and reads none twice for nothing."""

import functools
import os

import numpy as np
import pytest

from r3pp_core.artefact import content_hash_of, hash_file
from r3pp_core.errors import R3Error
from r3pp_core.ingest import line_chunks, merge_keys, workers
from r3pp_core.ingest.config import MergeConfig, UnifyConfig
from r3pp_core.ingest.merge import merge_split
from r3pp_core.ingest.merge_keys import keys_path, table_keys
from r3pp_core.ingest.unify import unified_table, unify
from r3pp_core.jsonl import read_jsonl, write_jsonl

ONE = MergeConfig(
    train=["chartqa_unified_train.jsonl"], val=["chartqa_unified_val.jsonl"], test=["chartqa_unified_test.jsonl"]
)


@pytest.fixture
def unified_dir(tmp_path):
    return tmp_path / "unified"


def merged(unified_dir, split="train"):
    return (unified_dir / f"{split}.jsonl").read_bytes()


def test_tables_of_any_name_are_merged_in_the_order_of_their_list(unified_dir, write_unified):
    mine = write_unified("chartqa", "train", [("a",), ("b",)]).rename(unified_dir / "mine.jsonl")
    other = write_unified("screenqa", "train", [("c",)])
    config = MergeConfig(train=[other.name, mine.name], val=[], test=[])
    manifest = merge_split("train", unified_dir, config)
    assert merged(unified_dir) == other.read_bytes() + mine.read_bytes()
    assert list(manifest.inputs) == ["screenqa_unified_train.jsonl", "mine.jsonl"]
    merge_split("train", unified_dir, MergeConfig(train=[mine.name], val=[], test=[]))
    assert merged(unified_dir) == mine.read_bytes()


def test_named_tables_guard_as_well(unified_dir, write_unified):
    write_unified("chartqa", "train", [("a",), ("b",)])
    write_unified("chartqa", "val", [("b",)]).rename(unified_dir / "held_out.jsonl")
    manifest = merge_split("train", unified_dir, MergeConfig(train=ONE.train, val=["held_out.jsonl"], test=[]))
    assert manifest.left_out == {"picture_in_evaluation": 1}


def test_the_default_is_a_table_of_every_data_set():
    assert MergeConfig().tables("val") == [
        "screenqa_unified_val.jsonl",
        "chartqa_unified_val.jsonl",
        "infovqa_unified_val.jsonl",
    ]


def test_a_val_table_under_the_hubs_word_is_found_and_guards(unified_dir, write_unified):
    val = write_unified("infovqa", "val", [("a",), ("b",)]).rename(unified_dir / "infovqa_unified_validation.jsonl")
    write_unified("infovqa", "train", [("a",), ("c",)])
    config = MergeConfig(
        train=["infovqa_unified_train.jsonl"], val=["infovqa_unified_val.jsonl"], test=["infovqa_unified_test.jsonl"]
    )
    merge_split("val", unified_dir, config)
    assert merged(unified_dir, "val") == val.read_bytes()
    assert merge_split("train", unified_dir, config).left_out == {"picture_in_evaluation": 1}


def test_a_guard_that_is_not_there_is_said(unified_dir, write_unified):
    write_unified("chartqa", "train", [("a",)])
    write_unified("chartqa", "test", [("b",)])
    said: list[str] = []
    merge_split("train", unified_dir, ONE, said.append)
    assert said == ["merged/train: chartqa_unified_val.jsonl is not there, so train cannot be kept apart from it"]


@pytest.mark.parametrize("kept_last", [True, False])
def test_a_table_without_a_final_newline_or_with_blank_lines_merges_cleanly(unified_dir, write_unified, kept_last):
    first = write_unified("screenqa", "train", [("a",), ("b",), ("c" if kept_last else "a",)])
    second = write_unified("chartqa", "train", [("d",), ("e",)])
    clean = [line for path in (first, second) for line in path.read_bytes().splitlines(keepends=True)]
    one, two, three = first.read_bytes().splitlines(keepends=True)
    first.write_bytes(b"\n\n" + one + b"   \n" + two + b"\n" + three.rstrip(b"\n"))
    config = MergeConfig(train=[first.name, second.name], val=[], test=[])
    manifest = merge_split("train", unified_dir, config)
    assert merged(unified_dir) == b"".join(clean if kept_last else [*clean[:2], *clean[3:]])
    assert manifest.counts["rows_in"] == 5
    assert manifest.files["train.jsonl"]["sha256"] == hash_file(unified_dir / "train.jsonl")
    assert content_hash_of(unified_dir / "train.jsonl") == hash_file(unified_dir / "train.jsonl")


def test_lines_keep_their_bytes_whoever_wrote_them(unified_dir, write_unified):
    """Spaces, escapes and the order of fields are nobody's business here."""
    path = write_unified("chartqa", "train", [("a",), ("b",)])
    first, second = path.read_bytes().splitlines()
    odd = first.replace(b'":', b'" :  ').replace(b"What", b"Wh\\u0061t") + b"\r\n"
    path.write_bytes(odd + second + b"\n")
    merge_split("train", unified_dir, ONE)
    assert merged(unified_dir) == odd + second + b"\n"


def test_an_empty_table_is_merged_as_no_rows(unified_dir, write_unified):
    write_unified("screenqa", "train", [])
    path = write_unified("chartqa", "train", [("a",)])
    config = MergeConfig(train=["screenqa_unified_train.jsonl", path.name], val=[], test=[])
    assert merge_split("train", unified_dir, config).counts["rows"] == 1
    empty = MergeConfig(train=["screenqa_unified_train.jsonl"], val=[], test=[])
    assert merge_split("train", unified_dir, empty).counts["rows"] == 0
    assert merged(unified_dir) == b""


def test_no_table_at_all_is_refused_with_the_remedy(unified_dir):
    with pytest.raises(R3Error, match="train"):
        merge_split("train", unified_dir, MergeConfig(train=[]))


def test_any_number_of_processes_writes_the_same_bytes(unified_dir, write_unified, monkeypatch):
    rng = np.random.default_rng(0)
    for split, num_rows in (("train", 60), ("val", 8), ("test", 8)):
        rows = [(f"picture {rng.integers(40)}", f"Question {rng.integers(3)}?") for _ in range(num_rows)]
        write_unified("chartqa", split, rows)
    monkeypatch.setattr(merge_keys, "line_chunks", functools.partial(line_chunks.line_chunks, chunk_bytes=1000))
    manifests = []
    for num_workers in (0, 1, 2):
        monkeypatch.setattr(workers, "WORTH_PROCESSES_BYTES", 0 if num_workers else 1 << 20)
        config = ONE.model_copy(update={"num_workers": num_workers or None})
        manifests.append(merge_split("train", unified_dir, config, force=True))
    assert manifests[0] == manifests[1] == manifests[2]
    assert {"duplicate", "picture_in_evaluation"} <= set(manifests[0].left_out)


@pytest.fixture
def own_unified(raw_dir, unified_dir):
    """What unify made of `raw_dir`, with the keys that it keeps beside each table."""
    unify("chartqa", raw_dir, unified_dir, UnifyConfig(ocr="none"))
    return unified_dir


@pytest.fixture
def read_tables(monkeypatch):
    """The names of the tables whose lines are read for their keys."""
    names: list[str] = []
    chunk_keys = merge_keys.chunk_keys

    def noted(task):
        names.append(task[1].path.name)
        return chunk_keys(task)

    monkeypatch.setattr(merge_keys, "chunk_keys", noted)
    return names


def test_the_keys_that_unify_kept_are_those_that_reading_gives(own_unified, tmp_path, read_tables):
    tables = [unified_table(own_unified, "chartqa", split) for split in ("train", "val", "test")]
    kept = table_keys(tables, ["screenqa", "chartqa"])
    assert read_tables == []
    for table in tables:
        (tmp_path / table.name).write_bytes(table.read_bytes())
    fresh = table_keys([tmp_path / table.name for table in tables], ["screenqa", "chartqa"])
    assert read_tables == [table.name for table in tables]
    for one, other in zip(kept, fresh, strict=True):
        assert len(one) > 0
        assert np.array_equal(one, other)


def test_a_table_of_unify_is_not_read_for_its_keys_and_gives_its_lines(own_unified, read_tables):
    merge_split("train", own_unified, ONE)
    assert read_tables == []
    assert merged(own_unified) == unified_table(own_unified, "chartqa", "train").read_bytes()


def without_first_row(table):
    rows = list(read_jsonl(table))
    write_jsonl(table, rows[1:])


def with_another_question_of_the_same_length(table):
    """Which makes the first row a repetition of the second."""
    first, second, *others = read_jsonl(table)
    assert len(first["question"]) == len(second["question"])
    write_jsonl(table, [{**first, "question": second["question"]}, second, *others])


@pytest.mark.parametrize("change", [without_first_row, with_another_question_of_the_same_length])
def test_a_table_that_was_changed_by_hand_is_read_again(own_unified, read_tables, change):
    table = unified_table(own_unified, "chartqa", "train")
    change(table)
    merge_split("train", own_unified, ONE)
    assert read_tables == [table.name], "and the guards are as unify left them"
    ids = [row["id"] for row in read_jsonl(own_unified / "train.jsonl")]
    rejected = [row["id"] for row in read_jsonl(own_unified / "train.rejected.jsonl")]
    assert sorted(ids + rejected) == [row["id"] for row in read_jsonl(table)]


def test_a_table_broken_by_hand_is_found_although_its_keys_are_kept(own_unified):
    table = unified_table(own_unified, "chartqa", "train")
    table.write_bytes(table.read_bytes().replace(b'"answers"', b'"unasked"', 1))
    with pytest.raises(R3Error, match=r"chartqa_unified_train.jsonl line 1: Object"):
        merge_split("train", own_unified, ONE)


@pytest.mark.parametrize("damage", [os.unlink, lambda path: path.write_bytes(b"\x93NUMPY")])
def test_keys_that_are_lost_or_damaged_are_not_missed(own_unified, read_tables, damage):
    table = unified_table(own_unified, "chartqa", "train")
    damage(keys_path(table))
    merge_split("train", own_unified, ONE)
    assert read_tables == [table.name]
    assert merged(own_unified) == table.read_bytes()
