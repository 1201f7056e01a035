"""A table in a few numbers, and how far two of them are apart."""

import functools

import pytest

from r3pp_core.ingest import line_chunks, profile, workers
from r3pp_core.ingest.profile import answer_type, distance, drift, profile_plot, table_profile
from r3pp_core.jsonl import read_jsonl, write_jsonl


@pytest.fixture
def table(write_unified):
    rows = [
        ("a", "Who?", ("yes",)),
        ("b", "How many are there here?", ("1,200", "1200")),
        ("c", "What is the name of the shop on the left?", ("Corner Shop",)),
        ("d", "What is the name of the shop on the right?", ("<no answer>",)),
        ("e", "Hidden?", ()),
        ("f", " ".join(["word"] * 30), ("nowhere",)),
    ]
    path = write_unified("chartqa", "train", rows)
    lines = list(read_jsonl(path))
    lines[1]["pseudo_text"] = "in all 1200"
    lines[2]["pseudo_text"] = "the CORNER SHOP"
    lines[3]["dataset"] = "screenqa"
    write_jsonl(path, lines)
    return path


def test_rows_are_counted_by_data_set_length_and_type_of_answer(table):
    found = table_profile(table)
    assert found.num_rows == 6
    assert found.datasets == {"chartqa": 5, "screenqa": 1}
    words = {"1 to 4": 2, "5 to 8": 1, "9 to 12": 2, "13 to 16": 0, "17 to 24": 0, "25 or more": 1}
    assert found.question_words == words
    assert found.answer_types == {"yes or no": 1, "number": 1, "text": 2, "no answer": 1, "hidden": 1}
    assert found.answer_in_text == 2 / 3, "of the number and the two texts, in whatever case"


def test_the_profile_is_the_same_from_processes_and_small_chunks(table, monkeypatch):
    whole = table_profile(table)
    monkeypatch.setattr(profile, "line_chunks", functools.partial(line_chunks.line_chunks, chunk_bytes=500))
    monkeypatch.setattr(workers, "WORTH_PROCESSES_BYTES", 0)
    assert table_profile(table) == whole


@pytest.mark.parametrize(
    "answers, kind",
    [
        (["No"], "yes or no"),
        (["$3.50"], "number"),
        (["-12 %"], "number"),
        (["10:30"], "number"),
        (["..."], "text"),
        (["7 shops"], "text"),
        ([" <NO ANSWER> "], "no answer"),
        ([], "hidden"),
        (["text", "7"], "text"),
    ],
)
def test_the_type_of_an_answer_is_that_of_the_first(answers, kind):
    assert answer_type(answers) == kind


def test_an_empty_table_has_a_profile(write_unified):
    found = table_profile(write_unified("chartqa", "train", []))
    assert (found.num_rows, found.answer_in_text) == (0, 0)


def test_distance_is_the_share_of_rows_that_would_have_to_move():
    assert distance({"a": 3, "b": 1}, {"a": 30, "b": 10}) == 0
    assert distance({"a": 3, "b": 1}, {"a": 2, "b": 2}) == 0.25
    assert distance({"a": 3}, {"b": 5}) == 1


def test_drift_names_what_moved_and_how_far(table):
    before = table_profile(table).as_json()
    assert set(drift(before, before).values()) == {0}
    write_jsonl(table, list(read_jsonl(table))[:3])
    moved = drift(before, table_profile(table).as_json())
    assert moved["datasets"] == pytest.approx(1 / 6)
    assert moved["answer_types"] == pytest.approx(1 / 3)
    assert moved["answer_in_text"] == pytest.approx(1 / 3)


def test_the_plot_is_a_picture(table):
    from r3pp_core.pictures import open_picture

    assert open_picture(profile_plot(table_profile(table))).width > 600
