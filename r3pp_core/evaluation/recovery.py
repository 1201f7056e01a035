"""How much of what damage costs is won back: R3 against a model without evidence, on the same rows.

For each data set, with x the score of a row, c the arm without evidence and r3 ours, at the highest common level L:

    lost      = mean(x[c, 0] - x[c, L])
    won back  = mean(x[r3, L] - x[c, L])
    recovered = won back / lost

Over data sets each counts the same. Intervals are 95 % percentile intervals from resampling pictures, in each data set
apart.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from r3pp_core.evaluation import statistics
from r3pp_core.evaluation.comparison import BASE, R3
from r3pp_core.evaluation.grouping import Arms, column, level_key
from r3pp_core.evaluation.text_table import signed_interval, text_table

CONTROL: Final = "control"
# What R3 is measured against, the first that was evaluated: the same training without evidence, else the base.
WITHOUT: Final = (CONTROL, "base_ocr", BASE)
MEAN: Final = "mean"
_PARTS: Final = ("lost", "won_back", "clean_difference", "clean")


def recovery(groups: Mapping[str, Arms], primary: Mapping[str, str], seed: int) -> dict[str, Any] | None:
    """One JSON-able dict, or None where R3 was not evaluated clean and damaged beside an arm without evidence.

    "against" and "level" say what R3 is compared with. Each entry of "datasets", and "mean" over them, has "lost",
    "won_back", "clean_difference" (R3 - the other, undamaged) and "clean" (the other's undamaged score) as intervals,
    "lost_share" (lost / clean) and "recovered" (won_back / lost); "recovered" is None where no loss was
    shown (its lower bound is not above zero), since a share of nothing has no bounds.
    """
    against = next((arm for arm in WITHOUT if groups and all(_is_there(arms, arm) for arms in groups.values())), None)
    if against is None:
        return None
    top = max(set.intersection(*({*arms[R3]} & {*arms[against]} for arms in groups.values())))
    if top == 0:
        return None
    tables = {dataset: _table(arms, against, top, primary[dataset]) for dataset, arms in groups.items()}
    drawn = {
        dataset: statistics.resampled_means(values, pictures, seed + number)
        for number, (dataset, (values, pictures)) in enumerate(tables.items())
    }
    means = {dataset: values.mean(axis=0) for dataset, (values, _) in tables.items()}
    counts = {dataset: (len(values), len(set(pictures))) for dataset, (values, pictures) in tables.items()}
    is_known = {dataset: pictures >= statistics.MIN_CLUSTERS for dataset, (_, pictures) in counts.items()}
    return {
        "against": against,
        "level": level_key(top),
        "datasets": {
            dataset: _entry(means[dataset], drawn[dataset], *counts[dataset], is_known[dataset]) for dataset in tables
        },
        MEAN: _entry(
            np.mean(list(means.values()), axis=0),
            np.mean(list(drawn.values()), axis=0),
            sum(rows for rows, _ in counts.values()),
            sum(pictures for _, pictures in counts.values()),
            all(is_known.values()),
        ),
    }


def recovery_rows(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """A line a data set, and their mean where there are several."""
    rows = list(found["datasets"].items())
    return [*rows, (MEAN, found[MEAN])] if len(rows) > 1 else rows


def recovery_text(results: Mapping[str, Any]) -> str:
    """For a terminal, in %: what damage costs the arm without evidence, and how much of it R3 wins back."""
    found = results.get("recovery")
    if found is None:
        return ""
    titles = [
        "data set",
        "undamaged",
        "lost",
        "won back, points",
        "of the loss",
        f"{R3} - {found['against']} undamaged",
    ]
    table = [
        [
            name,
            f"{100 * entry['clean']['mean']:.1f}",
            _said(entry["lost_share"]),
            signed_interval(entry["won_back"]),
            _said(entry["recovered"]),
            signed_interval(entry["clean_difference"]),
        ]
        for name, entry in recovery_rows(found)
    ]
    lines = text_table(titles, table, num_left=1)
    lines.insert(1, "-" * len(lines[0]))
    return f"\n{found['against']} at level {found['level']}, and what {R3} wins back:\n" + "\n".join(lines) + "\n"


def _said(share: Mapping[str, float] | None) -> str:
    return (
        "-" if share is None else "{:.0f} [{:.0f}, {:.0f}]".format(*(100 * share[x] for x in ("mean", "low", "high")))
    )


def _is_there(arms: Arms, against: str) -> bool:
    """Whether both were asked the same rows, clean and at some level."""
    mine, theirs = arms.get(R3, {}), arms.get(against, {})
    levels = set(mine) & set(theirs)
    return 0.0 in levels and len(levels) > 1 and all(_ids(mine[x]) == _ids(theirs[x]) for x in levels)


def _ids(rows: Sequence[Any]) -> list[str]:
    return [row.id for row in rows]


def _table(arms: Arms, against: str, top: float, metric: str) -> tuple[np.ndarray, list[Hashable]]:
    """A line a row with _PARTS as columns (n, 4), and the rows' pictures."""
    clean, damaged = (column(arms[against][level], metric) for level in (0.0, top))
    ours_clean, ours_damaged = (column(arms[R3][level], metric) for level in (0.0, top))
    values = np.column_stack([clean - damaged, ours_damaged - damaged, ours_clean - clean, clean])
    return values, [row.picture for row in arms[R3][top]]


def _entry(mean: np.ndarray, drawn: np.ndarray, num_rows: int, num_pictures: int, is_known: bool) -> dict[str, Any]:
    """`mean` (4,), `drawn` (R, 4). Not `is_known`: of one picture nobody can tell how they vary, so that their bounds
    are all that is possible."""
    parts = {name: _interval(mean[i], drawn[:, i]) for i, name in enumerate(_PARTS)}
    if not is_known:
        for name, part in parts.items():
            part["low"], part["high"] = statistics.SCORES if name == "clean" else statistics.DIFFERENCES
    lost, won, clean = mean[0], mean[1], mean[3]
    return {
        **parts,
        "lost_share": _share(lost, clean, drawn[:, 0], drawn[:, 3]) if is_known else None,
        "recovered": _share(won, lost, drawn[:, 1], drawn[:, 0]) if is_known else None,
        "n": num_rows,
        "num_pictures": num_pictures,
    }


def _share(part: float, whole: float, parts: np.ndarray, wholes: np.ndarray) -> dict[str, float] | None:
    """part / whole; None where the whole is not shown to be above zero."""
    if np.quantile(wholes, (1 - statistics.CONFIDENCE) / 2) <= 0:
        return None
    positive = wholes > 0
    return _interval(part / whole, parts[positive] / wholes[positive])


def _interval(mean: float, drawn: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(drawn, [(1 - statistics.CONFIDENCE) / 2, (1 + statistics.CONFIDENCE) / 2])
    return {"mean": float(mean), "low": float(low), "high": float(high)}
