"""Pictures for metadata: a contact sheet of a table's first pictures with their questions and answers."""

import base64
import io
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from r3pp_core.jsonl import read_jsonl
from r3pp_core.pictures import PictureError, open_picture, picture_inside

if TYPE_CHECKING:
    from PIL import Image

NUM_PICTURES = 12
NUM_COLUMNS = 6
TILE = (170, 210)
PICTURE_HEIGHT = 150
LINE_CHARS = 27


def contact_sheet_markdown(table: Path, image_root: Path) -> dg.MarkdownMetadataValue:
    """Twelve pictures spread over the table, each with one question and answer, as one inline JPEG."""
    rows = _spread(table)
    sheet = contact_sheet(rows, image_root)
    buffer = io.BytesIO()
    sheet.save(buffer, format="JPEG", quality=70)
    data = base64.b64encode(buffer.getvalue()).decode()
    return dg.MetadataValue.md(f"![pictures with a question and its answer](data:image/jpeg;base64,{data})")


def _spread(table: Path) -> list[dict[str, Any]]:
    """One row a picture, at even distances over the table."""
    firsts: dict[str, int] = {}
    for number, row in enumerate(read_jsonl(table)):
        firsts.setdefault(row["image_sha256"], number)
    numbers = list(firsts.values())
    step = max(1, len(numbers) // NUM_PICTURES)
    chosen = set(numbers[::step][:NUM_PICTURES])
    return [row for number, row in enumerate(read_jsonl(table)) if number in chosen]


def contact_sheet(rows: list[dict[str, Any]], image_root: Path) -> "Image.Image":
    from PIL import Image, ImageDraw

    num_rows = max(1, -(-len(rows) // NUM_COLUMNS))
    sheet = Image.new("RGB", (TILE[0] * NUM_COLUMNS, TILE[1] * num_rows), "white")
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        left, top = (number % NUM_COLUMNS) * TILE[0], (number // NUM_COLUMNS) * TILE[1]
        try:
            picture = open_picture(picture_inside(image_root, row["image_path"]))
        except PictureError as error:
            draw.text((left + 4, top + 4), error.reason, fill="red")
            continue
        picture.thumbnail((TILE[0] - 10, PICTURE_HEIGHT))
        sheet.paste(picture, (left + (TILE[0] - picture.width) // 2, top + 4))
        lines = [*_wrapped(row["question"], 2), *_wrapped("= " + (row["answer"] or "(hidden)"), 1)]
        for line_number, line in enumerate(lines):
            draw.text((left + 6, top + PICTURE_HEIGHT + 8 + 13 * line_number), line, fill="black")
    return sheet


def _wrapped(text: str, num_lines: int) -> list[str]:
    import textwrap

    printable = text.encode("latin-1", "replace").decode("latin-1")
    return list(islice(textwrap.wrap(printable, LINE_CHARS), num_lines))
