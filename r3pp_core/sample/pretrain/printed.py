"""What is printed on a picture, line by line in reading order, without drawing it: fast enough for an endless stream.

Screens and infographics are laid out by their own code. Laying out a chart takes as long as drawing it, so its lines
are put down here in the order in which they are read, with an axis whose ticks fall where they may.
"""

import random

from r3pp_core.ingest.ocr_engine import reading_order
from r3pp_core.sample.charts import axis_label, chart_title
from r3pp_core.sample.draw import Box
from r3pp_core.sample.infographics import draw_infographic
from r3pp_core.sample.plan import Picture
from r3pp_core.sample.screens import draw_screen

_SOURCES = ("Open Trade Survey", "City Data Office", "Annual Report", "Reader Panel", "Market Watch")


def printed_lines(rng: random.Random, picture: Picture) -> list[str]:
    """The lines of `picture`; only where the ticks of a chart's axis are read is drawn from `rng`."""
    if picture.kind == "chart":
        return _lines_of_chart(rng, picture)
    draw = draw_screen if picture.kind == "screen" else draw_infographic
    return in_reading_order(draw(picture, only_text=True).printed())


def in_reading_order(printed: list[tuple[str, Box]]) -> list[str]:
    """Texts with their boxes as OCR would list them."""
    lines = reading_order([{"text": text, "box": list(box)} for text, box in printed])
    return [str(line["text"]) for line in lines]


def _lines_of_chart(rng: random.Random, picture: Picture) -> list[str]:
    block = picture.blocks[0]
    months = [row.fact.attribute.label.split()[-1] for row in block.rows]
    lines: list[str] = []
    if picture.layout == "line":
        for row, month in zip(block.rows, months, strict=True):
            lines += [month, row.fact.plain]
    elif picture.layout == "grouped":
        for entity in block.entities:
            upper, *lower = [row.fact.plain for row in block.rows_of(entity)]
            lines += [upper, entity.name, *lower]
    else:
        for row in block.rows:
            lines += [row.fact.entity.name, row.fact.plain]
    step = max(1, max(row.fact.number for row in block.rows) // 3)
    ticks = [str(step * i) for i in range(rng.randint(2, 4))]
    label = axis_label(block.rows[0].fact.attribute)
    if picture.layout in ("bar", "line"):
        for extra in (*ticks, label):
            lines.insert(rng.randrange(len(lines) + 1), extra)
    elif picture.layout != "pie":
        lines += [*ticks, label]
    if picture.layout == "line":
        lines += [month[:3] for month in months]
    legend = list(dict.fromkeys(months)) if picture.layout == "grouped" else []
    return [chart_title(picture, block), *legend, *lines, f"Source: {rng.choice(_SOURCES)}"]
