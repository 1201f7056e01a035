"""The order of the data: mixed by temperature, every row in turn, any position by itself."""

from collections import Counter

import numpy as np
import pytest

from r3pp_core.errors import R3Error
from r3pp_core.training.order import BLOCK, MixedOrder, RowFile

CODES = np.array([0] * 90 + [1] * 10)


def order(alpha=0.5, seed=0):
    return MixedOrder(CODES, ["large", "small"], alpha, seed)


def test_shares_are_proportional_to_count_to_the_alpha():
    for alpha, expected in ((0.0, 0.5), (0.5, 0.75), (1.0, 0.9)):
        mixed = order(alpha)
        share = np.mean([CODES[mixed.at(position).row] == 0 for position in range(3000)])
        assert share == pytest.approx(expected, abs=0.03)


def test_a_data_set_comes_once_through_before_any_row_of_it_comes_again():
    mixed = order()
    small = [draw for draw in map(mixed.at, range(400)) if CODES[draw.row] == 1][:30]
    for visit in range(3):
        part = small[visit * 10 : visit * 10 + 10]
        assert sorted(draw.row for draw in part) == list(range(90, 100))
        assert {draw.visit for draw in part} == {visit}
    assert [draw.row for draw in small[:10]] != [draw.row for draw in small[10:20]]


def test_a_position_is_the_same_whatever_was_asked_before():
    asked_in_turn = order()
    in_turn = [asked_in_turn.at(position) for position in range(BLOCK + 50)]
    assert order().at(BLOCK + 49) == in_turn[-1]
    assert order().at(7) == in_turn[7]


def test_another_seed_gives_another_order():
    first, second = order(seed=0), order(seed=1)
    assert [first.at(position) for position in range(20)] != [second.at(position) for position in range(20)]


def test_rows_are_read_by_number(world):
    rows = RowFile(world / "train.jsonl")
    assert len(rows) == 10
    assert Counter(rows.names[code] for code in rows.codes) == {"screenqa": 4, "chartqa": 6}
    assert rows.row(7)["id"] == "chartqa/train/7"


def test_a_row_without_an_answer_is_named(tmp_path, world):
    line = (world / "train.jsonl").read_text().splitlines()[1].replace('"many 37"', '""')
    (tmp_path / "bad.jsonl").write_text(line + "\n")
    with pytest.raises(R3Error, match=r"row 1 \(chartqa/train/1\) lacks an answer"):
        RowFile(tmp_path / "bad.jsonl")
