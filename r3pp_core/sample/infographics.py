"""Infographics: rankings, portraits in numbers, two things side by side, and shares with big numbers."""

import random
from collections.abc import Callable

from r3pp_core.sample.draw import HUES, INK, LINE, MUTED, WHITE, Canvas, tint
from r3pp_core.sample.plan import Picture, Row
from r3pp_core.sample.world import Fact

WIDTH, HEIGHT = 384, 512
_HEADER, _FOOTER = 84, 484

_THINGS = {"product": "products", "place": "places", "shop": "shops", "app": "apps", "town": "towns"}
_NOTES = ("Survey of the year", "Numbers checked in June", "Made by the Data Desk", "Free to share")


def draw_infographic(picture: Picture, *, only_text: bool = False) -> Canvas:
    """An infographic, 384 x 512 pixels."""
    hue = HUES[picture.colour]
    rng = random.Random(picture.seed)
    canvas = Canvas(WIDTH, HEIGHT, tint(hue, 0.92), only_text=only_text)
    _draw_header(canvas, picture, hue, rng)
    canvas.rect((0, _FOOTER, WIDTH, HEIGHT), tint(hue, -0.35))
    canvas.text(WIDTH / 2, (_FOOTER + HEIGHT) / 2, rng.choice(_NOTES), 14, WHITE, anchor="mm")
    if all(block.rows for block in picture.blocks):
        _BODIES[picture.layout](canvas, picture, hue)
    return canvas


def _titles(picture: Picture) -> tuple[str, str]:
    """The headline and the line below it."""
    block = picture.blocks[0]
    if not block.rows:
        return "World in numbers", ""
    name, attribute = block.entities[0].name, block.rows[0].fact.attribute
    things = _THINGS[attribute.category]
    if picture.layout == "portrait":
        return name, "in numbers"
    if picture.layout == "versus":
        return f"{things.upper()} FACE TO FACE", "Which one is for you?"
    if picture.layout == "shares":
        return attribute.label.upper(), f"of four {things}, in percent"
    return f"{things.upper()} RANKED", f"by {attribute.label[0].lower()}{attribute.label[1:]}"


def _draw_header(canvas: Canvas, picture: Picture, hue: str, rng: random.Random) -> None:
    """A band with pale circles, the headline and its second line."""
    canvas.rect((0, 0, WIDTH, _HEADER), hue)
    for _ in range(7):
        canvas.disc(rng.randint(0, WIDTH), rng.randint(0, _HEADER - 22), rng.randint(5, 20), tint(hue, 0.1))
    canvas.polygon([(0, _HEADER), (WIDTH, _HEADER), (WIDTH, _HEADER - 10), (0, _HEADER + 8)], hue)
    title, second = _titles(picture)
    canvas.text(WIDTH / 2, 33, title, 25, WHITE, bold=True, anchor="mm", width=356)
    canvas.text(WIDTH / 2, 63, second, 16, WHITE, anchor="mm")


def _heading(canvas: Canvas, text: str, y: float, hue: str) -> None:
    canvas.rect((16, y - 9, 21, y + 9), hue, 2)
    canvas.text(30, y, text, 16, tint(hue, -0.35), bold=True, width=340)


def _badge(canvas: Canvas, row: Row, x: float, y: float, size: float = 42) -> None:
    """The icon of a row on a white disc with a colored rim."""
    hue = HUES[row.colour]
    canvas.disc(x, y, size / 2, tint(hue, 0.5))
    canvas.disc(x, y, size / 2 - 2, WHITE)
    canvas.icon(row.icon, x, y, size * 0.5, hue)


def _share(fact: Fact) -> float:
    """How full a bar for this value is: percentages as they are, others against their attribute's largest value."""
    top = {"percent": 100, "rating": 50}.get(fact.attribute.unit, fact.attribute.high)
    return min(1.0, fact.number / top)


def _draw_ranking(canvas: Canvas, picture: Picture, hue: str) -> None:
    """A ranked list with bars, above a row of big numbers about something else."""
    ranking, other = picture.blocks
    rows = sorted(ranking.rows, key=lambda row: -row.fact.number)
    top = max(row.fact.number for row in rows)
    for i, row in enumerate(rows):
        y = 116 + 45 * i
        canvas.text(16, y, str(i + 1), 20, tint(hue, -0.2), bold=True)
        _badge(canvas, row, 58, y, 38)
        canvas.text(86, y - 10, row.fact.entity.name, 16, INK, width=220)
        canvas.bar((86, y + 4, 290, y + 15), row.fact.number / top, HUES[row.colour], WHITE)
        canvas.text(370, y, row.fact.shown, 18, INK, bold=True, anchor="rm")
    y = 116 + 45 * len(rows)
    _heading(canvas, f"Spotlight: {other.entities[0].name}", y, hue)
    _draw_numbers(canvas, other.rows, y + 18, _FOOTER - 10, hue)


def _draw_numbers(canvas: Canvas, rows: tuple[Row, ...], y0: float, y1: float, hue: str) -> None:
    """Cards side by side: an icon, a big number and what it counts."""
    step = 356 / len(rows)
    for i, row in enumerate(rows):
        x0 = 14 + step * i
        middle = x0 + (step - 8) / 2
        canvas.rect((x0, y0, x0 + step - 8, y1), WHITE, 10)
        height = y1 - y0
        _badge(canvas, row, middle, y0 + height * 0.25, min(42, height * 0.38))
        canvas.text(
            middle, y0 + height * 0.59, row.fact.shown, 21, tint(hue, -0.25), bold=True, anchor="mm", width=step - 14
        )
        canvas.text(middle, y0 + height * 0.85, _short_label(row.fact), 14, MUTED, anchor="mm")


def _short_label(fact: Fact) -> str:
    label = fact.attribute.label
    if " in " in label:
        noun, month = label.split(" in ")
        return f"{noun}, {month[:3]}"
    return {"Chance of rain": "Rain chance", "Monthly plan": "Month plan", "Happy clients": "Happy clients"}.get(
        label, label
    )


def _draw_portrait(canvas: Canvas, picture: Picture, hue: str) -> None:
    """Three cards with numbers, then lines with an icon, a dotted leader and a value."""
    rows = picture.blocks[0].rows
    _draw_numbers(canvas, rows[:3], 100, 222, hue)
    _heading(canvas, "Good to know", 245, hue)
    rest = rows[3:]
    step = (_FOOTER - 270) / max(1, len(rest))
    for i, row in enumerate(rest):
        y = 264 + step * (i + 0.5)
        canvas.rect((14, y - step / 2 + 3, 370, y + step / 2 - 3), tint(hue, 0.84), 8)
        _badge(canvas, row, 44, y, min(40, step - 10))
        canvas.text(78, y, row.fact.attribute.label, 16, INK)
        canvas.text(356, y, row.fact.shown, 20, tint(hue, -0.25), bold=True, anchor="rm")


def _draw_versus(canvas: Canvas, picture: Picture, hue: str) -> None:
    """Two columns of the same four attributes."""
    block = picture.blocks[0]
    for i, entity in enumerate(block.entities[:2]):
        rows = block.rows_of(entity)
        own = HUES[rows[0].colour]
        middle = 98 + 188 * i
        canvas.rect((12 + 188 * i, 98, 184 + 188 * i, 474), WHITE, 12)
        canvas.rect((12 + 188 * i, 98, 184 + 188 * i, 104), own, 3)
        _badge(canvas, rows[0], middle, 132, 46)
        canvas.text(middle, 170, entity.name, 16, INK, bold=True, anchor="mm", width=166)
        step = 286 / len(rows)
        for j, row in enumerate(rows):
            y = 186 + step * j
            canvas.rect((26 + 188 * i, y, 170 + 188 * i, y + 1), LINE)
            canvas.text(middle, y + step * 0.32, row.fact.attribute.label, 14, MUTED, anchor="mm", width=160)
            canvas.text(middle, y + step * 0.7, row.fact.shown, 22, tint(own, -0.2), bold=True, anchor="mm", width=150)
    if len(block.entities) > 1:
        canvas.disc(192, 132, 20, hue)
        canvas.text(192, 132, "VS", 16, WHITE, bold=True, anchor="mm")


def _draw_shares(canvas: Canvas, picture: Picture, hue: str) -> None:
    """Rings for percentages in two columns, then cards with big numbers of other things."""
    shares, other = picture.blocks
    for i, row in enumerate(shares.rows):
        x, y = 12 + 184 * (i % 2), 96 + 96 * (i // 2)
        canvas.rect((x, y, x + 176, y + 90), WHITE, 10)
        canvas.ring(x + 44, y + 37, 31, _share(row.fact), HUES[row.colour], LINE, 9)
        canvas.icon(row.icon, x + 44, y + 37, 20, HUES[row.colour])
        canvas.text(x + 84, y + 37, row.fact.shown, 26, INK, bold=True)
        canvas.text(x + 88, y + 78, row.fact.entity.name, 15, INK, anchor="mm", width=168)
    label = other.rows[0].fact.attribute.label
    things = _THINGS[other.rule.category]
    _heading(canvas, f"{label} of {len(other.rows)} {things}", 306, hue)
    step = (_FOOTER - 326) / len(other.rows)
    for i, row in enumerate(other.rows):
        centre = 322 + step * (i + 0.5)
        canvas.rect((14, centre - step / 2 + 3, 370, centre + step / 2 - 3), tint(hue, 0.82), 8)
        _badge(canvas, row, 44, centre, 40)
        canvas.text(76, centre, row.fact.entity.name, 16, INK, width=180)
        canvas.text(356, centre, row.fact.shown, 22, tint(hue, -0.25), bold=True, anchor="rm")


_BODIES: dict[str, Callable[[Canvas, Picture, str], None]] = {
    "ranking": _draw_ranking,
    "portrait": _draw_portrait,
    "versus": _draw_versus,
    "shares": _draw_shares,
}
