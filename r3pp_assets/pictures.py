"""Pictures for metadata: a contact sheet of a table's first pictures with their questions and answers."""

import io
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from r3pp_assets.metadata import MAX_INLINE_PNG_BYTES, inline_png

if TYPE_CHECKING:
    from PIL import Image

NUM_PICTURES = 12
NUM_COLUMNS = 6
TILE = (170, 210)
PICTURE_HEIGHT = 150
LINE_CHARS = 27


def contact_sheet_markdown(table: Path, image_root: Path, column: str = "image_path") -> dg.MarkdownMetadataValue:
    """Twelve pictures spread over the table, each with one question and answer, as one small inline PNG."""
    sheet = contact_sheet(_spread(table), image_root, column)
    return inline_png(small_png(sheet), "pictures with a question and its answer")


def small_png(sheet: "Image.Image") -> bytes:
    """PNG of at most MAX_INLINE_PNG_BYTES: in as many colors of its own as fit, and smaller where 16 are too many."""
    for shrink in (1, 2):
        for num_colors in (64, 32, 16):
            buffer = io.BytesIO()
            fitted = sheet.resize((sheet.width // shrink, sheet.height // shrink))
            fitted.quantize(num_colors).save(buffer, format="PNG", optimize=True)
            if buffer.tell() <= MAX_INLINE_PNG_BYTES:
                return buffer.getvalue()
    return buffer.getvalue()


def _spread(table: Path) -> list[dict[str, Any]]:
    """One row a picture, at even distances over the table."""
    from r3pp_core.jsonl import read_jsonl

    firsts: dict[str, int] = {}
    for number, row in enumerate(read_jsonl(table)):
        firsts.setdefault(row["image_sha256"], number)
    numbers = list(firsts.values())
    step = max(1, len(numbers) // NUM_PICTURES)
    chosen = set(numbers[::step][:NUM_PICTURES])
    return [row for number, row in enumerate(read_jsonl(table)) if number in chosen]


def contact_sheet(rows: list[dict[str, Any]], image_root: Path, column: str = "image_path") -> "Image.Image":
    from PIL import Image, ImageDraw

    from r3pp_core.pictures import PictureError, open_picture, picture_inside

    num_rows = max(1, -(-len(rows) // NUM_COLUMNS))
    sheet = Image.new("RGB", (TILE[0] * NUM_COLUMNS, TILE[1] * num_rows), "white")
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        left, top = (number % NUM_COLUMNS) * TILE[0], (number // NUM_COLUMNS) * TILE[1]
        try:
            picture = open_picture(picture_inside(image_root, row[column]))
        except PictureError as error:
            draw.text((left + 4, top + 4), error.reason, fill="red")
            continue
        picture.thumbnail((TILE[0] - 10, PICTURE_HEIGHT))
        sheet.paste(picture, (left + (TILE[0] - picture.width) // 2, top + 4))
        answer = row["answers"][0] if row["answers"] else "(hidden)"
        lines = [*_wrapped(row["question"] or "(no question)", 2), *_wrapped(f"= {answer}", 1)]
        for line_number, line in enumerate(lines):
            draw.text((left + 6, top + PICTURE_HEIGHT + 8 + 13 * line_number), line, fill="black")
    return sheet


def _wrapped(text: str, num_lines: int) -> list[str]:
    import textwrap

    printable = text.encode("latin-1", "replace").decode("latin-1")
    return list(islice(textwrap.wrap(printable, LINE_CHARS), num_lines))
