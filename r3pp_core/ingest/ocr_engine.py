"""One picture through RapidOCR: its lines in reading order, its size and its perceptual hash."""

from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3pp_core.ingest.perceptual import perceptual_hash
from r3pp_core.ingest.reasons import Reason
from r3pp_core.pictures import PictureError, open_picture

if TYPE_CHECKING:
    from PIL import Image

MAX_OCR_PIXELS = 4_000_000
# Small pictures are enlarged to 512 and not to 736 pixels on the short side, and text is taken to be upright: a quarter
# less time, the same boxes on the embedded sample.
SHORT_SIDE = 512
SAME_LINE_OVERLAP = 0.5
# RapidOCR enlarges by the short side without a bound (1000 x 1 pixels take 20 GB) and fails where it rounds to nothing.
MAX_OCR_RATIO = 16


def engine_name() -> str:
    """The engine with the settings that change what it reads; results of another are never reused."""
    return f"rapidocr-{version('rapidocr')}-short{SHORT_SIDE}-upright"


_engine: Any = None  # one engine a process, made by `start_engine`


def start_engine() -> None:
    """Load the models, on one thread: a process a core reads more than one process with all of them."""
    global _engine
    import logging

    from rapidocr import RapidOCR

    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    _engine = RapidOCR(
        params={
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            "Global.log_level": "error",
            "Global.use_cls": False,
            "Det.limit_side_len": SHORT_SIDE,
        }
    )


def read_picture(path: Path) -> dict[str, Any]:
    """Width, height, phash and lines (text, box, conf) in reading order, or the reason why there are none."""
    import numpy as np

    try:
        image = open_picture(path)
    except PictureError as error:
        return {"reason": error.reason, "detail": str(error)}
    width, height = image.size
    phash = perceptual_hash(image)
    image, scale = _bounded(image)
    if _engine is None:
        start_engine()
    try:
        result = _engine(np.asarray(image)[:, :, ::-1])
    except Exception as error:  # noqa: BLE001 - whatever an engine does with one picture, the others are read
        return {"reason": Reason.OCR_FAILED, "detail": f"{type(error).__name__}: {error}"}
    found = zip(result.boxes, result.txts, result.scores, strict=True) if result.txts else ()
    lines = [
        {
            "text": text.strip(),
            "box": [round(float(value) / scale, 1) for value in (*box.min(axis=0), *box.max(axis=0))],
            "conf": round(float(conf), 4),
        }
        for box, text, conf in found
        if text.strip()
    ]
    return {"width": width, "height": height, "phash": phash, "lines": reading_order(lines)}


def text_of(lines: list[dict[str, Any]], min_conf: float) -> tuple[list[dict[str, Any]], str, float | None]:
    """The lines of at least `min_conf`, their text, and their mean confidence, None without any."""
    kept = [line for line in lines if line["conf"] >= min_conf]
    conf = round(sum(line["conf"] for line in kept) / len(kept), 4) if kept else None
    return kept, "\n".join(line["text"] for line in kept), conf


def _bounded(image: "Image.Image") -> tuple["Image.Image", float]:
    """The picture shrunk to MAX_OCR_PIXELS, with white right or below where it is too narrow, and its scale."""
    from PIL import Image

    width, height = (max(side, ceil(max(image.size) / MAX_OCR_RATIO)) for side in image.size)
    scale = min(1.0, (MAX_OCR_PIXELS / (width * height)) ** 0.5)
    is_narrow = (width, height) != image.size
    if scale < 1:
        image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    if is_narrow:
        canvas = Image.new("RGB", (round(width * scale), round(height * scale)), "white")
        canvas.paste(image)
        image = canvas
    return image, scale


def reading_order(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Top to bottom, and left to right among boxes that share at least half of their height."""
    rows: list[list[dict[str, Any]]] = []
    for line in sorted(lines, key=lambda line: (line["box"][1] + line["box"][3], line["box"][0])):
        row = rows[-1] if rows else None
        if row and _overlap(row[0]["box"], line["box"]) >= SAME_LINE_OVERLAP:
            row.append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: line["box"][0])]


def _overlap(a: list[float], b: list[float]) -> float:
    """Shared height over the smaller height of two boxes."""
    shared = min(a[3], b[3]) - max(a[1], b[1])
    return float(shared / max(1e-6, min(a[3] - a[1], b[3] - b[1])))
