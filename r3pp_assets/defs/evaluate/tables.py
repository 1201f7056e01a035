"""Results as Dagster metadata: a table of scores, and the report's plots as pictures."""

from typing import Any

import dagster as dg

from r3pp_assets.metadata import inline_png


def results_table(results: dict[str, Any]) -> dg.TableMetadataValue:
    """One line per data set, arm and level: the primary metric with its 95 % interval and n."""
    records = []
    for dataset, arms in results["results"].items():
        metric = results["primary"][dataset]
        for arm, levels in arms.items():
            for level, cell in levels.items():
                score = cell["metrics"][metric]
                records.append(
                    dg.TableRecord(
                        {
                            "data set": dataset,
                            "arm": arm,
                            "level": str(level),
                            "metric": metric,
                            "score": round(score["mean"], 4),
                            "95 % interval": f"{score['low']:.3f} to {score['high']:.3f}",
                            "n": cell["n"],
                        }
                    )
                )
    return dg.MetadataValue.table(records)


def report_numbers(results: dict[str, Any]) -> dict[str, float]:
    """What a report comes to, as numbers with a history: areas under the curves, and what R3 wins back."""
    from r3pp_core.evaluation.recovery import recovery_rows

    found = {
        f"area_{dataset}_{arm}": entry["area"]["mean"]
        for dataset, arms in results["robustness"].items()
        for arm, entry in arms.items()
        if entry["area"]
    }
    for dataset, entry in recovery_rows(results["recovery"]) if results["recovery"] else []:
        for name in ("lost", "won_back", "clean_difference"):
            found[f"{name}_{dataset}"] = entry[name]["mean"]
        if entry["recovered"]:
            found[f"recovered_{dataset}"] = entry["recovered"]["mean"]
    return found


PLOTS = {
    "curves": "{}: score against damage",
    "ablations": "{} at level {}: R3, R3 without a part or with other evidence, and the base",
    "operators": "{} by kind of damage",
}


def plots_markdown(results: dict[str, Any]) -> dict[str, dg.MarkdownMetadataValue]:
    """The plots of the report as inline pictures: of each data set, and what stated confidence is worth."""
    from r3pp_core.evaluation.plots import ablation_level, dataset_plots, reliability

    shown = {
        f"{'robustness' if kind == 'curves' else kind}_{dataset}": inline_png(
            png, PLOTS[kind].format(dataset, ablation_level(results, dataset))
        )
        for dataset in results["results"]
        for kind, png in dataset_plots(results, dataset).items()
    }
    if results["confidence"]:
        shown["reliability"] = inline_png(reliability(results), "confidence stated against what the damage left")
    return shown
