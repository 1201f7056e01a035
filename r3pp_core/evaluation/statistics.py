"""Intervals, paired differences and robustness numbers from per-example scores.

Questions about one picture are not independent, so the bootstrap draws pictures (clusters) with replacement
and takes all questions of each. Everything is deterministic from `seed`.
Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile interval).

Legend: n rows, m columns of scores, C clusters, R resamples.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from r3pp_core.errors import R3Error

CONFIDENCE = 0.95
NUM_RESAMPLES = 1000
Z_95 = 1.96
MIN_CLUSTERS = 2  # with fewer there is nothing to resample
SCORES, DIFFERENCES = (0.0, 1.0), (-1.0, 1.0)  # between which all scores lie, and all differences of two
_MAX_CELLS = 4_000_000  # resamples x clusters drawn at a time: 32 MB of indices

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean over n rows with its 95 % percentile interval; `stderr` is the deviation of the resampled means.

    With one cluster there is nothing to resample, and nothing is known: low and high are the least and the most that a
    score, or a difference of two, can be, and `stderr` is that of such an interval.
    """

    mean: float
    low: float
    high: float
    n: int
    num_clusters: int
    seed: int
    stderr: float = 0.0


@dataclass(frozen=True)
class PairedInterval(Interval):
    """The interval of a difference on the same rows, with its two-sided bootstrap p value in (0, 1]."""

    p: float = 1.0


def bootstrap_mean(
    values: ArrayLike, clusters: Sequence[Hashable], seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> Interval:
    """The mean of `values` (n,) with an interval from resampling `clusters` (n labels, one a row).

    Raises:
        R3Error: nothing to average, a score that is not finite, or lengths that differ.
    """
    return bootstrap_means(_column(values), clusters, seed, num_resamples)[0]


def bootstrap_means(
    values: ArrayLike, clusters: Sequence[Hashable], seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> list[Interval]:
    """`bootstrap_mean` of each column of `values` (n, m); the columns share their resamples.

    Raises:
        R3Error: nothing to average, a score that is not finite, or lengths that differ.
    """
    scores, labels, num_clusters = _checked(values, clusters)
    resampled = _resampled_means(scores, labels, num_clusters, seed, num_resamples)
    return [
        Interval(**_interval_fields(scores[:, i], resampled[:, i], num_clusters, seed, SCORES))
        for i in range(scores.shape[1])
    ]


def resampled_means(
    values: ArrayLike, clusters: Sequence[Hashable], seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> Floats:
    """The means (R, m) of each column of `values` (n, m) over R draws of clusters, for statistics of several means.

    Raises:
        R3Error: nothing to average, a score that is not finite, or lengths that differ.
    """
    return _resampled_means(*_checked(values, clusters), seed, num_resamples)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Hashable],
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> PairedInterval:
    """The mean of a - b over the same n rows, with its interval and two-sided p value.

    p is twice the smaller share of resampled differences on either side of zero, with one more resample
    counted as being there, so it is never 0; it is 1 where a and b agree on every row, and with one cluster.

    Raises:
        R3Error: nothing to compare, a score that is not finite, or lengths that differ.
    """
    scores_a, scores_b = _column(a), _column(b)
    if len(scores_a) != len(scores_b):
        raise R3Error(
            f"a paired difference needs the same rows: {len(scores_a)} scores against {len(scores_b)}; "
            "score both models on one list of rows"
        )
    difference, labels, num_clusters = _checked(scores_a - scores_b, clusters)
    resampled = _resampled_means(difference, labels, num_clusters, seed, num_resamples)[:, 0]
    num_tail = min(np.count_nonzero(resampled <= 0), np.count_nonzero(resampled >= 0))
    p = min(1.0, float(2 * (1 + num_tail) / (1 + num_resamples))) if num_clusters >= MIN_CLUSTERS else 1.0
    return PairedInterval(**_interval_fields(difference[:, 0], resampled, num_clusters, seed, DIFFERENCES), p=p)


def trapezoid_weights(levels: Sequence[float]) -> Floats:
    """Weights (len(levels),) that sum to 1 and turn scores at `levels` into the area under their curve.

    The area is divided by the range of levels, so a model that scores s everywhere has area s.

    Raises:
        R3Error: fewer than two levels, or levels that do not rise strictly.
    """
    x = np.asarray(levels, dtype=np.float64)
    if len(x) < 2 or not np.all(np.isfinite(x)) or np.any(np.diff(x) <= 0):
        raise R3Error(f"an area needs at least two rising levels, not {list(levels)}; run more levels")
    widths = np.diff(x)
    weights = np.zeros(len(x))
    weights[:-1] += widths / 2
    weights[1:] += widths / 2
    return weights / (x[-1] - x[0])


def area_under_curve(levels: Sequence[float], scores: Sequence[float]) -> float:
    """Area under `scores` over rising `levels` by the trapezoid rule, divided by the range of levels.

    Raises:
        R3Error: fewer than two levels, levels that do not rise, a score missing or not finite.
    """
    y = np.asarray(scores, dtype=np.float64)
    if len(y) != len(levels) or not np.all(np.isfinite(y)):
        raise R3Error(f"an area needs one finite score a level, not {list(scores)} at {list(levels)}")
    return float(trapezoid_weights(levels) @ y)


def retention(score: float, clean_score: float) -> float | None:
    """The share of the clean score that is left; None where the clean score is 0 and no share exists.

    Raises:
        R3Error: a score that is not finite.
    """
    if not (np.isfinite(score) and np.isfinite(clean_score)):
        raise R3Error(f"retention needs finite scores, not {score} of {clean_score}; rerun the evaluation")
    return None if clean_score == 0 else score / clean_score


def _column(values: ArrayLike) -> Floats:
    """`values` (n,) as a column (n, 1)."""
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1:
        raise R3Error(f"expected one score a row, got an array of shape {scores.shape}")
    return scores[:, None]


def _checked(values: ArrayLike, clusters: Sequence[Hashable]) -> tuple[Floats, NDArray[np.intp], int]:
    """Scores (n, m), cluster numbers (n,) in order of first appearance, and C."""
    scores = np.asarray(values, dtype=np.float64)
    if len(scores) == 0:
        raise R3Error("there is no scored row to average; check that the rows have reference answers")
    if len(scores) != len(clusters):
        raise R3Error(f"{len(scores)} scores but {len(clusters)} picture labels; pass one label a score")
    bad_rows = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad_rows):
        raise R3Error(f"the score of row {bad_rows[0]} is {scores[bad_rows[0]].tolist()}, not finite; mend the metric")
    numbers: dict[Hashable, int] = {}
    labels = np.fromiter((numbers.setdefault(c, len(numbers)) for c in clusters), np.intp, len(clusters))
    return scores, labels, len(numbers)


def _resampled_means(
    scores: Floats, labels: NDArray[np.intp], num_clusters: int, seed: int, num_resamples: int
) -> Floats:
    """Means (R, m) over R draws of C clusters with replacement: drawn sums / drawn counts."""
    totals = np.zeros((num_clusters, scores.shape[1] + 1))  # the last column counts rows
    np.add.at(totals, labels, np.column_stack([scores, np.ones(len(scores))]))
    rng = np.random.default_rng(seed)
    drawn = np.empty((num_resamples, totals.shape[1]))
    step = max(1, _MAX_CELLS // num_clusters)
    for start in range(0, num_resamples, step):
        size = min(step, num_resamples - start)
        picks = rng.integers(0, num_clusters, (size, num_clusters))
        picks += np.arange(size)[:, None] * num_clusters  # a range of bins per resample
        times = np.bincount(picks.ravel(), minlength=size * num_clusters).reshape(size, num_clusters)
        drawn[start : start + size] = times.astype(np.float64) @ totals
    return drawn[:, :-1] / drawn[:, -1:]


def _interval_fields(
    scores: Floats, resampled: Floats, num_clusters: int, seed: int, possible: tuple[float, float]
) -> dict:
    if num_clusters < MIN_CLUSTERS:
        low, high = possible
        stderr = (high - low) / (2 * Z_95)
    else:
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(resampled, [tail, 1 - tail])
        stderr = resampled.std(ddof=1) if len(resampled) > 1 else 0.0
    return {
        "mean": float(scores.mean()),
        "low": float(low),
        "high": float(high),
        "n": len(scores),
        "num_clusters": num_clusters,
        "seed": seed,
        "stderr": float(stderr),
    }
