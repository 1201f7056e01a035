"""Rows in ChartQA's columns and Parquet files of them, as whole or as damaged as a test wants them."""

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def picture(number: int, kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    """A picture that no other number below 6000 gives."""
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).rectangle((2, 2, 10 + number % 25, 20), fill=(number % 240, number * 7 % 256, 90))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def row(image: bytes | None, question: Any = "What is the total?", answers: Any = ("42",)) -> dict[str, Any]:
    cell = {"bytes": image, "path": "x.png"} if image is not None else None
    return {"image": cell, "query": question, "label": answers, "human_or_machine": 0}


def write_parquet(folder: Path, split: str, rows: list[dict[str, Any]], **options: Any) -> Path:
    """`folder/chartqa/data/<split>-00000-of-00001.parquet`. Questions may be bytes, which need not be UTF-8."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "chartqa" / "data" / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    questions = [text.encode() if isinstance(text := line["query"], str) else text for line in rows]
    columns = {
        "image": pa.array([line["image"] for line in rows], pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "query": pa.array(questions, pa.binary()).view(pa.string()),  # a view does not look whether it is UTF-8
        "label": pa.array([line["label"] for line in rows], pa.list_(pa.string())),
        "human_or_machine": pa.array([line["human_or_machine"] for line in rows], pa.int64()),
    }
    pq.write_table(pa.table(columns), path, **options)
    return path
