"""The report's cases: rows where R3 and base differ at the highest level, drawn without regard to how they
look."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from r3pp_core.evaluation.comparison import BASE, R3
from r3pp_core.evaluation.grouping import level_key
from r3pp_core.evaluation.metrics import METRICS

OUTCOMES: Final = ("won", "lost", "both wrong", "both right")
SHOWN_OUTCOMES: Final = OUTCOMES[:3]
CASES_PER_OUTCOME: Final = 4
CORRECT_FROM: Final = 0.5
"""A primary score from which an answer counts as right when cases are sorted; means and intervals do not use
it."""


@dataclass(frozen=True)
class Case:
    """One question answered by both: the two samples and their primary scores."""

    outcome: str
    base: Mapping[str, Any]
    r3: Mapping[str, Any]
    base_score: float
    r3_score: float


@dataclass
class Cases:
    """The rows to show, and how many rows there were of each outcome (by data set)."""

    shown: list[Case] = field(default_factory=list)
    num_outcomes: dict[str, dict[str, int]] = field(default_factory=dict)
    levels: dict[str, str] = field(default_factory=dict)


def choose_cases(results: Mapping[str, Any], samples: Iterable[Mapping[str, Any]]) -> Cases:
    """Up to four cases of each shown outcome, in turn over the data sets, in the order of a hash of the row
    id.

    Reads `samples` once and holds only the rows of base and R3 at the highest level that both have.
    """
    chosen = Cases(levels=_highest_common_levels(results))
    wanted = {(dataset, arm, level) for dataset, level in chosen.levels.items() for arm in (BASE, R3)}
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for sample in samples:
        place = (sample["dataset"], sample["arm"], level_key(sample["level"]))
        if place in wanted and sample["answers"]:
            rows.setdefault(sample["id"], {})[sample["arm"]] = sample
    pools: dict[str, dict[str, list[Case]]] = {outcome: {} for outcome in OUTCOMES}
    for row_id in sorted(rows, key=lambda text: hashlib.sha256(text.encode()).digest()):
        if len(rows[row_id]) == 2:
            case = _case(rows[row_id][BASE], rows[row_id][R3], results["primary"])
            pools[case.outcome].setdefault(case.base["dataset"], []).append(case)
    for dataset in chosen.levels:
        chosen.num_outcomes[dataset] = {o: len(pools[o].get(dataset, [])) for o in OUTCOMES}
    for outcome in SHOWN_OUTCOMES:
        chosen.shown += _in_turn([pools[outcome][dataset] for dataset in sorted(pools[outcome])])
    return chosen


def _highest_common_levels(results: Mapping[str, Any]) -> dict[str, str]:
    highest = {}
    for dataset, arms in results["results"].items():
        if common := set(arms.get(BASE, {})) & set(arms.get(R3, {})):
            highest[dataset] = max(common, key=float)
    return highest


def _case(base: Mapping[str, Any], r3: Mapping[str, Any], primary: Mapping[str, str]) -> Case:
    metric = METRICS[primary[base["dataset"]]]
    base_score, r3_score = (metric(row["prediction"], row["answers"]) for row in (base, r3))
    is_base_right, is_r3_right = base_score >= CORRECT_FROM, r3_score >= CORRECT_FROM
    if is_base_right == is_r3_right:
        outcome = "both right" if is_r3_right else "both wrong"
    else:
        outcome = "won" if is_r3_right else "lost"
    return Case(outcome, base, r3, base_score, r3_score)


def _in_turn(pools: list[list[Case]]) -> list[Case]:
    """The first cases of the pools, one pool after the other, up to CASES_PER_OUTCOME."""
    num_rounds = max((len(pool) for pool in pools), default=0)
    ordered = [pool[i] for i in range(num_rounds) for pool in pools if i < len(pool)]
    return ordered[:CASES_PER_OUTCOME]
