"""The gate: whether a candidate may become the champion, from evaluations of both and of the base.

Every criterion is judged, so that a closed gate tells all of its reasons. Differences are paired on the questions that
both evaluations have; an interval is that of r3pp_core.evaluation.statistics (95 %, resampling pictures).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from r3pp_core.champion.config import GateConfig
from r3pp_core.errors import R3Error
from r3pp_core.evaluation import statistics
from r3pp_core.evaluation.comparison import BASE, R3, differences, robustness
from r3pp_core.evaluation.grouping import Arms
from r3pp_core.evaluation.pairing import Evaluation, refuse_other_damage, refuse_other_view, rows_in_common
from r3pp_core.evaluation.text_table import signed_interval

CHAMPION: Final = "champion"
CLEAN: Final = "0"
NO_BASE: Final = "there is no evaluation of the base to compare with; materialize evaluation/base"


@dataclass(frozen=True)
class Criterion:
    """`reasons` say why it is not met; `notes` are what it was judged by, a line each, and `numbers` the same by name:
    difference, lower bound and what that has to be above."""

    name: str
    reasons: list[str]
    notes: list[str] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not self.reasons


@dataclass(frozen=True)
class Verdict:
    criteria: list[Criterion]

    @property
    def is_open(self) -> bool:
        return all(criterion.passed for criterion in self.criteria)

    @property
    def reasons(self) -> list[str]:
        return [reason for criterion in self.criteria for reason in criterion.reasons]

    def as_json(self) -> dict[str, Any]:
        return {
            "open": self.is_open,
            "criteria": [{**asdict(criterion), "passed": criterion.passed} for criterion in self.criteria],
        }


def judge(
    candidate: Evaluation,
    base: Evaluation | None,
    champion: Evaluation | None,
    config: GateConfig = GateConfig(),
    *,
    is_champion: bool = False,
    no_base: str = NO_BASE,
) -> Verdict:
    """Judge `candidate`'s arm r3. Without `champion` there is none yet, or the candidate is the champion itself;
    without `base` the gate stays closed, for the reason `no_base`."""
    criteria = [
        Criterion("score_bounds", score_problems(candidate.results)),
        Criterion("enough_rows", size_problems(candidate.results, config)),
    ]
    if base is None:
        criteria += [Criterion(name, [no_base]) for name in ("clean_not_below_base", "robustness_above_base")]
    else:
        criteria += _against_base(candidate, base, config)
    if champion is None:
        note = "it is the champion" if is_champion else "there is no champion yet"
        criteria.append(Criterion("no_regression", [], [note]))
    else:
        criteria.append(_no_regression(candidate, champion, config))
    return Verdict(criteria)


def comparable(candidate: Evaluation, champion: Evaluation, config: GateConfig) -> str | None:
    """None when the champion's scores can judge the candidate's, else why not."""
    try:
        arms = _arms(candidate, champion, R3, CHAMPION)
    except R3Error as error:
        return str(error)
    return _too_little_in_common(arms, candidate, champion, R3, "the champion", config)


def _too_little_in_common(
    arms: Mapping[str, Arms], candidate: Evaluation, other: Evaluation, arm: str, who: str, config: GateConfig
) -> str | None:
    """Why the two cannot be compared, though something is common: data sets, levels, rows or pictures that one of them
    lacks."""
    if lacking := sorted(other.groups.keys() - candidate.groups.keys()):
        return f"{who} was evaluated on {lacking[0]}, the candidate was not"
    for dataset, by_arm in arms.items():
        mine, theirs = (set(one.groups[dataset][name]) for one, name in ((candidate, R3), (other, arm)))
        if mine - theirs:
            return f"{who} was not evaluated at level {min(mine - theirs):g} on {dataset}, the candidate was"
        if theirs - mine:
            return f"{who} was evaluated at level {min(theirs - mine):g} on {dataset}, the candidate was not"
        num_common = min(len(rows) for rows in by_arm[R3].values())
        if num_common < config.min_rows:
            return f"only {num_common} questions of {dataset} are the ones that {who} was asked"
        num_pictures = min(len({row.picture for row in rows}) for rows in by_arm[R3].values())
        if num_pictures < config.min_pictures:
            return f"the questions of {dataset} that {who} was asked too are about only {num_pictures} pictures"
    return None


def score_problems(results: Mapping[str, Any]) -> list[str]:
    """Scores that are not finite or outside 0..1."""
    return [
        f"{where}: {metric} is {value}"
        for where, cell in _cells(results)
        for metric, entry in cell["metrics"].items()
        if not (math.isfinite(value := entry["mean"]) and 0 <= value <= 1)
    ]


def size_problems(results: Mapping[str, Any], config: GateConfig = GateConfig()) -> list[str]:
    """Data sets, arms and levels that were scored on too few rows or pictures to say anything; nothing scored, or
    nothing of a data set whose answers are known, is a problem too."""
    if not any(_cells(results)):
        return ["nothing was scored"]
    lost = [
        f"{dataset}: none of the {counts['asked']} rows that were asked was scored"
        for dataset, counts in results["n-samples"].items()
        if counts.get("asked") and not counts["effective"] and not counts["answerless"]
    ]
    return lost + [
        f"{where}: scored on {cell[name]} {what}, at least {least} are needed"
        for where, cell in _cells(results)
        for name, what, least in (("n", "rows", config.min_rows), ("num_pictures", "pictures", config.min_pictures))
        if cell[name] < least
    ]


def _cells(results: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for dataset, arms in results["results"].items():
        for arm, levels in arms.items():
            for level, cell in levels.items():
                yield f"{dataset} {arm} at level {level}", cell


def _against_base(candidate: Evaluation, base: Evaluation, config: GateConfig) -> list[Criterion]:
    clean, robust = Criterion("clean_not_below_base", []), Criterion("robustness_above_base", [])
    try:
        refuse_other_view(candidate, base)
        arms = _arms(candidate, base, BASE, BASE)
    except R3Error as error:
        return [Criterion(criterion.name, [str(error)]) for criterion in (clean, robust)]
    if why := _too_little_in_common(arms, candidate, base, BASE, "the base", config):
        return [Criterion(criterion.name, [f"{why}; evaluate both alike"]) for criterion in (clean, robust)]
    _bounded(clean, _clean_differences(candidate, arms, BASE), -config.clean_margin, "clean")
    areas = _area_differences(candidate, arms, BASE)
    robust.notes.extend(f"{dataset}: {_said(area, 'area')}" for dataset, area in areas.items() if area)
    if lacking := [dataset for dataset, area in areas.items() if area is None]:
        robust.reasons.append(f"{lacking[0]}: base and candidate have no two damage levels in common; evaluate more")
        return [clean, robust]
    mean = sum(area["mean"] for area in areas.values()) / len(areas)
    stderr = math.sqrt(sum(area["stderr"] ** 2 for area in areas.values())) / len(areas)  # data sets are independent
    spread = statistics.Z_95 * stderr
    low, high = mean - spread, mean + spread
    if any(area["num_clusters"] < statistics.MIN_CLUSTERS for area in areas.values()):
        low, high = statistics.DIFFERENCES  # of one picture nothing is known, nor of a mean that it is in
    over_all = {"mean": mean, "low": low, "high": high}
    _bounded(robust, {"mean of the data sets": over_all}, config.min_robustness_gain, "area")
    return [clean, robust]


def _no_regression(candidate: Evaluation, champion: Evaluation, config: GateConfig) -> Criterion:
    criterion = Criterion("no_regression", [])
    if why := comparable(candidate, champion, config):
        criterion.reasons.append(f"{why}; evaluate the champion again on these questions")
        return criterion
    arms = _arms(candidate, champion, R3, CHAMPION)
    _bounded(criterion, _clean_differences(candidate, arms, CHAMPION), -config.champion_margin, "clean")
    areas = _area_differences(candidate, arms, CHAMPION)
    _bounded(criterion, {name: area for name, area in areas.items() if area}, -config.champion_margin, "area")
    return criterion


def _bounded(criterion: Criterion, found: Mapping[str, Any], bound: float, what: str) -> None:
    """Note each difference; one whose lower bound is not above `bound` is a reason."""
    for name, entry in found.items():
        criterion.notes.append(f"{name}: {_said(entry, what)}")
        key = f"{what}_{name.replace(' ', '_')}"
        criterion.numbers.update({key: entry["mean"], f"{key}_low": entry["low"], f"{what}_low_has_to_be_above": bound})
        if not entry["low"] > bound:
            criterion.reasons.append(
                f"{name}: {_said(entry, what)}, whose lower bound has to be above {100 * bound:+.1f}"
            )


def _said(entry: Mapping[str, Any], what: str) -> str:
    return f"{what} {signed_interval(entry)} points"


def _arms(candidate: Evaluation, other: Evaluation, arm: str, name: str) -> dict[str, Arms]:
    """By data set the candidate's r3 and the other's `arm` as `name`, on the questions that both have.

    Raises R3Error where a data set of the candidate lacks one of them, nothing is common, or the damage differs.
    """
    refuse_other_damage(candidate, other)
    found: dict[str, Arms] = {}
    for dataset, by_arm in candidate.groups.items():
        mine, theirs = by_arm.get(R3), other.groups.get(dataset, {}).get(arm)
        if not mine or not theirs:
            place = candidate.folder if not mine else other.folder
            raise R3Error(f"{place} has no answers of arm {R3 if not mine else arm} on {dataset}")
        levels = [level for level in mine if level in theirs]
        pairs = {level: rows_in_common(candidate, other, level, mine[level], theirs[level]) for level in levels}
        if not pairs or not all(rows for rows, _ in pairs.values()):
            raise R3Error(f"{candidate.folder} and {other.folder} have no question of {dataset} in common")
        if 0.0 not in pairs:
            raise R3Error(f"{dataset} was not evaluated undamaged (level 0) by both; evaluate that level too")
        found[dataset] = {R3: _part(pairs, 0), name: _part(pairs, 1)}
    return found


def _part(pairs: Mapping[float, tuple[Sequence[Any], Sequence[Any]]], side: int) -> dict[float, Sequence[Any]]:
    return {level: pair[side] for level, pair in pairs.items()}


def _clean_differences(candidate: Evaluation, arms: Mapping[str, Arms], other: str) -> dict[str, Any]:
    return {
        dataset: differences(dataset, by_arm, candidate.primary(dataset), candidate.seed)[f"{R3} - {other}"][CLEAN]
        for dataset, by_arm in arms.items()
    }


def _area_differences(candidate: Evaluation, arms: Mapping[str, Arms], other: str) -> dict[str, Any]:
    """By data set; None where fewer than two levels are common."""
    found = {}
    for dataset, by_arm in arms.items():
        entry = robustness(dataset, by_arm, candidate.primary(dataset), candidate.seed)[R3]
        found[dataset] = entry.get("area_differences", {}).get(f"{R3} - {other}")
    return found
