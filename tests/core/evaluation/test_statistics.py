"""Intervals against closed forms and a slow loop, and the numbers of a robustness curve by hand."""

import numpy as np
import pytest

from r3pp_core.errors import R3Error
from r3pp_core.evaluation.statistics import (
    area_under_curve,
    bootstrap_mean,
    bootstrap_means,
    paired_difference,
    retention,
    trapezoid_weights,
)


def clustered_scores(num_clusters=200, size=4, seed=1):
    """Scores (num_clusters * size,) that agree within a cluster, and their labels."""
    scores = np.repeat(np.random.default_rng(seed).integers(0, 2, num_clusters), size).astype(float)
    return scores, [f"picture {i // size}" for i in range(len(scores))]


def test_with_one_row_a_picture_the_deviation_is_that_of_a_mean():
    values = np.random.default_rng(0).normal(size=900)
    interval = bootstrap_mean(values, range(900))
    expected = values.std() / np.sqrt(900)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.stderr == pytest.approx(expected, rel=0.1)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * expected, rel=0.1)


def test_questions_that_share_a_picture_widen_the_interval():
    scores, labels = clustered_scores()
    by_picture = bootstrap_mean(scores, labels)
    by_row = bootstrap_mean(scores, range(len(scores)))
    assert by_picture.stderr / by_row.stderr == pytest.approx(2, rel=0.15)  # sqrt(4 rows a picture)
    assert (by_picture.n, by_picture.num_clusters) == (800, 200)


def test_resampling_equals_a_loop_that_draws_pictures_and_joins_their_rows():
    values = np.random.default_rng(3).random(23)
    labels = [i % 7 if i < 14 else 0 for i in range(23)]  # unequal pictures
    rows = [[v for v, label in zip(values, labels, strict=True) if label == c] for c in range(7)]
    draws = np.random.default_rng(5).integers(0, 7, (1000, 7))
    means = [np.mean([v for c in draw for v in rows[c]]) for draw in draws]
    interval = bootstrap_mean(values, labels, seed=5)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert interval.stderr == pytest.approx(np.std(means, ddof=1))


def test_the_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(11)
    hits = 0
    for seed in range(300):
        interval = bootstrap_mean(rng.binomial(1, 0.6, 200), range(200), seed=seed, num_resamples=400)
        hits += interval.low <= 0.6 <= interval.high
    assert 0.90 <= hits / 300 <= 0.98


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    scores, labels = clustered_scores()
    assert bootstrap_mean(scores, labels, seed=4) == bootstrap_mean(scores, labels, seed=4)
    assert bootstrap_mean(scores, labels, seed=4).stderr != bootstrap_mean(scores, labels, seed=5).stderr


def test_columns_scored_together_equal_columns_scored_alone():
    values = np.random.default_rng(2).random((50, 3))
    together = bootstrap_means(values, range(50), seed=9)
    alone = [bootstrap_mean(values[:, i], range(50), seed=9) for i in range(3)]
    for a, b in zip(together, alone, strict=True):
        assert (a.mean, a.low, a.high) == pytest.approx((b.mean, b.low, b.high))


def test_more_pictures_than_one_block_holds_are_resampled_in_several(monkeypatch):
    values = np.random.default_rng(2).random(40)
    whole = bootstrap_mean(values, range(40))
    monkeypatch.setattr("r3pp_core.evaluation.statistics._MAX_CELLS", 400)
    assert bootstrap_mean(values, range(40)).stderr == pytest.approx(whole.stderr, rel=0.2)


def test_a_clear_difference_has_an_interval_above_zero_and_a_small_p():
    rng = np.random.default_rng(0)
    b = rng.integers(0, 2, 400).astype(float)
    a = np.where(rng.random(400) < 0.2, 1.0, b)
    result = paired_difference(a, b, range(400))
    assert result.mean == pytest.approx((a - b).mean())
    assert result.low > 0
    assert result.p < 0.01
    mirrored = paired_difference(b, a, range(400))
    assert (mirrored.mean, mirrored.p) == pytest.approx((-result.mean, result.p))


def test_pairing_removes_what_both_models_share():
    rng = np.random.default_rng(0)
    hard = rng.random(500)
    result = paired_difference(hard + 0.01, hard, range(500))
    assert result.high - result.low < 1e-9 < bootstrap_mean(hard, range(500)).stderr


def test_equal_models_differ_by_nothing_with_p_one():
    result = paired_difference([0, 1, 1], [0, 1, 1], "abc")
    assert (result.mean, result.low, result.high, result.p) == (0, 0, 0, 1)


def test_between_models_without_a_difference_p_is_below_5_percent_about_5_times_in_100():
    rng = np.random.default_rng(8)
    num_small = 0
    for seed in range(300):
        difference = rng.normal(size=150)
        num_small += paired_difference(difference, np.zeros(150), range(150), seed, 400).p < 0.05
    assert 0.01 <= num_small / 300 <= 0.10


def test_with_one_picture_nothing_is_known_and_the_interval_is_all_that_is_possible():
    mean = bootstrap_mean([0.5, 1, 1], "aaa")
    assert (mean.low, mean.mean, mean.high) == (0, pytest.approx(5 / 6), 1)
    difference = paired_difference([1, 1, 1], [0, 0, 0], "aaa")
    assert (difference.low, difference.mean, difference.high, difference.p) == (-1, 1, 1, 1)
    assert difference.stderr == pytest.approx(1 / 1.96)
    assert paired_difference([1, 1, 1], [0, 0, 0], "aab").low == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_refused_and_its_row_named(bad):
    with pytest.raises(R3Error, match="row 1"):
        bootstrap_mean([0.5, bad], "ab")
    with pytest.raises(R3Error, match="row 1"):
        paired_difference([0.5, bad], [0.5, 0.5], "ab")


def test_nothing_to_average_is_refused():
    with pytest.raises(R3Error, match="no scored row"):
        bootstrap_mean([], [])


def test_lists_of_different_length_are_refused():
    with pytest.raises(R3Error, match="1 picture labels"):
        bootstrap_mean([1, 0], ["a"])
    with pytest.raises(R3Error, match="same rows"):
        paired_difference([1, 0], [1], "ab")


def test_the_area_of_a_constant_score_is_that_score_over_any_levels():
    assert area_under_curve([0, 0.2, 0.8], [0.7, 0.7, 0.7]) == pytest.approx(0.7)


def test_the_area_weighs_uneven_levels_by_their_width():
    # (0.2 * (1 + 0.5) / 2 + 0.6 * (0.5 + 0.1) / 2) / 0.8
    assert area_under_curve([0, 0.2, 0.8], [1, 0.5, 0.1]) == pytest.approx(0.4125)
    assert trapezoid_weights([0, 0.2, 0.8]).sum() == pytest.approx(1)


@pytest.mark.parametrize(("levels", "scores"), [([0], [1]), ([0, 0], [1, 1]), ([0.2, 0], [1, 1])])
def test_an_area_without_rising_levels_is_refused(levels, scores):
    with pytest.raises(R3Error, match="rising levels"):
        area_under_curve(levels, scores)


def test_an_area_with_a_missing_or_non_finite_score_is_refused():
    with pytest.raises(R3Error, match="one finite score a level"):
        area_under_curve([0, 1], [1])
    with pytest.raises(R3Error, match="one finite score a level"):
        area_under_curve([0, 1], [1, float("nan")])


def test_retention_is_a_share_of_the_clean_score_and_none_where_that_is_zero():
    assert retention(0.3, 0.6) == pytest.approx(0.5)
    assert retention(0.0, 0.0) is None
    with pytest.raises(R3Error, match="finite"):
        retention(float("nan"), 0.5)
