"""A lesson for the vision tower alone: at each cell of a page, to say what stands there.

What it gives for a cell is compared with the embeddings of the words for shapes, colours, places and states, so that
the language model finds a picture's parts where it finds words. Without it, which of three tabs is selected was still
guessed after 4,000 steps of questions; after 50 seconds of it, a hundred steps of questions sufficed.
"""

import io
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3pp_core.sample.backbones import MERGE_SIZE
from r3pp_core.sample.pretrain.config import NUM_HELD_OUT, PretrainConfig
from r3pp_core.sample.pretrain.pool import Page, read_pool
from r3pp_core.sample.pretrain.things import WORDS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Cells:
    """A map from step to (pixel values, grids [pages, 3], what stands in each cell [cells, words], 0 or 1)."""

    config: PretrainConfig
    pool_dir: Path
    image_processor: Any
    held_out: bool = False

    def __post_init__(self) -> None:
        self._pages: list[Page] | None = None

    def __getitem__(self, step: int) -> tuple["Tensor", "Tensor", "Tensor"]:
        import torch
        from PIL import Image

        rng = random.Random(f"{self.config.seed}/naming/{'held out' if self.held_out else 'step'}/{step}")
        pages = rng.choices(self.pages, k=self.config.naming_pages)
        batch = self.image_processor(images=[Image.open(io.BytesIO(page.png)) for page in pages], return_tensors="pt")
        grids = batch["image_grid_thw"]
        cells = torch.cat([_cells(page, *grid) for page, (_, *grid) in zip(pages, grids.tolist(), strict=True)])
        return batch["pixel_values"], grids, cells

    @property
    def pages(self) -> list[Page]:
        """Those with anything to name."""
        if self._pages is None:
            groups = read_pool(self.pool_dir, self.config.num_groups)
            groups = groups[-NUM_HELD_OUT:] if self.held_out else groups[:-NUM_HELD_OUT]
            self._pages = [page for group in groups for page in group if page.things]
        return self._pages


def _cells(page: Page, rows: int, columns: int) -> "Tensor":
    """[cells, words] of a page of rows x columns patches."""
    import torch

    rows, columns = rows // MERGE_SIZE, columns // MERGE_SIZE
    cells = torch.zeros(rows, columns, len(WORDS))
    for thing in page.things:
        for word in thing.words:
            cells[min(rows - 1, int(thing.y * rows)), min(columns - 1, int(thing.x * columns)), WORDS.index(word)] = 1
    return cells.flatten(0, 1)


class Namer:
    """The vision tower of `model` with the lesson's own scale, offsets and optimizer, which end with it."""

    def __init__(self, model: Any, tokenizer: Any, config: PretrainConfig) -> None:
        import torch

        self.tower, self.config = model.model.visual, config
        # Of a word of several tokens the last one is compared: "largest" ends as all superlatives do.
        last = [tokenizer(word, add_special_tokens=False)["input_ids"][-1] for word in WORDS]
        self.words = model.get_input_embeddings().weight[last].detach()
        self.scale = torch.ones((), requires_grad=True)
        self.offsets = torch.full((len(WORDS),), -4.0, requires_grad=True)
        self.optimizer = torch.optim.AdamW(
            [{"params": list(self.tower.parameters())}, {"params": [self.scale, self.offsets]}],
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
        )

    def step(self, batch: tuple["Tensor", "Tensor", "Tensor"], step: int) -> float:
        """Learn from one batch; returns its loss."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        pixels, grids, cells = batch
        loss = binary_cross_entropy_with_logits(self._logits(pixels, grids), cells)
        share = step / self.config.naming_steps
        lr = self.config.naming_lr * min(1.0, (step + 1) / 50, max(0.2, 2 * (1 - share)))
        for group, rate in zip(self.optimizer.param_groups, (lr, 1e-2), strict=True):
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.tower.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def evaluate(self, cells: Cells, num_batches: int) -> dict[str, float]:
        """Of the words that are there, how many are found; of those that are found, how many are there."""
        import torch

        found = there = both = 0.0
        with torch.inference_mode():
            for step in range(num_batches):
                pixels, grids, wanted = cells[step]
                said = (self._logits(pixels, grids) > 0).float()
                found, there, both = (
                    found + said.sum().item(),
                    there + wanted.sum().item(),
                    both + (said * wanted).sum().item(),
                )
        return {"recall": round(both / max(1.0, there), 3), "precision": round(both / max(1.0, found), 3)}

    def _logits(self, pixels: "Tensor", grids: "Tensor") -> "Tensor":
        cells = self.tower(pixels, grid_thw=grids).pooler_output
        return cells @ self.words.T * self.scale + self.offsets
