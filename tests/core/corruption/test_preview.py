"""The contact sheet."""

import pytest
from PIL import ImageChops

from r3pp_core.corruption.config import CorruptionConfig
from r3pp_core.corruption.preview import CELL_PX, GAP_PX, HEADER_PX, LABEL_WIDTH_PX, contact_sheet
from r3pp_core.errors import UsageError


def cell(sheet, row, column):
    x, y = LABEL_WIDTH_PX + column * (CELL_PX + GAP_PX), HEADER_PX + row * (CELL_PX + GAP_PX)
    return sheet.crop((x, y, x + CELL_PX, y + CELL_PX))


def test_a_row_an_operator_a_column_a_level_and_the_clean_column_is_clean(page):
    config = CorruptionConfig(image_operators=["jpeg", "crop", "occlusion"])
    sheet = contact_sheet([page.image], [0, 0.5, 1], config)
    assert sheet.size == (LABEL_WIDTH_PX + 3 * (CELL_PX + GAP_PX), HEADER_PX + 3 * (CELL_PX + GAP_PX))
    assert cell(sheet, 0, 0).tobytes() == cell(sheet, 1, 0).tobytes() == cell(sheet, 2, 0).tobytes()
    for row in range(3):
        for column in (1, 2):
            assert ImageChops.difference(cell(sheet, row, 0), cell(sheet, row, column)).getbbox()


def test_nothing_to_show_is_refused(page):
    with pytest.raises(UsageError, match="at least one picture"):
        contact_sheet([], [0.5], CorruptionConfig())
