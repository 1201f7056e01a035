"""What stands where on a drawn page: its icons, switches, the selected tab, bars, slices and points."""

from collections.abc import Iterator
from dataclasses import dataclass

from r3pp_core.sample.charts import Chart
from r3pp_core.sample.draw import HUES, Canvas
from r3pp_core.sample.drawings import Drawing
from r3pp_core.sample.looks import ORDINALS, icon_order, only_largest
from r3pp_core.sample.plan import COLOURS, ICONS, Picture

ON, OFF, LARGEST = "Yes", "No", "largest"
WORDS = (*COLOURS, *ICONS, *ORDINALS, ON, OFF, LARGEST)


@dataclass(frozen=True)
class Thing:
    """`words`, of WORDS, say what it is; `x` and `y` where its middle is, in shares of width and height."""

    words: tuple[str, ...]
    x: float
    y: float


def things_on(picture: Picture, drawing: Drawing) -> list[Thing]:
    """The things on `drawing`, which shows `picture`, that questions about looks are about."""
    if not all(block.rows for block in picture.blocks):
        return []
    if isinstance(drawing, Chart):
        width, height = drawing.size
        found = zip(_words_of_chart(picture), drawing.marks(), strict=True)
        return [Thing(words, x / width, y / height) for words, (x, y) in found]
    assert isinstance(drawing, Canvas)
    return [Thing(words, x / drawing.width, y / drawing.height) for words, x, y in _on_canvas(picture, drawing)]


def _on_canvas(picture: Picture, canvas: Canvas) -> Iterator[tuple[tuple[str, ...], float, float]]:
    left = list(canvas.icons)
    if picture.kind == "screen":
        _, _, x, y = left[picture.tab]  # the tabs are drawn first
        yield (ORDINALS[picture.tab],), x, y
        left = left[len(ORDINALS[:3]) :]
    order = icon_order(picture)
    number = 0
    for shape, fill, x, y in left:
        if number < len(order) and (shape, fill) == (order[number].icon, HUES[order[number].colour]):
            yield (shape, order[number].colour, ORDINALS[number]), x, y
            number += 1
    for number, (x, y) in enumerate(canvas.switches):
        yield (ON if picture.switches[number][1] else OFF, ORDINALS[number]), x, y


def _words_of_chart(picture: Picture) -> list[tuple[str, ...]]:
    """Of each mark, in the order of drawing: groups of bars are drawn month by month, slices have no place."""
    block = picture.blocks[0]
    if picture.layout == "grouped":
        months = dict.fromkeys(row.fact.attribute for row in block.rows)
        return [(row.colour,) for month in months for row in block.rows if row.fact.attribute == month]
    best = only_largest(block.rows)
    return [
        (
            row.colour,
            *(() if picture.layout == "pie" else (ORDINALS[number],)),
            *((LARGEST,) if row is best else ()),
        )
        for number, row in enumerate(block.rows)
    ]
