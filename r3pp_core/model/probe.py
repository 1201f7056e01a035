"""A drawn row on which every module takes part: to compare two models by, and where a rank has no row of its own."""

from dataclasses import replace
from typing import Any

import numpy as np

from r3pp_core.model.collation import Batch, collate, to_device
from r3pp_core.model.config import ARMS, R3Config
from r3pp_core.model.evidence import RowEvidence, RowHits
from r3pp_core.model.preparation import CleanView, DamagedRow, PreparedRow, patches


def probe_row(config: R3Config, image_processor: Any) -> PreparedRow:
    """The same for equal configs, with hits in both indices and with its clean view."""
    from PIL import Image

    draw = np.random.default_rng(0)

    def hits(dim: int) -> RowHits:
        share = np.full(config.k, 1 / config.k, np.float32)
        vectors = draw.normal(size=(config.k, dim)).astype(np.float32)
        return RowHits(np.arange(config.k), share, share, np.ones(config.k, bool), vectors, [])

    picture = Image.fromarray(draw.integers(0, 255, (96, 128, 3), dtype=np.uint8))
    row = {"id": "probe", "dataset": "chartqa", "question": "How many?", "answer": "12"}
    pixel_values, grid_thw = patches(picture, image_processor, config.max_pixels)
    damaged = DamagedRow(row, 0.0, 0, row["question"], picture, pixel_values, grid_thw, "12 apples", 0.9, [], 1.0, 1.0)
    damaged = replace(damaged, clean=CleanView(pixel_values, grid_thw, damaged.pseudo_text))
    evidence = RowEvidence(
        hits(config.text_dim), hits(config.image_dim), draw.normal(size=config.image_dim).astype(np.float32)
    )
    return PreparedRow(damaged, evidence)


def probe_batch(model: Any, *, clean: bool = False) -> Batch:
    """The row with its answer, as the model sees it; `clean`: as its teacher does, without evidence and soft tokens."""
    row = probe_row(model.config, model.image_processor)
    arm = ARMS["base_ocr"] if clean else ARMS["r3"]
    return collate([row], model.tokenizer, model.config, arm=arm, with_answers=True, merge_size=model.merge_size)


def probe_logits(model: Any, *, clean: bool = False) -> Any:
    """Logits of the probe's answer in evaluation mode. float32 on the CPU, [n, V]."""
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits = model(to_device(probe_batch(model, clean=clean), model.device), only_logits=True)
    finally:
        model.train(was_training)
    return logits.float().cpu()
