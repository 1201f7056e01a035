"""Tables stream, and a broken line is named."""

from typing import Any

import pytest

from r3pp_core.errors import R3Error
from r3pp_core.jsonl import read_jsonl, write_jsonl


def test_what_is_written_is_read_back_in_order(tmp_path):
    rows: list[dict[str, Any]] = [
        {"text": "naïve \u2028 “quoted”\n", "n": 1.5, "none": None},
        {"list": ["a", {"b": 2}]},
    ]
    assert write_jsonl(tmp_path / "t.jsonl", rows) == 2
    assert list(read_jsonl(tmp_path / "t.jsonl")) == rows
    assert len((tmp_path / "t.jsonl").read_bytes().splitlines()) == 2


def test_blank_lines_are_passed_over(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"n": 1}\n\n  \n{"n": 2}')
    assert [row["n"] for row in read_jsonl(tmp_path / "t.jsonl")] == [1, 2]


@pytest.mark.parametrize(
    "line, words",
    [
        ("{broken", "line 3 is not JSON"),
        ("[1]", "line 3 is not a JSON object"),
        ('{"a": "\udcff"}', "line 3 is not JSON"),
    ],
)
def test_a_broken_line_is_named_by_file_and_number(tmp_path, line, words):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"n": 1}\n\n' + line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(R3Error, match=rf"t.jsonl {words}.*; repair or remove that line"):
        list(read_jsonl(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(R3Error, match=r"cannot read .*gone.jsonl: No such file"):
        list(read_jsonl(tmp_path / "gone.jsonl"))


def test_reading_streams(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"n": 1}\nbroken\n')
    rows = read_jsonl(path)
    assert next(rows) == {"n": 1}
    with pytest.raises(R3Error, match="line 2"):
        next(rows)
