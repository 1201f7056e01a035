"""Drawn pages, kept on disk: drawing is slower than training, so each page is drawn once and seen several times.

A file holds some groups: a picture as the model sees it (PNG, already fitted), what is printed on it, line by line in
reading order, and what stands where. What is asked about it is made anew at each visit.
"""

import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from r3pp_core.errors import R3Error
from r3pp_core.progress import Progress, silent
from r3pp_core.sample.drawings import draw
from r3pp_core.sample.pretrain.other_worlds import build_group
from r3pp_core.sample.pretrain.printed import in_reading_order
from r3pp_core.sample.pretrain.things import Thing, things_on

GROUPS_IN_FILE = 25
_DESCRIPTION = "pages.json"


@dataclass(frozen=True)
class Page:
    """One drawn page. `lines` are what OCR would read, in reading order."""

    group: int
    number: int
    png: bytes
    lines: tuple[str, ...]
    things: tuple[Thing, ...]


def ensure_pool(folder: Path, seed: int, num_groups: int, workers: int, progress: Progress = silent) -> None:
    """Draw the groups 0 .. num_groups - 1 that `folder` lacks; whole files only, so an interrupted call goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    asked, described = {"seed": seed, "num_groups": num_groups}, folder / _DESCRIPTION
    if not described.exists():
        described.write_text(json.dumps(asked) + "\n", encoding="utf-8")
    if json.loads(described.read_text(encoding="utf-8")) != asked:
        raise R3Error(f"{folder} holds pages of another seed or number of groups; choose another folder")
    jobs = [
        (folder / f"groups_{first:06d}.parquet", seed, range(first, min(first + GROUPS_IN_FILE, num_groups)))
        for first in range(0, num_groups, GROUPS_IN_FILE)
    ]
    jobs = [job for job in jobs if not job[0].exists()]
    with ProcessPoolExecutor(workers) as pool:
        for done, _ in enumerate(pool.map(_draw_file, *zip(*jobs, strict=True)) if jobs else (), start=1):
            progress(f"pretrain: {done} of {len(jobs)} files of pages drawn")


def read_pool(folder: Path, num_groups: int) -> list[list[Page]]:
    """The pages of each group."""
    import pyarrow.parquet as pq

    groups: list[list[Page]] = [[] for _ in range(num_groups)]
    for first in range(0, num_groups, GROUPS_IN_FILE):
        for row in pq.read_table(folder / f"groups_{first:06d}.parquet").to_pylist():
            if row["group"] < num_groups:
                things = tuple(Thing(tuple(words), x, y) for words, x, y in json.loads(row["things"]))
                page = Page(row["group"], row["number"], row["png"], tuple(json.loads(row["lines"])), things)
                groups[page.group].append(page)
    return groups


def _draw_file(path: Path, seed: int, numbers: range) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([row for number in numbers for row in _rows(seed, number)])
    part = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(table, part)
    part.replace(path)


def _rows(seed: int, number: int) -> Iterator[dict[str, object]]:
    for i, picture in enumerate(build_group(seed, number).pages):
        drawing = draw(picture)
        yield {
            "group": number,
            "number": i,
            "png": _fitted(drawing.png()),
            "lines": json.dumps(in_reading_order(drawing.printed())),
            "things": json.dumps([[one.words, one.x, one.y] for one in things_on(picture, drawing)]),
        }


def _fitted(png: bytes) -> bytes:
    """The picture at the size at which the small backbone sees it."""
    from PIL import Image
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    from r3pp_core.sample.backbones import MAX_SIDE, MERGE_SIZE, PATCH_SIZE

    image: Image.Image = Image.open(io.BytesIO(png)).convert("RGB")
    unit = PATCH_SIZE * MERGE_SIZE
    height, width = smart_resize(image.height, image.width, unit, unit * unit, MAX_SIDE * MAX_SIDE)
    buffer = io.BytesIO()
    image.resize((width, height), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()
