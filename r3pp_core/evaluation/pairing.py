"""Two evaluations against each other: paired differences on the rows that both have, and the rows that changed.

Both are scored anew from their samples, so that one version of the metrics judges them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from r3pp_core.artefact import Target, hash_json, require_manifest
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.evaluation import statistics
from r3pp_core.evaluation.comparison import BASE, R3
from r3pp_core.evaluation.grouping import Arms, ScoredRow, column, group_samples, level_key, level_of
from r3pp_core.evaluation.metrics import METRICS
from r3pp_core.evaluation.reporting import read_results
from r3pp_core.evaluation.text_table import signed_interval, text_table
from r3pp_core.jsonl import read_jsonl

# Where two evaluations differ in one of these, their questions were not the same, whatever the rows.
SAME_QUESTIONS = ("damage", "seed", "code")
# What a model and the base that it is measured against have to be given alike.
SAME_VIEW = ("prompt", "max_pixels", "decoding", "dtype")
LEADING_ARMS = (R3, BASE)


@dataclass(frozen=True)
class Evaluation:
    """`said` maps (arm, level, row id) to the sample, without its picture's truth and evidence.

    `asked` maps a row id to what was asked: picture, question and references. `damaged` maps (level, row id) to a hash
    of the damage that was done and the text that it left, None where no arm was given it.
    """

    folder: Path
    results: Mapping[str, Any]
    groups: Mapping[str, Arms]
    said: Mapping[tuple[str, float, str], Mapping[str, Any]]
    asked: Mapping[str, tuple[str, str, tuple[str, ...]]]
    damaged: Mapping[tuple[float, str], tuple[str, str | None]]

    @classmethod
    def read(cls, folder: Path) -> "Evaluation":
        """Raises R3Error where `folder` holds no finished evaluation."""
        require_manifest(Target(folder), "r3pp evaluate")
        samples = list(read_jsonl(folder / "samples.jsonl"))
        groups, _ = group_samples(samples, METRICS)
        said = {
            (sample["arm"], level_of(sample), sample["id"]): {
                name: sample[name] for name in ("question", "answers", "prediction", "image_path")
            }
            for sample in samples
        }
        asked = {
            sample["id"]: (sample["image_sha256"], sample["question"], tuple(sample["answers"])) for sample in samples
        }
        damaged: dict[tuple[float, str], tuple[str, str | None]] = {}
        for sample in samples:
            place = level_of(sample), sample["id"]
            text = sample.get("pseudo_text") or damaged.get(place, ("", None))[1]
            damaged[place] = hash_json(sample.get("operators")), text
        return cls(folder, read_results(folder), groups, said, asked, damaged)

    @property
    def arms(self) -> list[str]:
        return sorted({arm for arms in self.groups.values() for arm in arms})

    @property
    def seed(self) -> int:
        """Of its intervals."""
        return int(self.results["bootstrap"]["seed"])

    def primary(self, dataset: str) -> str:
        """The data set's leading metric."""
        return str(self.results["primary"][dataset])


def refuse_other_damage(a: Evaluation, b: Evaluation) -> None:
    """Raise R3Error where the two damaged their pictures otherwise."""
    _refuse_unlike(a, b, SAME_QUESTIONS, "so that their pictures were damaged otherwise")


def refuse_other_view(a: Evaluation, b: Evaluation) -> None:
    """Raise R3Error where one was shown larger pictures, another prompt, might say more, or answered in another number
    format."""
    _refuse_unlike(a, b, SAME_VIEW, "so that one of them had it easier")


def _refuse_unlike(a: Evaluation, b: Evaluation, names: Sequence[str], so: str) -> None:
    unlike = _unlike(a.results["signature"], b.results["signature"])
    if wrong := [name for name in names if name in unlike]:
        name, (mine, theirs) = wrong[0], unlike[wrong[0]]
        raise R3Error(
            f"{a.folder} and {b.folder} differ in {name} ({mine} and {theirs}), {so}; evaluate one of them again"
        )


def rows_in_common(
    a: Evaluation, b: Evaluation, level: float, rows_a: Sequence[ScoredRow], rows_b: Sequence[ScoredRow]
) -> tuple[list[ScoredRow], list[ScoredRow]]:
    """Those of `rows_a` and `rows_b`, at `level`, that were asked the same question of the same picture, damaged alike,
    in the order of their ids.

    An id may stand for another question where the table between the two was made anew, and a picture may have been
    read by OCR once more.
    """
    ids = {row.id for row in rows_a} & {row.id for row in rows_b}
    same = {
        row_id
        for row_id in ids
        if a.asked[row_id] == b.asked[row_id] and _are_alike(a.damaged[level, row_id], b.damaged[level, row_id])
    }
    kept_a, kept_b = ([row for row in rows if row.id in same] for rows in (rows_a, rows_b))  # both sorted by id
    return kept_a, kept_b


def _are_alike(one: tuple[str, str | None], other: tuple[str, str | None]) -> bool:
    """A text that was given to one of the two alone tells no difference, nor one that a prompt cut shorter."""
    short, long = sorted((one[1] or "", other[1] or ""), key=len)
    return one[0] == other[0] and long.startswith(short)


def compare(folder_a: Path, folder_b: Path, arm_a: str | None = None, arm_b: str | None = None) -> dict[str, Any]:
    """B against A, as one JSON-able dict.

    "differences": data set -> arm -> level -> the paired difference B - A in the data set's leading metric, with the
    two means, the rows that one of them lacks, and the counts of rows that got better, worse, or another answer of the
    same score ("reworded"). "areas": data set -> arm -> the difference of the area under the curve over "levels", on
    the rows that both have at all of them. "changed": the rows that got better or worse, the greatest change first.
    "reworded": those with another answer of the same score. "signature": where the two differ in what was evaluated.

    Arms that both have are compared with themselves; with `arm_a` and `arm_b`, or where none is common, one with
    another. Raises R3Error when nothing is common or the damage differs, UsageError for an arm that is not there.
    """
    a, b = Evaluation.read(folder_a), Evaluation.read(folder_b)
    refuse_other_damage(a, b)
    differences: dict[str, Any] = {}
    areas: dict[str, Any] = {}
    others: list[dict[str, Any]] = []
    for mine, theirs in _pairs(a, b, arm_a, arm_b):
        label = mine if mine == theirs else f"{theirs} - {mine}"
        for dataset in sorted(a.groups.keys() & b.groups.keys()):
            metric = a.primary(dataset)
            levels = a.groups[dataset].get(mine, {}), b.groups[dataset].get(theirs, {})
            paired: dict[float, tuple[list[ScoredRow], list[ScoredRow]]] = {}
            for level in sorted(levels[0].keys() & levels[1].keys()):
                common = rows_in_common(a, b, level, levels[0][level], levels[1][level])
                if not common[0]:
                    continue
                paired[level] = common
                rows = [
                    {"dataset": dataset, "arm": label, "level": level, "metric": metric, **row}
                    for row in _other_answers(a, b, (mine, theirs), level, common, metric)
                ]
                entry = _difference(*common, metric, a.seed)
                entry["reworded"] = sum(not _is_changed(row) for row in rows)
                for side, asked, kept in zip(("only_a", "only_b"), levels, common, strict=True):
                    entry[side] = len(asked[level]) - len(kept)
                differences.setdefault(dataset, {}).setdefault(label, {})[level_key(level)] = entry
                others += rows
            if area := _area_difference(paired, metric, a.seed):
                areas.setdefault(dataset, {})[label] = area
    if not differences:
        raise R3Error(f"{folder_a} and {folder_b} have no scored row at the same level in common; nothing to compare")
    others.sort(key=lambda row: (-abs(row["b"]["score"] - row["a"]["score"]), row["dataset"], row["level"], row["id"]))
    return {
        "a": str(folder_a),
        "b": str(folder_b),
        "differences": differences,
        "areas": areas,
        "changed": [row for row in others if _is_changed(row)],
        "reworded": [row for row in others if not _is_changed(row)],
        "signature": {
            name: {"a": pair[0], "b": pair[1]}
            for name, pair in _unlike(a.results["signature"], b.results["signature"]).items()
        },
    }


def _pairs(a: Evaluation, b: Evaluation, arm_a: str | None, arm_b: str | None) -> list[tuple[str, str]]:
    for arm, evaluation, flag in ((arm_a, a, "--arm_a"), (arm_b, b, "--arm_b")):
        if arm is not None and arm not in evaluation.arms:
            raise UsageError(f"{flag} {arm}: {evaluation.folder} has the arms {', '.join(evaluation.arms)}")
    common = [arm for arm in a.arms if arm in b.arms]
    if arm_a or arm_b or not common:
        return [(arm_a or _leading(a), arm_b or _leading(b))]
    return [(arm, arm) for arm in common]


def _leading(evaluation: Evaluation) -> str:
    return next((arm for arm in LEADING_ARMS if arm in evaluation.arms), evaluation.arms[0])


def _unlike(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (a.get(name), b.get(name)) for name in sorted({*a, *b}) if a.get(name) != b.get(name)}


def _is_changed(row: Mapping[str, Any]) -> bool:
    return bool(row["a"]["score"] != row["b"]["score"])


def _other_answers(
    a: Evaluation,
    b: Evaluation,
    arms: tuple[str, str],
    level: float,
    rows: tuple[Sequence[ScoredRow], Sequence[ScoredRow]],
    metric: str,
) -> Iterator[dict[str, Any]]:
    """Of the same questions those that were answered otherwise, with both answers and scores."""
    for row, score_a, score_b in zip(rows[0], column(rows[0], metric), column(rows[1], metric), strict=True):
        said_a, said_b = a.said[arms[0], level, row.id], b.said[arms[1], level, row.id]
        if said_a["prediction"] != said_b["prediction"]:
            yield {
                "id": row.id,
                "a": {"score": float(score_a), "prediction": said_a["prediction"]},
                "b": {"score": float(score_b), "prediction": said_b["prediction"]},
                **{name: said_b[name] for name in ("question", "answers", "image_path")},
            }


def _difference(rows_a: Sequence[ScoredRow], rows_b: Sequence[ScoredRow], metric: str, seed: int) -> dict[str, Any]:
    """The entry of one data set, arm and level."""
    scores_a, scores_b = column(rows_a, metric), column(rows_b, metric)
    return {
        "metric": metric,
        **asdict(statistics.paired_difference(scores_b, scores_a, [row.picture for row in rows_b], seed)),
        "a": float(scores_a.mean()),
        "b": float(scores_b.mean()),
        "better": int((scores_b > scores_a).sum()),
        "worse": int((scores_b < scores_a).sum()),
    }


def _area_difference(
    paired: Mapping[float, tuple[Sequence[ScoredRow], Sequence[ScoredRow]]], metric: str, seed: int
) -> dict[str, Any] | None:
    """Of the area under the curve, over the rows that both have at every level; None where no curve is in common."""
    ids = set.intersection(*({row.id for row in rows} for rows, _ in paired.values())) if paired else set()
    if len(paired) < 2 or not ids:
        return None
    weights = statistics.trapezoid_weights(list(paired))
    kept = [[[row for row in rows if row.id in ids] for rows in sides] for sides in paired.values()]
    area_a, area_b = (weights @ np.stack([column(sides[side], metric) for sides in kept]) for side in (0, 1))
    return {
        "metric": metric,
        "levels": list(paired),
        **asdict(statistics.paired_difference(area_b, area_a, [row.picture for row in kept[0][1]], seed)),
        "a": float(area_a.mean()),
        "b": float(area_b.mean()),
    }


def comparison_text(compared: Mapping[str, Any], num_examples: int = 10) -> str:
    """For a terminal, in %: a line for each data set, arm and level, then the rows that changed, the most first."""
    lines = [f"A {compared['a']}", f"B {compared['b']}"]
    lines += [f"differs in {name}: {pair['a']} | {pair['b']}" for name, pair in compared["signature"].items()]
    titles = ["data set", "arm", "level", "metric", "A", "B", "B - A", "p", "n", "better", "worse"]
    titles += ["reworded", "only A", "only B"]
    table = [
        [
            dataset,
            arm,
            level,
            entry["metric"],
            f"{100 * entry['a']:.1f}",
            f"{100 * entry['b']:.1f}",
            signed_interval(entry),
            f"{entry['p']:.3f}",
            *(str(entry.get(name, "-")) for name in ("n", "better", "worse", "reworded", "only_a", "only_b")),
        ]
        for dataset, arms in compared["differences"].items()
        for arm, levels in arms.items()
        for level, entry in [*levels.items(), *_area_of(compared, dataset, arm)]
    ]
    lines += ["", *text_table(titles, table, num_left=4)]
    for kind, what in (("changed", "changed their score"), ("reworded", "are other words of the same score")):
        shown = compared[kind][:num_examples]
        lines += ["", f"{len(compared[kind])} answers {what}{'; the first ' + str(len(shown)) + ':' if shown else ''}"]
        for row in shown:
            lines.append(f"{row['id']} at level {level_key(row['level'])}, {row['arm']}: {row['question']}")
            lines += [f"  {side.upper()} {row[side]['score']:.2f} {row[side]['prediction']!r}" for side in ("a", "b")]
            lines.append(f"  expected {' or '.join(row['answers'])}")
    return "\n".join(lines) + "\n"


def _area_of(compared: Mapping[str, Any], dataset: str, arm: str) -> list[tuple[str, Mapping[str, Any]]]:
    area = compared["areas"].get(dataset, {}).get(arm)
    return [("area", area)] if area else []
