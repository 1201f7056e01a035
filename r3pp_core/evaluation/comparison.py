"""Comparisons of arms on the same rows: paired differences, robustness over levels, means per operator."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from r3pp_core.errors import R3Error
from r3pp_core.evaluation import statistics
from r3pp_core.evaluation.grouping import Arms, ScoredRow, column, level_key

BASE: Final = "base"
R3: Final = "r3"


def _require_same_rows(rows: Sequence[ScoredRow], others: Sequence[ScoredRow], place: str, other_place: str) -> None:
    for mine, theirs, where in ((rows, others, other_place), (others, rows, place)):
        if missing := sorted({row.id for row in mine} - {row.id for row in theirs}):
            raise R3Error(
                f"row {missing[0]} ({len(missing)} in all) is missing from {where}; a comparison needs "
                "the same rows: resume that evaluation, or score the arms apart"
            )


def differences(dataset: str, arms: Arms, metric: str, seed: int) -> dict[str, Any]:
    """For each other arm, keyed "r3 - <arm>", the paired difference in the primary metric by level.

    Only levels that both arms have are compared.

    Raises:
        R3Error: an arm lacks a row that the other has at the same level; the message names it.
    """
    if R3 not in arms:
        return {}
    compared: dict[str, Any] = {}
    for arm in sorted(set(arms) - {R3}):
        levels = [level for level in arms[R3] if level in arms[arm]]
        for level in levels:
            rows, others = arms[R3][level], arms[arm][level]
            place = f"{dataset} at level {level:g}"
            _require_same_rows(rows, others, f"arm {R3} of {place}", f"arm {arm} of {place}")
            difference = statistics.paired_difference(
                column(rows, metric), column(others, metric), [row.picture for row in rows], seed
            )
            compared.setdefault(f"{R3} - {arm}", {})[level_key(level)] = {
                "metric": metric,
                **asdict(difference),
            }
    return compared


def robustness(dataset: str, arms: Arms, metric: str, seed: int) -> dict[str, Any]:
    """Per arm retention at each level and the area under the curve; and the paired difference of the areas.

    An area is linear in the scores, so each row has one of its own and intervals come as for any mean.

    Raises:
        R3Error: an arm lacks a row at one level that it has at another; the message names it.
    """
    areas: dict[str, tuple[list[float], np.ndarray]] = {}
    entries: dict[str, Any] = {}
    for arm, by_level in arms.items():
        levels = list(by_level)
        means = {level: float(column(rows, metric).mean()) for level, rows in by_level.items()}
        clean = means.get(0.0)
        kept = {level_key(x): None if clean is None else statistics.retention(means[x], clean) for x in levels}
        entries[arm] = {"metric": metric, "levels": levels, "retention": kept, "area": None}
        if len(levels) < 2:
            continue
        first = by_level[levels[0]]
        for level in levels[1:]:
            places = (f"arm {arm} of {dataset} at level {x:g}" for x in (levels[0], level))
            _require_same_rows(first, by_level[level], *places)
        weights = statistics.trapezoid_weights(levels)
        area = weights @ np.stack([column(rows, metric) for rows in by_level.values()])
        areas[arm] = (levels, area)
        entries[arm]["area"] = asdict(statistics.bootstrap_mean(area, [row.picture for row in first], seed))
    for arm in sorted(set(areas) - {R3}):
        if R3 in areas and areas[R3][0] == areas[arm][0]:
            pictures = [row.picture for row in arms[R3][areas[R3][0][0]]]
            difference = statistics.paired_difference(areas[R3][1], areas[arm][1], pictures, seed)
            entries[R3].setdefault("area_differences", {})[f"{R3} - {arm}"] = asdict(difference)
    return entries


def by_operator(arms: Arms, metric: str, seed: int) -> dict[str, Any]:
    """Arm -> operator -> the primary metric over all damaged rows (level > 0) that the operator touched."""
    entries: dict[str, Any] = {}
    for arm, by_level in arms.items():
        touched: dict[str, list[ScoredRow]] = defaultdict(list)
        for level, rows in by_level.items():
            for row in rows if level > 0 else ():
                for operator in row.operators:
                    touched[operator].append(row)
        entries[arm] = {
            operator: {
                "metric": metric,
                **asdict(statistics.bootstrap_mean(column(rows, metric), [r.picture for r in rows], seed)),
            }
            for operator, rows in sorted(touched.items())
        }
    return entries
