"""Phone screens: a shop, a cart, a guide, settings, an app store, a dashboard, deliveries, the weather."""

import random
from collections.abc import Callable

from r3pp_core.sample.draw import HUES, INK, LINE, MUTED, PAPER, WHITE, Canvas, tint
from r3pp_core.sample.looks import TABS
from r3pp_core.sample.plan import Block, Picture, Row

WIDTH, HEIGHT = 288, 512
_TOP, _BOTTOM = 74, 464  # the body lies between the app bar and the navigation

_APP_NAMES = {
    "store": "Gadget Shop",
    "product": "Product details",
    "cart": "Your cart",
    "explore": "City Guide",
    "place": "Place details",
    "settings": "App settings",
    "appstore": "App Store",
    "dashboard": "Shop manager",
    "delivery": "Order in",
    "weather": "Weather",
}


def draw_screen(picture: Picture, *, only_text: bool = False) -> Canvas:
    """A phone screen, 288 x 512 pixels."""
    canvas = Canvas(WIDTH, HEIGHT, PAPER, only_text=only_text)
    hue = HUES[picture.colour]
    _draw_frame(canvas, picture, hue)
    _BODIES[picture.layout](canvas, picture, hue)
    return canvas


def _draw_frame(canvas: Canvas, picture: Picture, hue: str) -> None:
    """Status bar, app bar and bottom navigation."""
    canvas.rect((0, 0, WIDTH, 26), tint(hue, -0.3))
    canvas.text(12, 13, picture.clock, 14, WHITE, bold=True)
    canvas.text(242, 13, f"{picture.battery}%", 14, WHITE, anchor="rm")
    canvas.rect((250, 7, 274, 19), None, 3, WHITE)
    canvas.rect((252, 9, 252 + 20 * picture.battery / 100, 17), WHITE, 1)
    canvas.rect((275, 10, 277, 16), WHITE)
    canvas.rect((0, 26, WIDTH, 66), hue)
    for y in (40, 46, 52):
        canvas.rect((14, y - 1, 32, y + 1), WHITE, 1)
    canvas.text(46, 46, _APP_NAMES[picture.layout], 18, WHITE, bold=True)
    canvas.disc(264, 44, 6, WHITE)
    canvas.disc(264, 44, 3.6, hue)
    canvas.line([(268, 48), (273, 53)], WHITE, 2.4)
    canvas.rect((0, 470, WIDTH, HEIGHT), WHITE)
    canvas.rect((0, 469, WIDTH, 470), LINE)
    for i, name in enumerate(TABS[picture.layout]):
        x = WIDTH * (2 * i + 1) / 6
        on = i == picture.tab
        canvas.icon(("circle", "square", "diamond")[i], x, 481, 13, hue if on else "#b4bcc4")
        canvas.text(x, 499, name, 14, hue if on else MUTED, bold=on, anchor="mm")
        if on:
            canvas.rect((x - 34, 470, x + 34, 473), hue, 1)


def _tile(canvas: Canvas, row: Row, x: float, y: float, size: float = 44) -> None:
    """The icon of a row on a pale tile, as an app shows a thumbnail; (x, y) is the centre."""
    hue = HUES[row.colour]
    canvas.rect((x - size / 2, y - size / 2, x + size / 2, y + size / 2), tint(hue, 0.84), size * 0.22)
    canvas.icon(row.icon, x, y, size * 0.56, hue)


def _stars(canvas: Canvas, x: float, y: float, rating: int) -> None:
    for i in range(5):
        canvas.icon("star", x + 13 * i, y, 11, "#f2a900" if rating >= 10 * i + 5 else "#d5dbe1")


def _draw_second(canvas: Canvas, row: Row, y: float, left: float = 70) -> None:
    """The second value of a list row, with its label; ratings get stars."""
    fact = row.fact
    if fact.attribute.unit == "rating":
        _stars(canvas, left + 7, y, fact.number)
        canvas.text(left + 76, y, fact.shown, 15, MUTED)
    elif fact.attribute.unit == "word":
        canvas.text(left, y, f"{fact.attribute.label}: {fact.shown}", 15, MUTED, width=206)
    else:
        canvas.text(left, y, f"{fact.attribute.label}: {fact.shown}", 15, MUTED, width=206)


def _list_rows(block: Block) -> list[tuple[Row, ...]]:
    return [block.rows_of(entity) for entity in block.entities]


def _draw_list(canvas: Canvas, picture: Picture, hue: str) -> None:
    """Cards with a thumbnail, a name, a value on the right and a second one below."""
    canvas.text(14, 88, _headline(picture), 15, INK, bold=True)
    groups = _list_rows(picture.blocks[0])
    step = min(90.0, 358 / max(1, len(groups)))
    for i, rows in enumerate(groups):
        y0 = 104 + step * i
        y1 = y0 + step - 9
        middle = (y0 + y1) / 2
        canvas.rect((9, y0 + 1.5, 280, y1 + 1.5), LINE, 9)
        canvas.rect((8, y0, 280, y1), WHITE, 9)
        _tile(canvas, rows[0], 36, middle)
        canvas.text(68, middle - 25, rows[0].fact.entity.name, 16, bold=True, width=206)
        first = rows[0].fact
        label = (
            "" if first.attribute.unit == "money" and first.attribute.key == "price" else f"{first.attribute.label}: "
        )
        canvas.text(68, middle, f"{label}{first.shown}", 16, hue if label == "" else INK, bold=label == "")
        if len(rows) > 1:
            _draw_second(canvas, rows[1], middle + 24, 68)
        canvas.line([(266, middle - 6), (272, middle), (266, middle + 6)], "#b4bcc4", 2)


def _headline(picture: Picture) -> str:
    options = {
        "store": ("New this week", "Top gadgets", "On sale now"),
        "explore": ("Things to see", "Open today", "Near you"),
        "appstore": ("Top charts", "Editors pick", "Made for you"),
        "delivery": ("Shops near you", "Fast delivery", "Open now"),
    }
    return random.Random(picture.seed).choice(options[picture.layout])


def _draw_product(canvas: Canvas, picture: Picture, hue: str) -> None:
    """A large picture of the product, its name, its facts and a button."""
    rows = picture.blocks[0].rows
    canvas.rect((0, 66, WIDTH, 160), tint(hue, 0.86))
    noun = rows[0].fact.entity.name.split()[-1] if rows else ""
    _draw_gadget(canvas, noun, tint(hue, random.Random(picture.seed).choice((0.25, 0.4, -0.15))))
    if rows:
        canvas.text(14, 177, rows[0].fact.entity.name, 19, bold=True, width=260)
    _draw_fact_lines(canvas, rows, 194, 404)
    canvas.rect((14, 422, 274, 458), hue, 18)
    canvas.text(144, 440, "Add to cart", 16, WHITE, bold=True, anchor="mm")


def _draw_gadget(canvas: Canvas, noun: str, body: str) -> None:
    """A lamp, something round with hands, or a box with a screen, whichever is nearest to `noun`."""
    canvas.disc(144, 113, 44, WHITE)
    dark = tint(body, -0.3)
    if noun == "Lamp":
        canvas.polygon([(126, 112), (162, 112), (153, 84), (135, 84)], body)
        canvas.rect((141, 112, 147, 136), dark)
        canvas.rect((128, 135, 160, 141), dark, 3)
    elif noun in ("Clock", "Watch", "Fan", "Drone"):
        canvas.disc(144, 113, 30, body)
        canvas.disc(144, 113, 25, WHITE)
        canvas.line([(144, 95), (144, 113), (157, 120)], dark, 4)
    elif noun in ("Camera", "Radio", "Speaker"):
        canvas.rect((132, 88, 156, 98), dark, 3)
        canvas.rect((112, 94, 176, 138), body, 8)
        canvas.disc(144, 116, 16, WHITE)
        canvas.disc(144, 116, 11, dark)
    else:
        canvas.rect((122, 80, 166, 146), body, 8)
        canvas.rect((127, 87, 161, 134), WHITE, 2)
        canvas.disc(144, 140, 3, WHITE)


def _draw_fact_lines(canvas: Canvas, rows: tuple[Row, ...], top: float, bottom: float) -> None:
    """Label on the left, value on the right, an icon before each."""
    canvas.rect((8, top, 280, bottom + 10), WHITE, 9)
    step = (bottom + 10 - top) / max(1, len(rows))
    for i, row in enumerate(rows):
        y = top + step * (i + 0.5)
        canvas.icon(row.icon, 28, y, 17, HUES[row.colour])
        canvas.text(48, y, row.fact.attribute.label, 15, MUTED)
        canvas.text(270, y, row.fact.shown, 16, bold=True, anchor="rm")
        if i:
            canvas.rect((48, y - step / 2, 272, y - step / 2 + 1), LINE)


def _draw_cart(canvas: Canvas, picture: Picture, hue: str) -> None:
    rows = picture.blocks[0].rows
    step = min(62.0, 285 / max(1, len(rows)))
    for i, row in enumerate(rows):
        y = 78 + step * (i + 0.5)
        canvas.rect((8, y - step / 2 + 3, 280, y + step / 2 - 3), WHITE, 8)
        _tile(canvas, row, 34, y, 38)
        canvas.text(62, y, row.fact.entity.name, 16, width=152)
        canvas.text(272, y, row.fact.shown, 17, bold=True, anchor="rm")
    bottom = 78 + step * len(rows)
    canvas.line([(14, bottom + 6), (274, bottom + 6)], "#c3cad1", 1.5)
    canvas.text(16, bottom + 26, "Total", 18, bold=True)
    canvas.text(272, bottom + 26, f"${sum(row.fact.number for row in rows)}", 19, hue, bold=True, anchor="rm")
    canvas.rect((14, 420, 274, 458), hue, 8)
    canvas.text(144, 439, "Check out", 17, WHITE, bold=True, anchor="mm")


def _draw_place(canvas: Canvas, picture: Picture, hue: str) -> None:
    """A map with streets, water and a pin above the facts of one place."""
    rng = random.Random(picture.seed)
    canvas.rect((0, 66, WIDTH, 178), "#e8e6dc")
    canvas.rect((rng.randint(10, 60), 74, rng.randint(90, 130), rng.randint(100, 120)), "#cfe6c4", 6)
    canvas.polygon([(288, 66), (288, 130), (rng.randint(200, 240), 66)], "#a9d3ee")
    for y in (92, 128, 160):
        canvas.line([(0, y + rng.randint(-8, 8)), (288, y + rng.randint(-8, 8))], WHITE, 6)
    for x in (50, 118, 186, 244):
        canvas.line([(x + rng.randint(-16, 16), 66), (x + rng.randint(-16, 16), 178)], WHITE, 5)
    x, y = rng.randint(110, 180), rng.randint(112, 130)
    canvas.polygon([(x - 10, y - 8), (x + 10, y - 8), (x, y + 14)], HUES["red"])
    canvas.disc(x, y - 12, 11, HUES["red"])
    canvas.disc(x, y - 12, 4.5, WHITE)
    canvas.rect((0, 178, WIDTH, 470), PAPER)
    rows = picture.blocks[0].rows
    if rows:
        canvas.text(14, 197, rows[0].fact.entity.name, 19, bold=True, width=190)
    canvas.rect((212, 184, 276, 210), hue, 13)
    canvas.text(244, 197, "Route", 14, WHITE, bold=True, anchor="mm")
    _draw_fact_lines(canvas, rows, 216, 448)


def _draw_settings(canvas: Canvas, picture: Picture, hue: str) -> None:
    """Facts of one app above four switches."""
    rows = picture.blocks[0].rows
    if rows:
        canvas.rect((14, 76, 48, 110), tint(hue, 0.8), 8)
        canvas.icon("diamond", 31, 93, 20, hue)
        canvas.text(60, 93, rows[0].fact.entity.name, 18, bold=True, width=214)
    bottom = 118 + 30 * len(rows)
    _draw_fact_lines(canvas, rows, 118, bottom - 10)
    canvas.text(14, bottom + 16, "Options", 15, MUTED, bold=True)
    top = bottom + 30
    step = min(44.0, (_BOTTOM - top) / len(picture.switches))
    canvas.rect((8, top, 280, top + step * len(picture.switches)), WHITE, 9)
    for i, (name, is_on) in enumerate(picture.switches):
        y = top + step * (i + 0.5)
        canvas.text(22, y, name, 16)
        canvas.switch(247, y, is_on, hue)


def _draw_dashboard(canvas: Canvas, picture: Picture, hue: str) -> None:
    """Tiles in two columns, each with an icon, a number and its label."""
    rows = picture.blocks[0].rows
    if rows:
        canvas.text(14, 88, rows[0].fact.entity.name, 19, bold=True, width=260)
    for i, row in enumerate(rows):
        x0, y0 = 8 + 138 * (i % 2), 106 + 120 * (i // 2)
        canvas.rect((x0 + 1, y0 + 1.5, x0 + 134, y0 + 113.5), LINE, 10)
        canvas.rect((x0, y0, x0 + 134, y0 + 112), WHITE, 10)
        _tile(canvas, row, x0 + 28, y0 + 28, 36)
        canvas.text(x0 + 12, y0 + 65, row.fact.shown, 22, bold=True, width=116)
        lines = row.fact.attribute.label.split(" in ")
        canvas.text(
            x0 + 12,
            y0 + 93,
            row.fact.attribute.label if len(lines) == 1 else f"{lines[0]} in {lines[1][:3]}",
            14,
            MUTED,
        )


def _draw_weather(canvas: Canvas, picture: Picture, hue: str) -> None:
    """One large card for the first town, rows for the others."""
    groups = _list_rows(picture.blocks[0])
    for i, rows in enumerate(groups):
        first = i == 0
        y0 = 74 if first else 104 + 90 * i
        y1 = y0 + (112 if first else 84)
        fill, ink, soft = (tint(hue, 0.12), WHITE, WHITE) if first else (WHITE, INK, MUTED)
        canvas.rect((8, y0, 280, y1), fill, 12)
        if first:
            canvas.disc(246, y0 + 28, 15, "#ffd54f")
        middle = (y0 + y1) / 2
        canvas.rect((16, middle - 22, 60, middle + 22), WHITE if first else tint(HUES[rows[0].colour], 0.84), 10)
        canvas.icon(rows[0].icon, 38, middle, 25, HUES[rows[0].colour])
        canvas.text(70, middle - (34 if first else 23), rows[0].fact.entity.name, 16, ink, bold=True, width=158)
        canvas.text(70, middle, rows[0].fact.shown, 26 if first else 19, ink, bold=True)
        if len(rows) > 1:
            canvas.text(
                70, middle + (32 if first else 25), f"{rows[1].fact.attribute.label}: {rows[1].fact.shown}", 15, soft
            )


_BODIES: dict[str, Callable[[Canvas, Picture, str], None]] = {
    "store": _draw_list,
    "product": _draw_product,
    "cart": _draw_cart,
    "explore": _draw_list,
    "place": _draw_place,
    "settings": _draw_settings,
    "appstore": _draw_list,
    "dashboard": _draw_dashboard,
    "delivery": _draw_list,
    "weather": _draw_weather,
}
