"""From samples (one dict a row, as `predict` writes them) to results: scores, comparisons, signatures.

The top keys are named as in lm-evaluation-harness' results.json (results, versions, higher_is_better, n-samples);
below them data set, arm and level are nested, where it has flat tasks. Predictions are final when they come here:
nothing in this module edits one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from r3pp_core.errors import R3Error
from r3pp_core.evaluation import statistics
from r3pp_core.evaluation.calibration import Calibration
from r3pp_core.evaluation.comparison import BASE, R3, by_operator, differences, robustness
from r3pp_core.evaluation.grouping import NO_SAMPLES, SUBSETS, ScoredRow, group_samples, level_key
from r3pp_core.evaluation.metric_set import ALWAYS, MetricSet
from r3pp_core.evaluation.metrics import METRICS
from r3pp_core.evaluation.recovery import recovery
from r3pp_core.evaluation.signature import short_signature
from r3pp_core.evaluation.text_table import signed_interval, text_table


def score_samples(
    samples: Iterable[Mapping[str, Any]],
    primary: Mapping[str, str],
    seed: int = 0,
    signature: Mapping[str, Any] | None = None,
    metrics: MetricSet = ALWAYS,
    row_counts: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> dict[str, Any]:
    """All results of a run, as one JSON-able dict; the same samples in any order give the same results.

    `primary` names the leading metric of each data set. `signature` says what was evaluated (data hash, model
    hash, prompt, max_pixels, decoding); a value may be a mapping by data set or by arm. Rows without answers
    are counted under "n-samples" and never scored. A data set is led by one of METRICS, whatever `metrics` adds.
    `row_counts` says by data set what became of the table's rows before they were samples; it joins "n-samples".

    Raises:
        R3Error: no samples, a sample without a field, a repeated row, a data set without a primary metric, or
            a row that one of two compared arms or levels lacks.
    """
    calibration = Calibration()
    groups, counted = group_samples(calibration.watch(samples), metrics.functions)
    num_samples = {
        dataset: {**counted.get(dataset, NO_SAMPLES), **row_counts.get(dataset, {})}
        for dataset in sorted({*counted, *row_counts})
    }
    for dataset in num_samples:
        if primary.get(dataset) not in METRICS:
            raise R3Error(
                f"the primary metric of data set {dataset!r} is {primary.get(dataset)!r}; "
                f"name one of {', '.join(METRICS)}"
            )
    described = dict(signature or {})
    return {
        "results": {
            dataset: {
                arm: {
                    level_key(level): _score_group(rows, seed, (dataset, arm, level_key(level)), described, metrics)
                    for level, rows in by_level.items()
                }
                for arm, by_level in arms.items()
            }
            for dataset, arms in groups.items()
        },
        "differences": {d: differences(d, arms, primary[d], seed) for d, arms in groups.items()},
        "robustness": {d: robustness(d, arms, primary[d], seed) for d, arms in groups.items()},
        "recovery": recovery(groups, primary, seed),
        "operators": {d: by_operator(arms, primary[d], seed) for d, arms in groups.items()},
        "confidence": calibration.results(),
        "primary": {dataset: primary[dataset] for dataset in num_samples},
        "n-samples": num_samples,
        "versions": dict(metrics.versions),
        "higher_is_better": dict.fromkeys(metrics.functions, True),
        "signature": {**described, **metrics.signature},
        "bootstrap": {
            "unit": "picture",
            "num_resamples": statistics.NUM_RESAMPLES,
            "confidence": statistics.CONFIDENCE,
            "seed": seed,
        },
    }


def _score_group(
    rows: Sequence[ScoredRow],
    seed: int,
    place: tuple[str, str, str],
    signature: Mapping[str, Any],
    metrics: MetricSet,
) -> dict[str, Any]:
    """`place`: data set, arm and level."""
    signatures = {metric: short_signature(metric, *place, signature, metrics) for metric in metrics.functions}
    subsets = {name: [row for row in rows if row.subset == name] for name in SUBSETS.values()}
    return {
        **_score_metrics(rows, seed, signatures),
        "subsets": {
            name: _score_metrics(part, seed, {m: f"{text}|subset:{name}" for m, text in signatures.items()})
            for name, part in subsets.items()
            if part
        },
    }


def _score_metrics(rows: Sequence[ScoredRow], seed: int, signatures: Mapping[str, str]) -> dict[str, Any]:
    pictures = [row.picture for row in rows]
    intervals = statistics.bootstrap_means([row.scores for row in rows], pictures, seed)
    return {
        "n": len(rows),
        "num_pictures": len(set(pictures)),
        "metrics": {
            name: {**asdict(interval), "signature": signatures[name]}
            for name, interval in zip(signatures, intervals, strict=True)
        },
    }


def score_table(results: Mapping[str, Any], header: str | None = None) -> str:
    """The results as plain text in %: a line per data set with base and R3, clean and at the highest level.

    The difference is R3 - base at the highest level, with its 95 % interval. `header` becomes the first line.
    """
    titles = ["data set", "metric"]
    lines: list[list[str]] = []
    top = max(
        (float(level) for arms in results["results"].values() for x in arms.values() for level in x),
        default=0.0,
    )
    points = [(arm, level_key(level)) for level in dict.fromkeys((0.0, top)) for arm in (BASE, R3)]
    titles += [f"{arm}@{level}" for arm, level in points] + [f"{R3} - {BASE} @{level_key(top)}", "n"]
    for dataset, metric in results["primary"].items():
        arms = results["results"].get(dataset, {})
        cells = [arms.get(arm, {}).get(level) for arm, level in points]
        difference = results["differences"].get(dataset, {}).get(f"{R3} - {BASE}", {}).get(level_key(top))
        lines.append(
            [
                dataset,
                metric,
                *("-" if cell is None else f"{100 * cell['metrics'][metric]['mean']:.1f}" for cell in cells),
                "-" if difference is None else signed_interval(difference),
                str(results["n-samples"][dataset]["effective"]),
            ]
        )
    text = text_table(titles, lines, num_left=2)
    text.insert(1, "-" * len(text[0]))
    return "\n".join(([header] if header else []) + text) + "\n"
