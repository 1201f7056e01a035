"""The report's figures, each as the bytes of a small PNG; drawn without pyplot, so nothing global is touched.

Scores are in %. Colours are Okabe and Ito's (readable with colour blindness), and every arm has a marker of
its own.
"""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from r3pp_core.evaluation.comparison import BASE, R3
from r3pp_core.evaluation.recovery import CONTROL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRIC_TITLES: Final = {
    "anls": "ANLS",
    "squad_em": "SQuAD EM",
    "squad_f1": "SQuAD F1",
    "token_f1": "token F1",
    "bleu": "BLEU",
    "rouge_l": "ROUGE-L",
}
ARM_TITLES: Final = {BASE: "base", "base_ocr": "base + OCR text", CONTROL: "control (trained, no evidence)", R3: "R3"}
_ARM_STYLES: Final[dict[str, dict[str, Any]]] = {
    BASE: {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    "base_ocr": {"color": "#E69F00", "marker": "^", "linestyle": ":"},
    CONTROL: {"color": "#CC79A7", "marker": "D", "linestyle": "-."},
    R3: {"color": "#0072B2", "marker": "o", "linestyle": "-"},
}
_KINDS: Final = (("picture", "#0072B2"), ("text", "#D55E00"))
_ABLATION_COLOUR: Final = "#8FB8D6"
_INK: Final = "#222222"
_PNG_DPI: Final = 160


def arm_title(arm: str) -> str:
    """An arm as a reader should see it: "r3-no_gate" -> "no gate"."""
    return ARM_TITLES.get(arm) or arm.removeprefix(f"{R3}-").replace("_", " ")


def metric_title(metric: str) -> str:
    """A metric as a reader should see it: "squad_f1" -> "SQuAD F1", "relaxed_accuracy" -> "relaxed accuracy"."""
    return METRIC_TITLES.get(metric) or metric.replace("_", " ")


def ablation_level(results: Mapping[str, Any], dataset: str) -> str | None:
    """The highest level (a results key) at which an ablation was asked."""
    asked = {level for arm, levels in results["results"][dataset].items() if arm not in ARM_TITLES for level in levels}
    return max(asked, key=float, default=None)


def dataset_plots(results: Mapping[str, Any], dataset: str) -> dict[str, bytes]:
    """All that is drawn of a data set, by name: "curves", and "ablations" and "operators" where any were evaluated."""
    drawn = {"curves": robustness_curves(results, dataset)}
    if (level := ablation_level(results, dataset)) is not None:
        drawn["ablations"] = ablation_bars(results, dataset, level)
    if any(results["operators"][dataset].get(arm) for arm in (BASE, R3)):
        drawn["operators"] = operator_bars(results, dataset)
    return drawn


def robustness_curves(results: Mapping[str, Any], dataset: str) -> bytes:
    """The primary metric over the damage level with its 95 % band: each main arm. PNG bytes."""
    metric = results["primary"][dataset]
    figure, axes = _figure(3.5, 2.9)
    drawn: list[float] = []
    for arm, style in _ARM_STYLES.items():
        by_level = results["results"].get(dataset, {}).get(arm, {})
        if not by_level:
            continue
        points = [entry["metrics"][metric] for entry in by_level.values()]
        levels = [float(level) for level in by_level]
        low, high = _percent(points, "low"), _percent(points, "high")
        axes.fill_between(levels, low, high, color=style["color"], alpha=0.15, linewidth=0)
        axes.plot(levels, _percent(points, "mean"), label=arm_title(arm), linewidth=1.6, markersize=4.5, **style)
        drawn += low + high
        axes.set_xticks(levels)
    axes.set_ylim(*_score_limits(drawn))
    axes.set_xlabel("damage level")
    axes.set_ylabel(f"{metric_title(metric)} (%)")
    axes.grid(axis="y", color="#E3E3E3", linewidth=0.6)
    if drawn:
        _legend_above(figure)
    return _png(figure)


def ablation_bars(results: Mapping[str, Any], dataset: str, level: str) -> bytes:
    """The primary metric at one level (a results key) of R3, its ablations, and base. PNG bytes."""
    return _bars(
        {
            arm: by_level[level]["metrics"][results["primary"][dataset]]
            for arm, by_level in sorted(results["results"][dataset].items(), key=_arm_order)
            if level in by_level and arm != "base_ocr"
        },
        results["primary"][dataset],
    )


def operator_bars(results: Mapping[str, Any], dataset: str) -> bytes:
    """The primary metric over all damaged rows that each operator touched, base beside R3. PNG bytes."""
    by_arm = {arm: results["operators"][dataset].get(arm, {}) for arm in (BASE, R3)}
    operators = sorted({name for entries in by_arm.values() for name in entries})
    figure, axes = _figure(3.5, 0.8 + 0.34 * max(1, len(operators)))
    for offset, (arm, entries) in zip((0.19, -0.19), by_arm.items(), strict=True):
        rows = [(len(operators) - 1 - i + offset, entries[name]) for i, name in enumerate(operators) if name in entries]
        colour = _ARM_STYLES[arm]["color"]
        _bar_group(axes, [y for y, _ in rows], [e for _, e in rows], 0.36, colour, arm_title(arm))
    titles = [name.replace("_", " ") for name in reversed(operators)]
    axes.set_yticks(range(len(operators)), titles)
    _finish_bars(axes, results["primary"][dataset])
    _legend_above(figure)
    return _png(figure)


def reliability(results: Mapping[str, Any]) -> bytes:
    """What is true where the model states so much confidence, for picture and text; a dot's size is its rows. PNG."""
    figure, axes = _figure(3.5, 3.0)
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.8, linestyle=":")
    for (kind, found), (title, colour) in zip(results["confidence"].items(), _KINDS, strict=True):
        bins = found["bins"]
        num_rows = sum(entry["n"] for entry in bins)
        stated, true = ([entry[side] for entry in bins] for side in ("stated", "true"))
        axes.plot(stated, true, color=colour, linewidth=1.2, label=f"{title} ({kind})")
        axes.scatter(stated, true, s=[8 + 90 * entry["n"] / num_rows for entry in bins], color=colour)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("stated by the model")
    axes.set_ylabel("left by the damage")
    axes.grid(color="#E3E3E3", linewidth=0.6)
    _legend_above(figure)
    return _png(figure)


def _arm_order(item: tuple[str, Any]) -> tuple[int, str]:
    """R3 first, its ablations by name, base last."""
    arm = item[0]
    return (0 if arm == R3 else 2 if arm == BASE else 1, arm)


def _bars(entries: Mapping[str, Mapping[str, Any]], metric: str) -> bytes:
    figure, axes = _figure(3.5, 0.7 + 0.3 * max(1, len(entries)))
    for i, (arm, entry) in enumerate(entries.items()):
        colour = _ARM_STYLES[arm]["color"] if arm in _ARM_STYLES else _ABLATION_COLOUR
        _bar_group(axes, [len(entries) - 1 - i], [entry], 0.62, colour)
    axes.set_yticks(range(len(entries)), [arm_title(arm) for arm in reversed(list(entries))])
    _finish_bars(axes, metric)
    return _png(figure)


def _bar_group(
    axes: "Axes", y: Sequence[float], entries: Sequence[Mapping], height: float, colour: Any, label: str | None = None
) -> None:
    mean, low, high = (_percent(entries, key) for key in ("mean", "low", "high"))
    # A bootstrap interval can miss the mean by a rounding error, and an error bar may not be negative.
    errors = [
        [max(0.0, m - x) for m, x in zip(mean, low, strict=True)],
        [max(0.0, x - m) for m, x in zip(mean, high, strict=True)],
    ]
    axes.barh(y, mean, height=height, color=colour, label=label)
    axes.errorbar(mean, y, xerr=errors, fmt="none", ecolor=_INK, elinewidth=0.8, capsize=2)


def _finish_bars(axes: "Axes", metric: str) -> None:
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{metric_title(metric)} (%)")
    axes.grid(axis="x", color="#E3E3E3", linewidth=0.6)
    axes.tick_params(axis="y", length=0)


def _legend_above(figure: "Figure") -> None:
    """Outside of the axes, where no curve and no bar can run below it."""
    figure.legend(frameon=False, fontsize=7.5, ncols=2, loc="outside upper left", handlelength=2.2, columnspacing=1.0)


def _figure(width_in: float, height_in: float) -> tuple["Figure", "Axes"]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#888888")
    axes.tick_params(labelsize=8, color="#888888", labelcolor=_INK)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)
    return figure, axes


def _percent(entries: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [100 * entry[key] for entry in entries]


def _score_limits(values: Sequence[float]) -> tuple[float, float]:
    """Limits in % around the values, from 0 where the values come near it, never above 103."""
    if not values:
        return 0.0, 100.0
    low, high = min(values), max(values)
    margin = max(2.0, 0.12 * (high - low))
    return (0.0 if low < 25 else low - margin), min(103.0, high + margin)


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()
