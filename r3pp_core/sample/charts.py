"""Charts drawn with matplotlib's object interface: bars, horizontal bars, grouped bars, pies and lines."""

import io
import random
from collections.abc import Callable
from typing import Any

from r3pp_core.sample.attributes import UNITS, Attribute
from r3pp_core.sample.draw import HUES, INK, MUTED
from r3pp_core.sample.plan import Block, Picture

_DPI = 100
_SIZES = ((480, 384), (512, 384), (496, 400))
_SOURCES = ("Open Trade Survey", "City Data Office", "Annual Report", "Reader Panel", "Market Watch")


def draw_chart(picture: Picture) -> bytes:
    """The PNG of a chart, at most 512 x 400 pixels; the same picture gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rng = random.Random(picture.seed)
    width, height = rng.choice(_SIZES)
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    block = picture.blocks[0]
    if block.rows:
        axes = figure.add_axes(_FRAMES[picture.layout])
        _DRAW[picture.layout](axes, block, rng)
        title = _title(picture, block)
        size = 12.5 if len(title) < 40 else 11.5
        figure.text(0.03, 0.94, title, fontsize=size, fontweight="bold", color=INK, va="center")
        figure.text(0.03, 0.035, f"Source: {rng.choice(_SOURCES)}", fontsize=10, color=MUTED, va="center")
    buffer = io.BytesIO()
    canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


_FRAMES = {
    "bar": (0.16, 0.22, 0.81, 0.64),
    "hbar": (0.31, 0.2, 0.63, 0.68),
    "grouped": (0.16, 0.22, 0.81, 0.58),
    "pie": (0.2, 0.1, 0.6, 0.76),
    "line": (0.16, 0.22, 0.8, 0.64),
}


def _title(picture: Picture, block: Block) -> str:
    attribute = block.rows[0].fact.attribute
    if picture.layout == "line":
        return f"{attribute.label.split()[0]} of {block.entities[0].name} by month"
    if picture.layout == "grouped":
        return f"{attribute.label.split()[0]} by {attribute.category} and month"
    return f"{attribute.label} by {attribute.category}"


def _axis_label(attribute: Attribute) -> str:
    noun = attribute.label.split(" in ")[0]
    unit = UNITS[attribute.unit].axis
    return f"{noun} ({unit})" if unit else noun


def _value(number: int, attribute: Attribute) -> float:
    return number / 10 if attribute.unit == "rating" else float(number)


def _clean(axes: Any, rng: random.Random, grid: str) -> None:
    """The house look: no box, a light grid on one axis, grey ticks."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#9aa5b1")
    axes.tick_params(labelsize=10, colors=INK, length=0)
    axes.grid(axis=grid, color="#e4e7eb", linewidth=1)
    axes.set_axisbelow(True)
    if rng.random() < 0.35:
        axes.set_facecolor("#f7f8fa")


def _draw_bars(axes: Any, block: Block, rng: random.Random) -> None:
    attribute = block.rows[0].fact.attribute
    values = [_value(row.fact.number, attribute) for row in block.rows]
    bars = axes.bar(range(len(values)), values, width=0.66, color=[HUES[row.colour] for row in block.rows])
    axes.bar_label(bars, [row.fact.plain for row in block.rows], fontsize=11, fontweight="bold", padding=2, color=INK)
    names = [row.fact.entity.name.replace(" ", "\n") for row in block.rows]
    axes.set_xticks(range(len(values)), names)
    axes.set_ylabel(_axis_label(attribute), fontsize=10.5, color=INK)
    axes.set_ylim(0, max(values) * 1.15)
    axes.locator_params(axis="y", nbins=3)
    _clean(axes, rng, "y")


def _draw_horizontal(axes: Any, block: Block, rng: random.Random) -> None:
    attribute = block.rows[0].fact.attribute
    values = [_value(row.fact.number, attribute) for row in block.rows]
    bars = axes.barh(range(len(values)), values, height=0.64, color=[HUES[row.colour] for row in block.rows])
    axes.bar_label(bars, [row.fact.plain for row in block.rows], fontsize=11, fontweight="bold", padding=4, color=INK)
    axes.set_yticks(range(len(values)), [row.fact.entity.name for row in block.rows])
    axes.invert_yaxis()
    axes.set_xlabel(_axis_label(attribute), fontsize=10.5, color=INK)
    axes.set_xlim(0, max(values) * 1.14)
    axes.locator_params(axis="x", nbins=3)
    _clean(axes, rng, "x")


def _draw_grouped(axes: Any, block: Block, rng: random.Random) -> None:
    attribute = block.rows[0].fact.attribute
    keys = list(dict.fromkeys(row.fact.attribute for row in block.rows))
    width = 0.8 / len(keys)
    for i, key in enumerate(keys):
        rows = [row for row in block.rows if row.fact.attribute == key]
        places = [j + (i - (len(keys) - 1) / 2) * width for j in range(len(rows))]
        values = [row.fact.number for row in rows]
        bars = axes.bar(places, values, width * 0.94, color=HUES[rows[0].colour], label=key.label.split()[-1])
        axes.bar_label(bars, [row.fact.plain for row in rows], fontsize=10.5, fontweight="bold", padding=2, color=INK)
    axes.set_xticks(range(len(block.entities)), [entity.name.replace(" ", "\n") for entity in block.entities])
    axes.set_ylabel(_axis_label(attribute), fontsize=10.5, color=INK)
    axes.set_ylim(0, max(row.fact.number for row in block.rows) * 1.15)
    axes.locator_params(axis="y", nbins=3)
    _clean(axes, rng, "y")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(keys), fontsize=10.5, frameon=False, borderpad=0.2)


def _draw_pie(axes: Any, block: Block, rng: random.Random) -> None:
    values = [row.fact.number for row in block.rows]
    ring = 0.45 if rng.random() < 0.5 else 1.0
    labels = iter(row.fact.plain for row in block.rows)
    axes.pie(
        values,
        labels=[row.fact.entity.name.replace(" ", "\n") for row in block.rows],
        autopct=lambda _: next(labels),
        colors=[HUES[row.colour] for row in block.rows],
        startangle=rng.choice((60, 90, 120)),
        counterclock=False,
        labeldistance=1.1,
        pctdistance=0.76,
        textprops={"fontsize": 11, "color": INK},
        wedgeprops={"width": ring, "edgecolor": "white", "linewidth": 2},
    )
    for text in axes.texts:
        if text.get_text().isdigit():
            text.set(color="white", fontweight="bold")


def _draw_line(axes: Any, block: Block, rng: random.Random) -> None:
    attribute = block.rows[0].fact.attribute
    values = [row.fact.number for row in block.rows]
    hue = HUES[block.rows[0].colour]
    places = range(len(values))
    axes.plot(places, values, color=hue, linewidth=2.6, marker=rng.choice("osD"), markersize=7)
    if rng.random() < 0.5:
        axes.fill_between(places, values, color=hue, alpha=0.13)
    pad = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    style = {"textcoords": "offset points", "ha": "center", "fontsize": 11, "fontweight": "bold", "bbox": pad}
    for i, row in enumerate(block.rows):
        axes.annotate(row.fact.plain, (i, values[i]), (0, 10), **style)
    axes.set_xticks(places, [row.fact.attribute.label.split()[-1] for row in block.rows])
    axes.set_ylabel(_axis_label(attribute), fontsize=10.5, color=INK)
    axes.set_ylim(0, max(values) * 1.2)
    axes.set_xlim(-0.4, len(values) - 0.6)
    axes.locator_params(axis="y", nbins=3)
    _clean(axes, rng, "y")


_DRAW: dict[str, Callable[[Any, Block, random.Random], None]] = {
    "bar": _draw_bars,
    "hbar": _draw_horizontal,
    "grouped": _draw_grouped,
    "pie": _draw_pie,
    "line": _draw_line,
}
