"""Charts drawn with matplotlib's object interface: bars, horizontal bars, grouped bars, pies and lines."""

import io
import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from r3pp_core.sample.attributes import UNITS, Attribute
from r3pp_core.sample.draw import HUES, INK, MUTED, Box
from r3pp_core.sample.plan import Block, Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 100
_SIZES = ((480, 384), (512, 384), (496, 400))
_SOURCES = ("Open Trade Survey", "City Data Office", "Annual Report", "Reader Panel", "Market Watch")


class Chart:
    """A drawn chart; what is asked of it is rendered then."""

    def __init__(self, figure: "Figure") -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        self._figure = figure
        self._canvas = FigureCanvasAgg(figure)

    def png(self) -> bytes:
        """The finished picture; the same chart gives the same bytes."""
        buffer = io.BytesIO()
        self._canvas.print_png(buffer, metadata={"Software": None})
        return buffer.getvalue()

    def printed(self) -> list[tuple[str, Box]]:
        """Every text with its box, x0, y0, x1, y1 in pixels."""
        from matplotlib.text import Text

        height = self._figure.bbox.height
        boxes = []
        for text in self._figure.findobj(Text):
            if text.get_visible() and text.get_text().strip() and _is_shown(text):
                box = text.get_window_extent(self._canvas.get_renderer())
                boxes.append((text.get_text(), (box.x0, height - box.y1, box.x1, height - box.y0)))
        return boxes

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in pixels."""
        return self._figure.bbox.width, self._figure.bbox.height

    def marks(self) -> list[tuple[float, float]]:
        """The middle of each bar or slice, or each point of a line, x, y in pixels, in the order of drawing."""
        import numpy
        from matplotlib.patches import Rectangle, Wedge

        if not self._figure.axes:
            return []
        axes = self._figure.axes[0]
        axes.apply_aspect()
        middles: list[tuple[float, float]] = []
        for patch in axes.patches:
            if isinstance(patch, Wedge):
                angle = math.radians((patch.theta1 + patch.theta2) / 2)
                middles.append((0.75 * patch.r * math.cos(angle), 0.75 * patch.r * math.sin(angle)))
            elif isinstance(patch, Rectangle):
                middles.append((patch.get_x() + patch.get_width() / 2, patch.get_y() + patch.get_height() / 2))
        if not middles:
            xs, ys = (numpy.asarray(values, float).tolist() for values in axes.lines[0].get_data())
            middles = list(zip(xs, ys, strict=True))
        height = self._figure.bbox.height
        return [(float(x), float(height - y)) for x, y in axes.transData.transform(middles)]


def _is_shown(text: Any) -> bool:
    """False for the labels of ticks beyond an axis's limits, which stay undrawn."""
    axes = text.axes
    if axes is None or text not in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        return True
    (x, y), on_x = text.get_position(), text in axes.get_xticklabels()
    low, high = sorted(axes.get_xlim() if on_x else axes.get_ylim())
    return bool(axes.axison and low <= (x if on_x else y) <= high)


def draw_chart(picture: Picture) -> Chart:
    """A chart of at most 512 x 400 pixels."""
    from matplotlib.figure import Figure

    rng = random.Random(picture.seed)
    width, height = rng.choice(_SIZES)
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    block = picture.blocks[0]
    if block.rows:
        axes = figure.add_axes(_FRAMES[picture.layout])
        _DRAW[picture.layout](axes, block, rng)
        title = chart_title(picture, block)
        size = 12.5 if len(title) < 40 else 11.5
        figure.text(0.03, 0.94, title, fontsize=size, fontweight="bold", color=INK, va="center")
        figure.text(0.03, 0.035, f"Source: {rng.choice(_SOURCES)}", fontsize=10, color=MUTED, va="center")
    return Chart(figure)


_FRAMES = {
    "bar": (0.13, 0.12, 0.45, 0.74),
    "hbar": (0.31, 0.2, 0.63, 0.68),
    "grouped": (0.31, 0.2, 0.63, 0.6),
    "pie": (0.03, 0.12, 0.5, 0.74),
    "line": (0.14, 0.2, 0.51, 0.66),
}


def chart_title(picture: Picture, block: Block) -> str:
    attribute = block.rows[0].fact.attribute
    if picture.layout == "line":
        return f"{attribute.label.split()[0]} of {block.entities[0].name} by month"
    if picture.layout == "grouped":
        return f"{attribute.label.split()[0]} by {attribute.category} and month"
    return f"{attribute.label} by {attribute.category}"


def axis_label(attribute: Attribute) -> str:
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


def _list_values(axes: Any, entries: list[tuple[str, str, str]]) -> None:
    """(label, value, hue) below each other at the right of the plot: a legend that gives the numbers too."""
    step = min(0.13, 0.84 / len(entries))
    for i, (label, value, hue) in enumerate(entries):
        y = 0.5 + step * ((len(entries) - 1) / 2 - i)
        where = {"transform": axes.transAxes, "va": "center", "fontsize": 10.5, "color": INK}
        axes.plot([1.08], [y], marker="s", markersize=9, color=hue, transform=axes.transAxes, clip_on=False)
        axes.text(1.13, y, label, **where)
        right = (0.98 - axes.get_position().x0) / axes.get_position().width
        axes.text(right, y, value, ha="right", fontweight="bold", **where)


def _draw_bars(axes: Any, block: Block, rng: random.Random) -> None:
    attribute = block.rows[0].fact.attribute
    values = [_value(row.fact.number, attribute) for row in block.rows]
    axes.bar(range(len(values)), values, width=0.66, color=[HUES[row.colour] for row in block.rows])
    axes.set_xticks([])
    axes.set_ylabel(axis_label(attribute), fontsize=10.5, color=INK)
    axes.set_ylim(0, max(values) * 1.05)
    axes.locator_params(axis="y", nbins=3)
    _clean(axes, rng, "y")
    _list_values(axes, [(row.fact.entity.name, row.fact.plain, HUES[row.colour]) for row in block.rows])


def _draw_horizontal(axes: Any, block: Block, rng: random.Random) -> None:
    attribute = block.rows[0].fact.attribute
    values = [_value(row.fact.number, attribute) for row in block.rows]
    bars = axes.barh(range(len(values)), values, height=0.64, color=[HUES[row.colour] for row in block.rows])
    axes.bar_label(bars, [row.fact.plain for row in block.rows], fontsize=11, fontweight="bold", padding=4, color=INK)
    axes.set_yticks(range(len(values)), [row.fact.entity.name for row in block.rows])
    axes.invert_yaxis()
    axes.set_xlabel(axis_label(attribute), fontsize=10.5, color=INK)
    axes.set_xlim(0, max(values) * 1.14)
    axes.locator_params(axis="x", nbins=3)
    _clean(axes, rng, "x")


def _draw_grouped(axes: Any, block: Block, rng: random.Random) -> None:
    attribute = block.rows[0].fact.attribute
    keys = list(dict.fromkeys(row.fact.attribute for row in block.rows))
    height = 0.8 / len(keys)
    for i, key in enumerate(keys):
        rows = [row for row in block.rows if row.fact.attribute == key]
        places = [j + (i - (len(keys) - 1) / 2) * height for j in range(len(rows))]
        values = [row.fact.number for row in rows]
        bars = axes.barh(places, values, height * 0.92, color=HUES[rows[0].colour], label=key.label.split()[-1])
        axes.bar_label(bars, [row.fact.plain for row in rows], fontsize=10.5, fontweight="bold", padding=3, color=INK)
    axes.set_yticks(range(len(block.entities)), [entity.name for entity in block.entities])
    axes.invert_yaxis()
    axes.set_xlabel(axis_label(attribute), fontsize=10.5, color=INK)
    axes.set_xlim(0, max(row.fact.number for row in block.rows) * 1.14)
    axes.locator_params(axis="x", nbins=3)
    _clean(axes, rng, "x")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(keys), fontsize=10.5, frameon=False, borderpad=0.2)


def _draw_pie(axes: Any, block: Block, rng: random.Random) -> None:
    axes.pie(
        [row.fact.number for row in block.rows],
        colors=[HUES[row.colour] for row in block.rows],
        startangle=rng.choice((60, 90, 120)),
        counterclock=False,
        wedgeprops={"width": 0.45 if rng.random() < 0.5 else 1.0, "edgecolor": "white", "linewidth": 2},
    )
    _list_values(axes, [(row.fact.entity.name, row.fact.plain, HUES[row.colour]) for row in block.rows])


def _draw_line(axes: Any, block: Block, rng: random.Random) -> None:
    attribute = block.rows[0].fact.attribute
    values = [row.fact.number for row in block.rows]
    months = [row.fact.attribute.label.split()[-1] for row in block.rows]
    hue = HUES[block.rows[0].colour]
    places = range(len(values))
    axes.plot(places, values, color=hue, linewidth=2.6, marker=rng.choice("osD"), markersize=7)
    if rng.random() < 0.5:
        axes.fill_between(places, values, color=hue, alpha=0.13)
    axes.set_xticks(places, [month[:3] for month in months])
    axes.set_ylabel(axis_label(attribute), fontsize=10.5, color=INK)
    axes.set_ylim(0, max(values) * 1.2)
    axes.set_xlim(-0.4, len(values) - 0.6)
    axes.locator_params(axis="y", nbins=3)
    _clean(axes, rng, "y")
    _list_values(axes, [(month, row.fact.plain, hue) for month, row in zip(months, block.rows, strict=True)])


_DRAW: dict[str, Callable[[Any, Block, random.Random], None]] = {
    "bar": _draw_bars,
    "hbar": _draw_horizontal,
    "grouped": _draw_grouped,
    "pie": _draw_pie,
    "line": _draw_line,
}
