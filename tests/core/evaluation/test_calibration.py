"""Stated confidence against the truth: figures by level and data set, and bins for the reliability plot."""

import io

import numpy as np
import pytest
from PIL import Image

from r3pp_core.evaluation.calibration import Calibration
from r3pp_core.evaluation.plots import reliability


def sample(number, level, stated, true, arm="r3", dataset="chartqa"):
    return {
        "id": str(number),
        "arm": arm,
        "dataset": dataset,
        "level": level,
        "confidence": {"c_vis": stated, "c_text": 0.5},
        "truth": {"c_vis": true, "c_text": true},
    }


def results_of(samples):
    calibration = Calibration()
    assert list(calibration.watch(samples)) == samples, "they pass through as they are"
    return calibration.results()


def test_a_model_that_knows_is_on_the_line_and_one_that_says_one_number_has_no_correlation():
    found = results_of([sample(n, 0.8, n / 20, n / 20) for n in range(21)])
    level = found["c_vis"]["levels"]["0.8"]
    assert level == {
        "n": 21,
        "stated": pytest.approx(0.5),
        "true": pytest.approx(0.5),
        "mean_absolute_error": 0,
        "correlation": pytest.approx(1),
    }
    assert [entry["stated"] - entry["true"] for entry in found["c_vis"]["bins"]] == [0] * 10
    assert sum(entry["n"] for entry in found["c_vis"]["bins"]) == 21
    assert found["c_text"]["levels"]["0.8"]["correlation"] is None
    assert [entry["stated"] for entry in found["c_text"]["bins"]] == [0.5]


def test_levels_and_data_sets_are_told_apart_and_other_arms_left_out():
    rows = [sample(n, level, 0.9, 0.9 - level, dataset=d) for n in range(4) for level in (0.0, 0.8) for d in "ab"]
    strangers = [sample(n, 0.0, 0.0, 1.0, arm="r3-no_evidence") for n in range(4)]
    found = results_of([*rows, *strangers, {**rows[0], "confidence": None}])
    assert found["c_vis"]["levels"]["0"]["mean_absolute_error"] == pytest.approx(0)
    assert found["c_vis"]["levels"]["0.8"]["mean_absolute_error"] == pytest.approx(0.8)
    assert {name: entry["n"] for name, entry in found["c_vis"]["datasets"].items()} == {"a": 8, "b": 8}


def test_without_a_confidence_there_is_nothing_and_with_one_a_picture():
    assert results_of([{"arm": "base", "level": 0.0, "dataset": "a"}]) == {}
    rng = np.random.default_rng(0)
    found = results_of([sample(n, 0.4, float(c), float(c) ** 2) for n, c in enumerate(rng.uniform(size=300))])
    with Image.open(io.BytesIO(reliability({"confidence": found}))) as picture:
        assert picture.width > 400


def test_an_answer_whose_confidence_was_not_finite_is_passed_over():
    rows = [sample(n, 0.8, 0.5, 0.5) for n in range(4)]
    rows[2]["confidence"]["c_text"] = None
    found = results_of(rows)
    assert {kind: found[kind]["levels"]["0.8"]["n"] for kind in found} == {"c_vis": 3, "c_text": 3}
    assert results_of([rows[2]]) == {}
