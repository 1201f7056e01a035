"""Pictures of retrieval quality: scores over damage, and queries with what they found."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3pp_core.pictures import PictureError, open_picture, picture_inside
from r3pp_core.retrieval.quality import KINDS, Found, Query
from r3pp_core.retrieval.search import Index

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

NUM_QUERIES = 8
NUM_HITS = 3
TILE = 96
LABEL_HEIGHT = 14
QUESTION_HEIGHT = 16
STATES_FACT, OTHER = "#009E73", "#BBBBBB"
STYLES = {"text": ("#0072B2", "o"), "image": ("#E69F00", "s"), "fused": ("#CC79A7", "D")}


def quality_plot(results: Mapping[str, Any]) -> bytes:
    """hit@3 (or, where no facts are known, agreement@3) over the damage level, with chance. PNG bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metric = "hit@3" if results["num_with_facts"] else "agreement@3"
    levels = [float(level) for level in results["levels"]]
    figure = Figure(figsize=(4.6, 3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for kind in KINDS:
        color, marker = STYLES[kind]
        values = [100 * scores[kind][metric] for scores in results["levels"].values()]
        axes.plot(levels, values, label=kind, color=color, marker=marker, linewidth=1.6)
    if results["num_with_facts"]:
        axes.axhline(100 * results["chance"][metric], color="#888888", linestyle=":", label="chance")
    axes.set_xlabel("damage level")
    axes.set_ylabel(f"{metric} (%)")
    axes.set_ylim(0, 103)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def hit_grid(kind: str, queries: Sequence[Query], found: Found, index: Index, image_root: Path) -> bytes:
    """Eight queries, clean on the left and at the highest level on the right, each with its three best hits and scores.

    A green frame: the hit states a fact that the question needs. PNG bytes, 32 colors.
    """
    from PIL import Image, ImageDraw

    levels = sorted({query.level for query in queries})
    clean = [row for row, query in enumerate(queries) if query.level == levels[0]]
    damaged = [row for row, query in enumerate(queries) if query.level == levels[-1]]
    step = max(1, len(clean) // NUM_QUERIES)
    pairs = list(zip(clean, damaged, strict=True))[::step][:NUM_QUERIES]
    height = QUESTION_HEIGHT + TILE + LABEL_HEIGHT
    sheet = Image.new("RGB", (2 * (NUM_HITS + 1) * TILE + 10, max(1, len(pairs)) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, pair in enumerate(pairs):
        top = number * height
        draw.text((2, top + 2), _latin(queries[pair[0]].row["question"])[:110], fill="black")
        for side, row in enumerate(pair):
            left = side * ((NUM_HITS + 1) * TILE + 10)
            _tile(sheet, draw, queries[row].picture, (left, top + QUESTION_HEIGHT), f"level {queries[row].level}", None)
            for place in range(NUM_HITS):
                entry = int(found.ids[kind][row][place])
                corner = (left + (place + 1) * TILE, top + QUESTION_HEIGHT)
                if entry < 0:
                    _tile(sheet, draw, None, corner, "no hit", None)
                    continue
                relevant = queries[row].relevant
                is_right = relevant is not None and index.entry(entry).image_sha256 in relevant
                picture = _opened(image_root, index.entry(entry).image_path)
                label = f"{found.scores[kind][row][place]:.2f}"
                _tile(sheet, draw, picture, corner, label, STATES_FACT if is_right else OTHER)
    buffer = io.BytesIO()
    sheet.quantize(32).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _tile(
    sheet: "Image.Image",
    draw: "ImageDraw.ImageDraw",
    picture: "Image.Image | None",
    corner: tuple[int, int],
    label: str,
    frame: str | None,
) -> None:
    left, top = corner
    if picture is not None:
        small = picture.copy()
        small.thumbnail((TILE - 8, TILE - 8))
        sheet.paste(small, (left + (TILE - small.width) // 2, top + (TILE - small.height) // 2))
    if frame is not None:
        draw.rectangle((left + 1, top + 1, left + TILE - 2, top + TILE - 2), outline=frame, width=2)
    draw.text((left + 4, top + TILE), label, fill="#444444")


def _opened(image_root: Path, image_path: str) -> "Image.Image | None":
    try:
        return open_picture(picture_inside(image_root, image_path))
    except PictureError:
        return None


def _latin(text: str) -> str:
    return text.encode("latin-1", "replace").decode("latin-1")
