"""Samples sorted into scored rows by data set, arm and level; what cannot be scored is counted or named."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from r3pp_core.errors import R3Error
from r3pp_core.evaluation.metrics import METRICS, Metric

SUBSETS: Final[dict[Any, str]] = {0: "human", 1: "augmented"}
"""`meta.human_or_machine` of HuggingFaceM4/ChartQA (0 human, 1 machine) by the names in ChartQA's tables."""

NO_SAMPLES: Final = {"original": 0, "effective": 0, "answerless": 0, "non_finite": 0}
"""The counts of a data set's rows, where there is none."""

COUPLING: Final = "coupling"
"""The kind of a record that says what a picture's damage did to its text: no damage of its own."""

_REQUIRED: Final = ("id", "dataset", "arm", "level", "image_sha256", "answers", "prediction")


@dataclass(frozen=True)
class ScoredRow:
    """What scoring keeps of a sample: `scores` follow the order of its metric set, METRICS first."""

    id: str
    picture: str
    scores: tuple[float, ...]
    subset: str | None
    operators: tuple[str, ...]


ByLevel = Mapping[float, Sequence[ScoredRow]]  # rows in the order of their ids
Arms = Mapping[str, ByLevel]


def score_row(sample: Mapping[str, Any], functions: Mapping[str, Metric]) -> dict[str, float]:
    """Every metric of one sample that has reference answers.

    Raises:
        R3Error: the sample has no reference answer.
    """
    return {name: metric(sample["prediction"], sample["answers"]) for name, metric in functions.items()}


def level_of(sample: Mapping[str, Any]) -> float:
    """A sample's damage level, as rows are grouped by it."""
    return round(float(sample["level"]), 6)


def level_key(level: float) -> str:
    """A damage level as the results' JSON key: 0 -> "0", 0.8 -> "0.8"."""
    return f"{level:g}"


def group_samples(
    samples: Iterable[Mapping[str, Any]],
    functions: Mapping[str, Metric],
) -> tuple[Mapping[str, Arms], dict[str, dict[str, int]]]:
    """Scored rows by data set, arm and level, each list in the order of ids; and the counts of rows.

    Raises:
        R3Error: no samples, a sample without a field or with an impossible level, a repeated row, or a score that is
            not finite.
    """
    found: dict[tuple[str, str, float], dict[str, ScoredRow]] = defaultdict(dict)
    ids: dict[str, set[str]] = defaultdict(set)
    answerless: dict[str, set[str]] = defaultdict(set)
    non_finite: dict[str, set[str]] = defaultdict(set)
    scored: dict[tuple[str, tuple[str, ...]], tuple[float, ...]] = {}  # levels often repeat a prediction
    for sample in samples:
        _check(sample)
        dataset = sample["dataset"]
        ids[dataset].add(sample["id"])
        if has_non_finite(sample):
            non_finite[dataset].add(sample["id"])
        if not sample["answers"]:
            answerless[dataset].add(sample["id"])
            continue
        rows = found[dataset, sample["arm"], level_of(sample)]
        if sample["id"] in rows:
            raise R3Error(
                f"row {sample['id']} appears twice for arm {sample['arm']} at level {sample['level']:g}; "
                "score one run's samples at a time"
            )
        key = (sample["prediction"], tuple(sample["answers"]))
        if key not in scored:
            scored[key] = _finite_scores(sample, functions)
        rows[sample["id"]] = _scored_row(sample, scored[key])
    if not ids:
        raise R3Error("there is no sample to score; run the evaluation first")
    groups: dict[str, dict[str, dict[float, list[ScoredRow]]]] = {}
    for dataset, arm, level in sorted(found):
        by_id = found[dataset, arm, level]
        groups.setdefault(dataset, {}).setdefault(arm, {})[level] = [by_id[key] for key in sorted(by_id)]
    num_samples = {
        dataset: {
            "original": len(ids[dataset]),
            "effective": len(ids[dataset] - answerless[dataset]),
            "answerless": len(answerless[dataset]),
            "non_finite": len(non_finite[dataset]),
        }
        for dataset in sorted(ids)
    }
    return groups, num_samples


def has_non_finite(sample: Mapping[str, Any]) -> bool:
    """Whether a number that the model states, or that its evidence was found by, was not finite: it is null here."""
    stated = [value for name in ("gate", "confidence") for value in (sample.get(name) or {}).values()]
    found = [hit.get(name, 0) for hit in sample.get("evidence") or () for name in ("score", "weight")]
    return None in (*stated, *found)


def column(rows: Sequence[ScoredRow], metric: str) -> np.ndarray:
    """Scores (n,) of one metric of METRICS."""
    return np.array([row.scores[list(METRICS).index(metric)] for row in rows])


def _check(sample: Mapping[str, Any]) -> None:
    missing = [key for key in _REQUIRED if sample.get(key) is None]
    if missing:
        raise R3Error(f"sample {sample.get('id', '(no id)')} has no {', '.join(missing)}; write it again with predict")
    level = sample["level"]
    if not (isinstance(level, int | float) and math.isfinite(level) and 0 <= level <= 1):
        raise R3Error(f"sample {sample['id']} has level {level!r}; a damage level is a number from 0 to 1")


def _finite_scores(sample: Mapping[str, Any], functions: Mapping[str, Metric]) -> tuple[float, ...]:
    scores = score_row(sample, functions)
    for name, score in scores.items():
        if not math.isfinite(score):
            raise R3Error(f"row {sample['id']} of {sample['dataset']} scores {score} in {name}; mend that metric")
    return tuple(scores.values())


def _scored_row(sample: Mapping[str, Any], scores: tuple[float, ...]) -> ScoredRow:
    kind = (sample.get("meta") or {}).get("human_or_machine")
    if kind is not None and kind not in SUBSETS:
        raise R3Error(f"sample {sample['id']} has human_or_machine {kind!r}; it is 0 (human) or 1 (machine)")
    damaging = [one for one in sample.get("operators") or () if one.get("kind") != COUPLING]
    operators = tuple(sorted({operator["name"] for operator in damaging}))
    subset = None if kind is None else SUBSETS[kind]
    return ScoredRow(sample["id"], sample["image_sha256"], scores, subset, operators)
