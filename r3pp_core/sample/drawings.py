"""One way to draw a picture of any kind."""

from collections.abc import Callable
from typing import Protocol

from r3pp_core.sample.charts import draw_chart
from r3pp_core.sample.draw import Box
from r3pp_core.sample.infographics import draw_infographic
from r3pp_core.sample.plan import Picture
from r3pp_core.sample.screens import draw_screen


class Drawing(Protocol):
    """What a picture became: its PNG, and every text on it with its box (x0, y0, x1, y1 in pixels)."""

    def png(self) -> bytes: ...

    def printed(self) -> list[tuple[str, Box]]: ...


_DRAW: dict[str, Callable[[Picture], Drawing]] = {
    "screen": draw_screen,
    "chart": draw_chart,
    "infographic": draw_infographic,
}


def draw(picture: Picture) -> Drawing:
    """The drawing of `picture`; the same picture gives the same bytes."""
    return _DRAW[picture.kind](picture)
