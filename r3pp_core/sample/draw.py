"""What screens and infographics are drawn with: smooth shapes, crisp text, icons and named colours.

Shapes are drawn three times as large and scaled down, text is set afterwards at its true size, so a canvas puts
all its text above all its shapes.
"""

import io
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

_SCALE = 3
MIN_FONT_SIZE = 14  # pixels; the smallest text that OCR reads reliably

WHITE, INK, MUTED, LINE, PAPER = "#ffffff", "#1f2933", "#52606d", "#dfe4ea", "#f3f5f8"
HUES = {
    "red": "#d32f2f",
    "blue": "#1e6fd9",
    "green": "#2e9e4f",
    "orange": "#f57c00",
    "purple": "#7b3fb5",
    "pink": "#ec5fa0",
    "brown": "#7a5236",
    "gray": "#7d858c",
}

Box = tuple[float, float, float, float]


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it, so that no system font is needed."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def tint(colour: str, amount: float) -> str:
    """`colour` ("#rrggbb") mixed with white (amount > 0) or with black (amount < 0)."""
    target = 255 if amount > 0 else 0
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(p + (target - p) * abs(amount)):02x}" for p in parts)


def text_width(text: str, size: int, bold: bool = False) -> float:
    return _font(size, bold).getlength(text)


class _NoPen:
    """Takes every stroke and draws none."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **options: None


class Canvas:
    """A drawing of `width` x `height` pixels; coordinates are in those pixels."""

    def __init__(self, width: int, height: int, background: str, *, only_text: bool = False) -> None:
        """`only_text`: shapes are left out, so that there is no picture but what is printed is known soon."""
        self.width, self.height = width, height
        self._pen: Any = _NoPen()
        if not only_text:
            self._image = Image.new("RGB", (width * _SCALE, height * _SCALE), background)
            self._pen = ImageDraw.Draw(self._image)
        self._texts: list[tuple[float, float, str, int, str, bool, str]] = []
        self.icons: list[tuple[str, str, float, float]] = []  # shape, colour, x, y
        self.switches: list[tuple[float, float]] = []

    def rect(self, box: Box, fill: str | None, radius: float = 0, outline: str | None = None) -> None:
        scaled = tuple(v * _SCALE for v in box)
        self._pen.rounded_rectangle(scaled, radius * _SCALE, fill, outline, _SCALE if outline else 0)

    def line(self, points: list[tuple[float, float]], fill: str, width: float = 1) -> None:
        self._pen.line([(x * _SCALE, y * _SCALE) for x, y in points], fill, round(width * _SCALE), joint="curve")

    def polygon(self, points: list[tuple[float, float]], fill: str) -> None:
        self._pen.polygon([(x * _SCALE, y * _SCALE) for x, y in points], fill)

    def disc(self, x: float, y: float, radius: float, fill: str) -> None:
        self._pen.ellipse([v * _SCALE for v in (x - radius, y - radius, x + radius, y + radius)], fill)

    def ring(self, x: float, y: float, radius: float, share: float, fill: str, track: str, width: float) -> None:
        """A ring of which `share` (0..1) is filled, clockwise from the top."""
        box = [v * _SCALE for v in (x - radius, y - radius, x + radius, y + radius)]
        self._pen.arc(box, 0, 360, track, round(width * _SCALE))
        self._pen.arc(box, -90, -90 + 360 * share, fill, round(width * _SCALE))

    def bar(self, box: Box, share: float, fill: str, track: str = LINE) -> None:
        """A horizontal bar of which `share` (0..1) is filled."""
        x0, y0, x1, y1 = box
        radius = (y1 - y0) / 2
        self.rect(box, track, radius)
        self.rect((x0, y0, max(x0 + 2 * radius, x0 + (x1 - x0) * share), y1), fill, radius)

    def icon(self, shape: str, x: float, y: float, size: float, fill: str) -> None:
        """One of plan.ICONS, `size` pixels high, centred at (x, y)."""
        self.icons.append((shape, fill, x, y))
        r = size / 2
        if shape == "circle":
            self.disc(x, y, r, fill)
        elif shape == "square":
            self.rect((x - r * 0.88, y - r * 0.88, x + r * 0.88, y + r * 0.88), fill, r * 0.12)
        elif shape == "heart":
            self.disc(x - r * 0.48, y - r * 0.35, r * 0.54, fill)
            self.disc(x + r * 0.48, y - r * 0.35, r * 0.54, fill)
            self.polygon([(x - r * 0.98, y - r * 0.13), (x + r * 0.98, y - r * 0.13), (x, y + r)], fill)
        else:
            self.polygon(_outline(shape, x, y, r), fill)

    def switch(self, x: float, y: float, is_on: bool, fill: str) -> None:
        """A switch centred at (x, y), in `fill` when it is on."""
        self.switches.append((x, y))
        self.rect((x - 21, y - 11, x + 21, y + 11), fill if is_on else "#c3cad1", 11)
        self.disc(x + 10 if is_on else x - 10, y, 8.5, WHITE)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: int,
        fill: str = INK,
        *,
        bold: bool = False,
        anchor: str = "lm",
        width: float = 0,
    ) -> None:
        """Text at its anchor point (Pillow's anchors); made smaller, down to MIN_FONT_SIZE, to fit into `width`."""
        while width and size > MIN_FONT_SIZE and text_width(text, size, bold) > width:
            size -= 1
        self._texts.append((x, y, text, size, fill, bold, anchor))

    def printed(self) -> list[tuple[str, Box]]:
        """Every text with the box of its ink, x0, y0, x1, y1 in pixels."""
        boxes = []
        for x, y, text, size, _, bold, anchor in self._texts:
            x0, y0, x1, y1 = _font(size, bold).getbbox(text, anchor=anchor)
            boxes.append((text, (round(x) + x0, round(y) + y0, round(x) + x1, round(y) + y1)))
        return boxes

    def png(self) -> bytes:
        """The finished picture; the same calls give the same bytes."""
        image = self._image.resize((self.width, self.height), Image.Resampling.BOX)
        pen = ImageDraw.Draw(image)
        for x, y, text, size, fill, bold, anchor in self._texts:
            pen.text((round(x), round(y)), text, fill, _font(size, bold), anchor)
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()


def _outline(shape: str, x: float, y: float, r: float) -> list[tuple[float, float]]:
    if shape == "triangle":
        return [(x, y - r), (x + r, y + r * 0.85), (x - r, y + r * 0.85)]
    if shape == "diamond":
        return [(x, y - r * 1.05), (x + r * 0.85, y), (x, y + r * 1.05), (x - r * 0.85, y)]
    assert shape == "star", shape
    points = []
    for i in range(10):
        radius = r * (1.08 if i % 2 == 0 else 0.45)
        angle = math.pi * i / 5
        points.append((x + radius * math.sin(angle), y - radius * math.cos(angle)))
    return points
