"""A contact sheet: what each operator does to a picture at each level, to look at before training on it."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from r3pp_core.corruption.config import CorruptionConfig
from r3pp_core.corruption.simulator import corrupt
from r3pp_core.errors import UsageError

CELL_PX = 240
LABEL_WIDTH_PX = 130
HEADER_PX = 26
GAP_PX = 6


def contact_sheet(images: Sequence[Image.Image], levels: Sequence[float], config: CorruptionConfig) -> Image.Image:
    """One row for each RGB picture and each of config.image_operators, one column a level; cells of 240 pixels.

    A cell is what `corrupt` returns, shrunk to the cell. Raises UsageError without pictures or levels.
    """
    if not images or not levels or not config.image_operators:
        raise UsageError("a contact sheet needs at least one picture, one level and one of image_operators")
    rows = [(index, name) for index in range(len(images)) for name in config.image_operators]
    width = LABEL_WIDTH_PX + len(levels) * (CELL_PX + GAP_PX)
    sheet = Image.new("RGB", (width, HEADER_PX + len(rows) * (CELL_PX + GAP_PX)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for column, level in enumerate(levels):
        draw.text((LABEL_WIDTH_PX + column * (CELL_PX + GAP_PX), 5), f"level {level:g}", fill="black", font=font)
    for row, (index, name) in enumerate(rows):
        top = HEADER_PX + row * (CELL_PX + GAP_PX)
        draw.text((6, top + 6), f"{name}\npicture {index + 1}", fill="black", font=font)
        only = config.model_copy(update={"damage": "image", "image_operators": [name], "max_operators": 1})
        for column, level in enumerate(levels):
            cell = _cell(images[index], level, only, f"preview {index}")
            sheet.paste(cell, (LABEL_WIDTH_PX + column * (CELL_PX + GAP_PX), top))
    return sheet


def _cell(image: Image.Image, level: float, config: CorruptionConfig, row_id: str) -> Image.Image:
    """The damaged picture on a grey cell, at the scale at which the undamaged one fits: a crop shows as smaller."""
    damaged = corrupt(image, (), "", None, level, config, row_id).image
    assert damaged is not None
    scale = min(CELL_PX / side for side in image.size)
    size = tuple(max(1, round(side * scale)) for side in damaged.size)
    cell = Image.new("RGB", (CELL_PX, CELL_PX), (225, 225, 225))
    cell.paste(damaged.resize((size[0], size[1]), Image.Resampling.LANCZOS), (0, 0))
    return cell
