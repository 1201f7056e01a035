"""Prepared rows made by hand: real pictures and patches, drawn hits. Shared by the tests of this folder."""

import numpy as np
from PIL import Image, ImageDraw

from r3pp_core.model.config import R3Config
from r3pp_core.model.evidence import RowEvidence, RowHits
from r3pp_core.model.preparation import DamagedRow, PreparedRow
from r3pp_core.retrieval.metadata import IndexEntry

TEXTS = [f"The sales of apples in {1990 + number} were {number * 37} units" for number in range(60)]
SIZES = {"text_dim": 12, "image_dim": 10, "bottleneck": 16, "k": 3, "max_pixels": 16_384}


def small_config(**fields) -> R3Config:
    return R3Config(**{**SIZES, **fields})


def _hits(rng: np.random.Generator, dim: int, num_hits: int, k: int = 3) -> RowHits:
    mask = np.arange(k) < num_hits
    vectors = rng.normal(size=(k, dim)).astype(np.float32) * mask[:, None]
    scores = (np.sort(rng.uniform(size=k))[::-1] * mask).astype(np.float32)
    weights = np.where(mask, np.exp(scores), 0)
    weights = (weights / max(weights.sum(), 1e-9)).astype(np.float32)
    entries = [IndexEntry(f"x/{n}.png", f"sha{n}", "chartqa", TEXTS[n]) for n in range(num_hits)]
    return RowHits(np.where(mask, np.arange(k), -1), scores, weights, mask, vectors, entries)


def prepared_row(
    image_processor, number: int = 0, *, size=(96, 64), answer="37 units", question=None, hits=(3, 3), pseudo_text=None
) -> PreparedRow:
    """Row `number`, deterministic; `hits` are the numbers of text and image hits."""
    rng = np.random.default_rng(number)
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for x in range(0, size[0], 16):
        draw.rectangle((x, 0, x + 10, int(rng.integers(8, size[1]))), fill=tuple(rng.integers(0, 255, 3).tolist()))
    inputs = image_processor(images=[picture], return_tensors="np")
    damaged = DamagedRow(
        row={
            "id": f"chartqa/train/{number}",
            "dataset": "chartqa",
            "question": question or f"What were the sales in {1990 + number}?",
            "answer": answer,
            "image_sha256": f"own{number}",
        },
        level=0.4,
        visit=0,
        question=question or f"What were the sales in {1990 + number}?",
        picture=picture,
        pixel_values=np.asarray(inputs["pixel_values"], np.float32),
        grid_thw=tuple(int(side) for side in inputs["image_grid_thw"][0]),
        pseudo_text=TEXTS[number % len(TEXTS)] if pseudo_text is None else pseudo_text,
        ocr_conf=0.9 if number % 2 else None,
        operators=[],
        c_vis=0.5 + 0.1 * (number % 4),
        c_text=0.7,
    )
    evidence = RowEvidence(_hits(rng, 12, hits[0]), _hits(rng, 10, hits[1]), rng.normal(size=10).astype(np.float32))
    return PreparedRow(damaged, evidence)
