"""Texts that no one would ask go through download, unify and merge unchanged, or are left out and counted."""

import json
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from accounts import balanced
from chart_rows import picture, row, write_parquet

from r3pp_core.artefact import Target
from r3pp_core.jsonl import read_jsonl

KEPT = [
    "NUL \x00 inside",
    "\x00",
    "control \x01\x1b[31m\x7f",
    "emoji 😀 and a family 👩‍👩‍👧‍👦",
    "beyond the basic plane 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "right to left \u202eabc\u202c and عربى",
    "combined e\u0301 and Z̵̢͎a̴l̷g̶o̵",
    "line separators a\u2028b\u2029c\u0085d",
    'quotes " \\ / </script> {{ jinja }} %s',
    "no character \ufffe\uffff",
    "x" * 1_000_000,
    "wide 漢" * 100_000,
]
EMPTY = [None, "", " ", "\t\n\r", "\u3000\u00a0\u2003"]
NO_UTF8 = [b"lone surrogate \xed\xa0\x80", b"\xff\xfe", b"cut \xf0\x9f\x98", b"overlong \xc0\xaf"]
NO_ANSWERS = [None, [], [None], [""], [" ", None]]


@pytest.fixture
def stages(r3pp, tmp_path):
    """`stages(rows)` -> the manifests of download, unify and merge over one val split, and the merged rows."""

    raw_dir, unified_dir = tmp_path / "raw", tmp_path / "unified"

    def run(rows):
        write_parquet(tmp_path / "source", "val", rows)
        arguments = ("--source", tmp_path / "source", "--out_dir", raw_dir, "--splits", "val")
        assert r3pp("download", "chartqa", *arguments).code == 0
        raw = balanced(Target(raw_dir), len(rows))
        arguments = ("--dataset", "chartqa", "--raw_dir", raw_dir, "--out_dir", unified_dir, "--ocr", "none")
        assert r3pp("unify", *arguments).code == 0
        unified = balanced(Target(unified_dir, "chartqa_unified"), raw.counts["rows"])
        arguments = ("--unified_dir", unified_dir, "--val", "chartqa_unified_val.jsonl", "--splits", "val")
        assert r3pp("merge", *arguments).code == 0
        merged = balanced(Target(unified_dir, "val"), unified.counts["rows"])
        return (raw, unified, merged), list(read_jsonl(unified_dir / "val.jsonl"))

    return run


def test_questions_of_any_characters_and_length_arrive_as_they_were_asked(stages):
    manifests, merged = stages([row(picture(0), text) for text in KEPT])
    assert [line["question"] for line in merged] == [text.strip() for text in KEPT]
    assert [manifest.left_out for manifest in manifests] == [{}, {}, {}]


def test_answers_of_any_characters_arrive_as_they_were_given(stages):
    _, merged = stages([row(picture(0), f"{number}?", [text]) for number, text in enumerate(KEPT)])
    assert [line["answers"] for line in merged] == [[text.strip()] for text in KEPT]


def test_questions_and_answers_that_are_null_empty_or_blank_are_left_out_and_counted(stages):
    rows = [row(picture(0), text) for text in EMPTY]
    rows += [row(picture(0), f"{number}?", answers) for number, answers in enumerate(NO_ANSWERS)]
    (raw, unified, _), merged = stages([*rows, row(picture(0), "Kept?")])
    assert raw.left_out == {}
    assert unified.left_out == {"question_empty": len(EMPTY), "answer_missing": len(NO_ANSWERS)}
    assert [line["question"] for line in merged] == ["Kept?"]


def test_text_that_is_no_utf8_costs_its_own_row_only(stages):
    rows = [row(picture(number), text) for number, text in enumerate([*NO_UTF8, "Kept?", *NO_UTF8])]
    (raw, unified, _), merged = stages(rows)
    assert raw.left_out == {"text_undecodable": 2 * len(NO_UTF8)}
    assert unified.left_out == {}
    assert [line["question"] for line in merged] == ["Kept?"]


def test_all_of_it_together_is_accounted_for_at_every_stage(stages):
    """Also repeated rows and rows without a picture."""
    asked = [*KEPT, *EMPTY, *NO_UTF8, *KEPT]
    rows = [row(picture(number % 3) if number % 7 else None, text) for number, text in enumerate(asked)]
    manifests, merged = stages(rows)
    left_out = Counter()
    for manifest in manifests:
        left_out.update(manifest.left_out)
    assert set(left_out) == {"picture_missing", "text_undecodable", "question_empty", "duplicate"}
    assert len(merged) + left_out.total() == len(rows)


def test_lines_of_a_raw_table_that_are_no_rows_are_left_out_and_counted(stages, r3pp, tmp_path):
    """As an editor, a full disk or another tool may leave them."""
    stages([row(picture(0), "Kept?")])
    table = tmp_path / "raw" / "chartqa_raw_val.jsonl"
    (line,) = table.read_text().splitlines()
    whole = json.loads(line)
    strange = [
        line[:-20],
        line.replace("Kept?", "\\ud800"),
        line.replace("Kept?", "\x00"),
        line.replace("Kept?", "\udcff"),
        "null",
        "[]",
        "\x00" * 100,
        json.dumps({**whole, "question": 7}),
        json.dumps({**whole, "answers": "42"}),
        json.dumps({**whole, "more": 1}),
        json.dumps({**whole, "meta": json.loads("[" * 900 + "]" * 900)}),
        json.dumps(whole).replace('"meta": {', '"meta": {"deep": ' + "[" * 50_000 + "]" * 50_000 + ", "),
    ]
    text = "\n".join([line, *strange, "", " ", line])
    table.write_bytes(text.encode("utf-8", "surrogateescape"))
    arguments = ("--dataset", "chartqa", "--raw_dir", tmp_path / "raw", "--out_dir", tmp_path / "again")
    assert r3pp("unify", *arguments, "--ocr", "none").code == 0
    manifest = balanced(Target(tmp_path / "again", "chartqa_unified"), len(strange) + 2)
    assert manifest.counts["rows"] == 2
    assert set(manifest.left_out) == {"not_json", "schema"}


TYPES = {
    "query": (pa.array([b"What?", b"\xff"], pa.binary()), "What?"),
    "label": (pa.array([[b"yes"], [b"\xff"]], pa.list_(pa.binary())), ["yes"]),
    "human_or_machine": (pa.array([[b"\xff"], [b"a"]], pa.list_(pa.binary())), ["\ufffd"]),
}


@pytest.mark.parametrize("column", TYPES)
def test_columns_written_as_plain_bytes_are_read_as_text_or_rejected(r3pp, tmp_path, column):
    values, first = TYPES[column]
    path = write_parquet(tmp_path, "train", [row(picture(0), "One?"), row(picture(0), "Two?")])
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(column), column, values), path)
    arguments = ("--source", tmp_path, "--out_dir", tmp_path / "raw", "--splits", "train", "--num_workers", 1)
    assert r3pp("download", "chartqa", *arguments).code == 0
    manifest = balanced(Target(tmp_path / "raw"), 2)
    assert manifest.left_out == ({} if column == "human_or_machine" else {"text_undecodable": 1})
    line = next(read_jsonl(tmp_path / "raw" / "chartqa_raw_train.jsonl"))
    assert first in (line["question"], line["answers"], line["meta"]["human_or_machine"])


@pytest.mark.parametrize(
    "value", [timedelta(days=1), {"a": Decimal("1.2")}, [(1, b"x")], datetime(2020, 1, 1)], ids=str
)
def test_metadata_of_any_type_becomes_json(r3pp, tmp_path, value):
    path = write_parquet(tmp_path, "train", [row(picture(0))])
    table = pq.read_table(path)
    values = pa.array([value], pa.map_(pa.int64(), pa.binary()) if isinstance(value, list) else None)
    place = table.column_names.index("human_or_machine")
    pq.write_table(table.set_column(place, "human_or_machine", values), path)
    arguments = ("--source", tmp_path, "--out_dir", tmp_path / "raw", "--splits", "train", "--num_workers", 1)
    assert r3pp("download", "chartqa", *arguments).code == 0
    assert balanced(Target(tmp_path / "raw"), 1).counts["rows"] == 1
