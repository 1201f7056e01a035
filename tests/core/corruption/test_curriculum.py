"""The level over the steps."""

import pytest
from pydantic import ValidationError

from r3pp_core.corruption.curriculum import CurriculumConfig, level_at, row_level
from r3pp_core.errors import UsageError


def test_linear_never_falls_and_ends_at_the_highest_level():
    levels = [level_at(step, CurriculumConfig()) for step in range(0, 12001, 50)]
    assert levels == sorted(levels)
    assert levels[-1] == max(levels) == 0.8
    assert level_at(10_000, CurriculumConfig()) == 0.8


def test_linear_is_clean_during_the_warm_up_and_half_way_in_the_middle_of_the_rest():
    assert level_at(0, CurriculumConfig()) == level_at(1000, CurriculumConfig()) == 0
    assert level_at(1001, CurriculumConfig()) > 0
    assert level_at(5500, CurriculumConfig()) == pytest.approx(0.4)


def test_cyclic_returns_to_clean_num_cycles_times_and_reaches_the_highest_level_between():
    config = CurriculumConfig(kind="cyclic", warmup_steps=100, total_steps=500, num_cycles=4)
    assert [level_at(step, config) for step in (0, 100, 200, 300, 400, 500)] == [0] * 6
    assert [level_at(step, config) for step in (150, 250, 350, 450, 550)] == pytest.approx([0.8] * 5)
    assert level_at(125, config) == pytest.approx(0.4)


def test_constant_is_the_highest_level_from_the_first_step():
    assert {level_at(step, CurriculumConfig(kind="constant")) for step in (0, 1, 999, 50_000)} == {0.8}


def test_every_kind_stays_between_0_and_the_highest_level():
    for kind in ("linear", "cyclic", "constant"):
        config = CurriculumConfig(kind=kind, max_level=0.6, warmup_steps=7, total_steps=101, num_cycles=3)
        assert all(0 <= level_at(step, config) <= 0.6 for step in range(300))


def test_a_warm_up_that_leaves_no_step_is_refused():
    with pytest.raises(UsageError, match="warmup_steps 1000 must be below total_steps 60"):
        level_at(0, CurriculumConfig(total_steps=60))


def test_a_negative_step_is_refused():
    with pytest.raises(UsageError, match="step -1 is negative"):
        level_at(-1, CurriculumConfig())


def test_a_highest_level_above_1_is_refused():
    with pytest.raises(ValidationError):
        CurriculumConfig(max_level=1.2)


def levels_of_rows(config, step=500, num_rows=1000, visit=0):
    return [row_level(step, config, 0, f"chartqa/train/{number}", visit) for number in range(num_rows)]


def test_rows_of_a_step_are_all_at_its_level_unless_told_otherwise():
    config = CurriculumConfig(kind="cyclic", warmup_steps=0, total_steps=1500)
    assert set(levels_of_rows(config)) == {level_at(500, config)}


def test_spread_rows_lie_evenly_between_clean_and_the_level_of_the_step():
    levels = levels_of_rows(CurriculumConfig(kind="constant", spread_rows=True))
    assert all(0 <= level < 0.8 for level in levels)
    assert [sum(low <= level < low + 0.2 for level in levels) for low in (0, 0.2, 0.4, 0.6)] == pytest.approx(
        [250] * 4, abs=60
    )


def test_a_share_of_the_rows_stays_clean():
    levels = levels_of_rows(CurriculumConfig(kind="constant", clean_share=0.25))
    assert set(levels) == {0.0, 0.8}
    assert levels.count(0.0) == pytest.approx(250, abs=60)


def test_the_clean_share_is_of_all_rows_also_where_the_others_are_spread():
    levels = levels_of_rows(CurriculumConfig(kind="constant", spread_rows=True, clean_share=0.25))
    assert levels.count(0.0) == pytest.approx(250, abs=60)
    assert len({level for level in levels if level}) == len(levels) - levels.count(0.0)


def test_a_row_keeps_its_place_among_the_levels_and_draws_anew_on_another_visit():
    low, high = (CurriculumConfig(kind="constant", max_level=level, spread_rows=True) for level in (0.4, 0.8))
    assert [2 * level for level in levels_of_rows(low)] == pytest.approx(levels_of_rows(high))
    assert levels_of_rows(high, visit=1) != levels_of_rows(high)
