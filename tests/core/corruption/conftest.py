"""A drawn screen with text, and the lines that a perfect reader would find on it."""

from dataclasses import dataclass

import pytest
from PIL import Image, ImageDraw, ImageFont

from r3pp_core.corruption.simulator import OcrLine


@dataclass(frozen=True)
class Page:
    image: Image.Image
    lines: list[OcrLine]

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)


def draw_page(width: int = 300, height: int = 400) -> Page:
    image = Image.new("RGB", (width, height), (250, 250, 245))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width, 40), fill=(30, 90, 200))
    font = ImageFont.load_default(18)
    lines = []
    for row in range(11):
        y = 50 + 30 * row
        text = f"Item {row} costs {3 * row + 7}.50 euro"
        draw.text((12, y), text, fill=(20, 20, 20), font=font)
        draw.ellipse((width - 30, y, width - 12, y + 18), fill=(200, 20 * row, 60))
        lines.append(OcrLine(text, (12, y, 12 + draw.textlength(text, font=font), y + 20), 0.98))
    return Page(image, lines)


@pytest.fixture(scope="session")
def page() -> Page:
    return draw_page()
