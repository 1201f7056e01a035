"""From unified rows to what the model and the reports need, the same way for training and evaluation.

Two halves, so that the first can run in threads ahead of the step: `damage` opens a picture once, damages it and
cuts it into patches; `retrieve` encodes a batch of damaged queries and searches.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from r3pp_core.corruption.config import CorruptionConfig
from r3pp_core.corruption.simulator import OcrLine, corrupt, corrupt_text
from r3pp_core.errors import R3Error
from r3pp_core.model.config import R3Config
from r3pp_core.model.evidence import Floats, Retriever, RowEvidence, refuse_other_sizes
from r3pp_core.pictures import MAX_ASPECT_RATIO, PictureError, open_picture, picture_inside
from r3pp_core.retrieval.search import query_text

if TYPE_CHECKING:
    from PIL import Image

Row = Mapping[str, Any]


@dataclass(frozen=True)
class CleanView:
    """A row as it was before the simulator: what the teacher sees."""

    pixel_values: Floats
    grid_thw: tuple[int, int, int]
    pseudo_text: str


@dataclass(frozen=True)
class DamagedRow:
    """A row after the simulator: what is asked about which picture, beside `row` as it was.

    `pixel_values` are the patches of the damaged picture, fitted to max_pixels.
    """

    row: Row
    level: float
    visit: int
    question: str
    picture: "Image.Image"
    pixel_values: Floats
    grid_thw: tuple[int, int, int]
    pseudo_text: str
    ocr_conf: float | None
    operators: list[Any]
    c_vis: float
    c_text: float
    clean: CleanView | None = None

    @property
    def query(self) -> str:
        """The text query: question and damaged pseudo-text."""
        return query_text(self.question, self.pseudo_text)


@dataclass(frozen=True)
class PreparedRow:
    """`has_words`: whether its text evidence is given as words too, and not as soft tokens alone."""

    damaged: DamagedRow
    evidence: RowEvidence
    has_words: bool = True

    def undamaged(self) -> "PreparedRow":
        """The same row in its clean view."""
        clean = self.damaged.clean
        assert clean is not None, "prepared by a Preparer that keeps clean views"
        damaged = replace(
            self.damaged, pixel_values=clean.pixel_values, grid_thw=clean.grid_thw, pseudo_text=clean.pseudo_text
        )
        return replace(self, damaged=damaged)

    @property
    def row_id(self) -> str:
        return str(self.damaged.row["id"])


@dataclass(frozen=True)
class RejectedRow:
    row_id: str
    reason: str
    message: str


@dataclass(frozen=True)
class Preparation:
    """Prepared rows in the order asked for, less those that cannot be used."""

    rows: list[PreparedRow]
    rejected: list[RejectedRow]


class Preparer:
    """Opens, damages, encodes and searches. Without a retriever every row has no hits and a zero picture embedding."""

    def __init__(
        self,
        image_root: Path,
        config: R3Config,
        corruption: CorruptionConfig,
        image_processor: Any,
        retriever: Retriever | None = None,
        ocr_lines: Callable[[str], list[OcrLine]] | None = None,
        *,
        keep_clean: bool = False,
        damages_question: bool = False,
        open_path: "Callable[[Path], Image.Image]" = open_picture,
    ) -> None:
        """`keep_clean`: rows hold their clean view as well. `damages_question`: text operators on the question, and
        nothing else is damaged. `open_path` may give a picture that it opened before.
        """
        if retriever is not None:
            refuse_other_sizes(retriever, config.text_dim, config.image_dim)
        self.image_root = image_root
        self.config = config
        self.corruption = corruption
        self.image_processor = image_processor
        self.retriever = retriever
        self.ocr_lines = ocr_lines
        self.keep_clean = keep_clean
        self.damages_question = damages_question
        self.open_path = open_path

    def prepare(self, rows: Sequence[Row], level: float, visit: int = 0) -> Preparation:
        """Damage and retrieve one batch; deterministic in (corruption seed, row id, visit, level)."""
        return self.retrieve([self.damage(row, level, visit) for row in rows])

    def damage(self, row: Row, level: float, visit: int = 0) -> DamagedRow | RejectedRow:
        """One row, from its file to patches. Safe to call from threads; a picture that cannot be used is rejected."""
        try:
            picture = self.open_path(picture_inside(self.image_root, row["image_path"]))
        except PictureError as error:
            return RejectedRow(row["id"], error.reason, str(error))
        of_question, of_row = (level, 0.0) if self.damages_question else (0.0, level)
        question, operators = corrupt_text(row["question"], of_question, self.corruption, row["id"], visit)
        damaged = corrupt(
            picture,
            self.ocr_lines(row["image_path"]) if self.ocr_lines else [],
            row["pseudo_text"] or "",
            row["ocr_conf"],
            of_row,
            self.corruption,
            row["id"],
            visit,
        )
        assert damaged.image is not None, "a picture went in"
        shown = [damaged.image, picture] if self.keep_clean and level else [damaged.image]
        for one in shown:
            long, short = max(one.size), min(one.size)
            if long > MAX_ASPECT_RATIO * short:
                return RejectedRow(row["id"], "picture_too_narrow", f"{row['image_path']} is {long} by {short} pixels")
        cut = [patches(one, self.image_processor, self.config.max_pixels) for one in shown]
        pixel_values, grid_thw = cut[0]
        return DamagedRow(
            row=row,
            level=level,
            visit=visit,
            question=question,
            picture=damaged.image,
            pixel_values=pixel_values,
            grid_thw=grid_thw,
            pseudo_text=damaged.pseudo_text,
            ocr_conf=damaged.ocr_conf,
            operators=[*damaged.operators, *operators],
            c_vis=damaged.c_vis,
            c_text=damaged.c_text,
            clean=CleanView(*cut[-1], row["pseudo_text"] or "") if self.keep_clean else None,
        )

    def retrieve(self, damaged: Sequence[DamagedRow | RejectedRow]) -> Preparation:
        """Encode and search for the rows that can be used, as one batch."""
        usable = [row for row in damaged if isinstance(row, DamagedRow)]
        rejected = [row for row in damaged if isinstance(row, RejectedRow)]
        config = self.config
        if self.retriever is None or not usable:
            found = [RowEvidence.none(config.k, config.text_dim, config.image_dim) for _ in usable]
        else:
            found = self._found(self.retriever, usable)
        return Preparation([PreparedRow(*pair) for pair in zip(usable, found, strict=True)], rejected)

    def _found(self, retriever: Retriever, rows: Sequence[DamagedRow]) -> list[RowEvidence]:
        """Of undamaged rows what was looked up once, where it serves; the others are encoded together."""
        clean = [row for row in rows if not row.level]
        kept = retriever.look_up_clean(
            [row.row["id"] for row in clean], [row.row["image_sha256"] for row in clean], self.config.max_query_chars
        )
        encoded = [row for row in rows if row.level] if kept else list(rows)
        looked_up = retriever.look_up(
            [row.query[: self.config.max_query_chars] for row in encoded],
            [row.picture for row in encoded],
            [row.row["image_sha256"] for row in encoded],
        )
        searched, remembered = iter(looked_up), iter(kept or ())
        return [next(searched if row.level or not kept else remembered) for row in rows]


def patches(picture: "Image.Image", image_processor: Any, max_pixels: int) -> tuple[Floats, tuple[int, int, int]]:
    """Patches [P, patch length] and grid (1, rows, columns) of a picture shrunk to `max_pixels`, keeping its shape."""
    smallest = min(image_processor.size["shortest_edge"], max_pixels)
    size = {"shortest_edge": smallest, "longest_edge": max_pixels}
    inputs = image_processor(images=[picture], size=size, return_tensors="np")
    t, h, w = (int(side) for side in inputs["image_grid_thw"][0])
    return np.asarray(inputs["pixel_values"], np.float32), (t, h, w)


def refuse_nothing_usable(rejected: Sequence[RejectedRow]) -> NoReturn:
    """Raise R3Error when not a single row could be used: all were rejected."""
    first = rejected[0].message if rejected else "no rows"
    raise R3Error(f"none of {len(rejected)} rows can be used, for example: {first}")
