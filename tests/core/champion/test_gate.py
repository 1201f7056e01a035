"""The gate opens for a model that is better, and says every reason why it stays closed."""

import math

import pytest

from r3pp_core.champion.config import GateConfig
from r3pp_core.champion.gate import judge, score_problems, size_problems
from r3pp_core.evaluation.pairing import Evaluation


def made_results(mean=0.5, n=120, num_pictures=60):
    cell = {
        "n": n,
        "num_pictures": num_pictures,
        "metrics": {"relaxed_accuracy": {"mean": mean}, "squad_f1": {"mean": 0.25}},
    }
    counts = {"asked": n, "effective": n, "answerless": 0}
    return {"results": {"chartqa": {"r3": {"0": cell, "0.8": cell}}}, "n-samples": {"chartqa": counts}}


@pytest.fixture
def judged(candidate):
    """`judged(candidate, champion)`: the verdict on two candidates as `candidate(...)` takes them."""

    def make(new, old=None, config=GateConfig()):
        new = candidate("new", **new)
        base = Evaluation.read(new.base_evaluation_dir)
        mine = Evaluation.read(new.evaluation_dir)
        champion = Evaluation.read(candidate("old", **old).evaluation_dir) if old else None
        verdict = judge(mine, base, champion, config)
        return {criterion.name: criterion for criterion in verdict.criteria}, verdict

    return make


def test_a_better_model_passes_and_the_numbers_are_told(judged):
    criteria, verdict = judged({"clean": 0.6, "damaged": 0.5}, {"clean": 0.55, "damaged": 0.5})
    assert verdict.is_open, verdict.reasons
    assert criteria["clean_not_below_base"].notes[0].startswith("chartqa: clean +10.0 [")
    assert "mean of the data sets: area +" in criteria["robustness_above_base"].notes[-1]
    assert len(criteria["no_regression"].notes) == 4


@pytest.mark.parametrize(
    "new, old, failing",
    [
        ({"clean": 0.4, "damaged": 0.5}, None, {"clean_not_below_base"}),
        ({"clean": 0.5, "damaged": 0.2}, None, {"robustness_above_base"}),
        ({"clean": 0.3, "damaged": 0.1}, None, {"clean_not_below_base", "robustness_above_base"}),
        ({"clean": 0.6, "damaged": 0.5}, {"clean": 0.7, "damaged": 0.5}, {"no_regression"}),
        ({"clean": 0.6, "damaged": 0.4}, {"clean": 0.6, "damaged": 0.5}, {"no_regression"}),
    ],
)
def test_each_fall_closes_the_gate_by_its_own_criterion(judged, new, old, failing):
    criteria, verdict = judged(new, old)
    assert {name for name, criterion in criteria.items() if not criterion.passed} == failing
    assert all("lower bound has to be above" in reason for reason in verdict.reasons)


def test_equal_on_every_row_is_no_regression_but_no_gain_either(judged):
    same = {"clean": 0.5, "damaged": 0.2}
    criteria, _ = judged(same, same)
    assert criteria["no_regression"].passed
    assert criteria["clean_not_below_base"].passed
    assert not criteria["robustness_above_base"].passed


def test_a_small_but_uncertain_fall_is_not_enough_evidence_to_pass(judged):
    """One row of 120 lost is 0.8 points; resampling makes that up to two and more."""
    criteria, _ = judged({"clean": 0.5 - 2 / 120, "damaged": 0.5})
    assert not criteria["clean_not_below_base"].passed
    criteria, _ = judged({"clean": 0.5 - 2 / 120, "damaged": 0.5}, config=GateConfig(clean_margin=0.06))
    assert criteria["clean_not_below_base"].passed


def test_without_a_base_or_with_one_level_the_gate_stays_closed(candidate, judged):
    new = candidate("new")
    verdict = judge(Evaluation.read(new.evaluation_dir), None, None)
    assert "no evaluation of the base" in verdict.reasons[0]
    criteria, _ = judged({"levels": (0.0,)})
    assert "no two damage levels in common" in criteria["robustness_above_base"].reasons[0]
    criteria, _ = judged({"levels": (0.4, 0.8)})
    assert "was not evaluated undamaged (level 0)" in criteria["clean_not_below_base"].reasons[0]


def test_a_champion_that_was_asked_other_questions_cannot_judge(judged):
    criteria, _ = judged({}, {"world": "b"})
    assert "have no question of chartqa in common" in criteria["no_regression"].reasons[0]
    criteria, _ = judged({}, {"num_rows": 60})
    assert (
        "only 60 questions of chartqa are the ones that the champion was asked" in criteria["no_regression"].reasons[0]
    )
    criteria, _ = judged({}, {"levels": (0.0, 0.8)})
    assert "the champion was not evaluated at level 0.4 on chartqa" in criteria["no_regression"].reasons[0]
    criteria, _ = judged({"levels": (0.0, 0.8)}, {"clean": 0.6})
    assert "evaluated at level 0.4 on chartqa, the candidate was not" in criteria["no_regression"].reasons[0]
    criteria, _ = judged({}, {"seed": 1})
    assert "differ in seed" in criteria["no_regression"].reasons[0]


def test_a_base_that_was_asked_otherwise_or_less_is_no_measure(candidate, evaluation):
    mine = Evaluation.read(candidate("new").evaluation_dir)

    def reason(**asked):
        folder = evaluation("other base", "base", lambda number, level: False, arm="base", **asked)
        verdict = judge(mine, Evaluation.read(folder), None)
        assert [criterion.passed for criterion in verdict.criteria] == [True, True, False, False, True]
        return verdict.reasons[0]

    assert "only 60 questions of chartqa are the ones that the base was asked" in reason(num_rows=60)
    assert "evaluated at level 1 on chartqa, the candidate was not" in reason(levels=(0.0, 0.4, 0.8, 1.0))
    assert "not evaluated at level 0.4 on chartqa, the candidate was" in reason(levels=(0.0, 0.8))
    assert "differ in max_pixels (None and 1024), so that one of them had it easier" in reason(max_pixels=1024)
    assert "differ in dtype (None and float32), so that one of them had it easier" in reason(dtype="float32")


def test_many_questions_about_few_pictures_are_few(judged):
    """What intervals resample are pictures."""
    assert size_problems(made_results(num_pictures=29)) == [
        f"chartqa r3 at level {level}: scored on 29 pictures, at least 30 are needed" for level in ("0", "0.8")
    ]
    criteria, _ = judged({"rows_a_picture": 5})
    assert "chartqa r3 at level 0: scored on 24 pictures, at least 30 are needed" in criteria["enough_rows"].reasons
    assert "that the base was asked too are about only 24 pictures" in criteria["clean_not_below_base"].reasons[0]
    criteria, verdict = judged({"rows_a_picture": 5}, config=GateConfig(min_pictures=24, clean_margin=0.1))
    assert verdict.is_open, verdict.reasons


def test_one_picture_opens_no_gate_however_few_are_asked_for(judged):
    criteria, _ = judged({"clean": 1, "damaged": 1, "rows_a_picture": 120}, config=GateConfig(min_pictures=1))
    assert criteria["enough_rows"].passed
    assert not criteria["clean_not_below_base"].passed
    assert not criteria["robustness_above_base"].passed


def test_problems_name_data_set_arm_and_level():
    assert score_problems(made_results()) == size_problems(made_results()) == []
    assert len(score_problems(made_results(mean=2))) == 2
    assert score_problems(made_results(mean=math.nan))[0] == "chartqa r3 at level 0: relaxed_accuracy is nan"
    few = size_problems(made_results(n=1), GateConfig(min_rows=2))
    assert few[1].startswith("chartqa r3 at level 0.8: scored on 1 rows")
    assert size_problems({"results": {}}) == ["nothing was scored"]


@pytest.mark.parametrize(
    ("counts", "problems"),
    [
        ({"asked": 40, "effective": 0, "answerless": 0}, ["infovqa: none of the 40 rows that were asked was scored"]),
        ({"asked": 40, "effective": 0, "answerless": 40}, []),  # hidden answers
        ({"asked": 0, "effective": 0, "answerless": 0}, []),  # not in the table
    ],
)
def test_a_data_set_that_was_lost_on_the_way_is_a_problem(counts, problems):
    """It has no cell that could be too small."""
    results = made_results()
    assert size_problems({**results, "n-samples": {**results["n-samples"], "infovqa": counts}}) == problems
