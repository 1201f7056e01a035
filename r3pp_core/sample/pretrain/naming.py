"""Pictures of words: what the vision tower is to give for each cell of a page, and its own lesson in giving it.

The aim is a sum of embeddings, of the words for shape, colour, place and state of what stands in the cell. The language
model learns first to look things up in such sums themselves (`words`), which takes it some hundred steps; then
the tower alone learns to give them, and it goes on naming for as long as it sees pages. Without any of this, which of
three tabs is selected was still guessed after 4,000 steps of questions; and a tower that could name things, beside a
language model that had only learned from text, forgot it again within a thousand (docs/experiments.md).
"""

import io
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3pp_core.sample.backbones import MERGE_SIZE
from r3pp_core.sample.pretrain.config import NUM_HELD_OUT, PretrainConfig
from r3pp_core.sample.pretrain.first_weights import COMMON, COMMON_SIZE
from r3pp_core.sample.pretrain.pool import Page, read_pool
from r3pp_core.sample.pretrain.things import WORDS, words_in_cells

if TYPE_CHECKING:
    from torch import Tensor

SURE = 4.0  # the log odds of a word in a cell that holds nothing else
WARM_UP_STEPS = 50


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
        sizes = (grids[:, 1:] // MERGE_SIZE).tolist()
        cells = [torch.from_numpy(words_in_cells(page.things, *size)) for page, size in zip(pages, sizes, strict=True)]
        return batch["pixel_values"], grids, torch.cat(cells)

    @property
    def pages(self) -> list[Page]:
        """Those with anything to name."""
        if self._pages is None:
            groups = read_pool(self.pool_dir, self.config.num_groups)
            groups = groups[-NUM_HELD_OUT:] if self.held_out else groups[:-NUM_HELD_OUT]
            self._pages = [page for group in groups for page in group if page.things]
        return self._pages


class Words:
    """The embeddings of the words for things, as they are now; of a word of several tokens the last one's."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.ids = [tokenizer(word, add_special_tokens=False)["input_ids"][-1] for word in WORDS]

    @property
    def embeddings(self) -> "Tensor":
        """[words, hidden], without gradient."""
        return self.model.get_input_embeddings().weight[self.ids].detach()

    def pictured(self, cells: "Tensor") -> "Tensor":
        """[cells, hidden]: what a perfect tower would give for `cells` [cells, words]."""
        given = cells @ self.embeddings
        given[:, COMMON] = COMMON_SIZE
        return given

    def distance(self, given: "Tensor", cells: "Tensor") -> "Tensor":
        """Mean square of what `given` [cells, hidden] lacks of the words, or has too much of them; what else it holds
        is free, and so are cells of which nothing is known (`packing.NOT_KNOWN`)."""
        import torch

        is_known = cells[:, :1] >= 0
        basis = torch.linalg.qr(self.embeddings.T)[0]
        lacking = ((given - self.pictured(cells)) @ basis) * is_known
        return lacking.square().sum() / (is_known.sum() * basis.shape[1]).clamp_min(1)


class Namer:
    """The vision tower of `model` in its own lesson.

    A layer that ends with the lesson tells by the embeddings which words describe a cell (cross-entropy), which shapes
    what the tower sees; its own last layer learns to give their sum (squared distance). With the sum alone it took
    several times as long to tell anything apart; with the telling alone what it gave grew without bounds, in every
    direction that no word needs, and the language model could read nothing in it.
    """

    def __init__(self, model: Any, words: Words, config: PretrainConfig) -> None:
        import copy

        import torch

        self.tower, self.config, self.words = model.model.visual, config, words
        last = self.tower.merger.linear_fc2
        self.teller = copy.deepcopy(last)
        self._seen: Tensor
        self._hook = last.register_forward_hook(self._keep_seen)
        self.optimizer = torch.optim.AdamW(
            [*self.tower.parameters(), *self.teller.parameters()], betas=(0.9, 0.98), weight_decay=config.weight_decay
        )

    def step(self, batch: tuple["Tensor", "Tensor", "Tensor"], step: int) -> tuple[float, float]:
        """Learn from one batch; returns the losses of telling and of giving."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

        pixels, grids, cells = batch
        given, log_odds = self._look(pixels, grids)
        telling = binary_cross_entropy_with_logits(log_odds, cells)
        giving = mse_loss(given, self.words.pictured(cells))
        left = 1 - step / self.config.naming_steps
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.naming_lr * min(1.0, (step + 1) / WARM_UP_STEPS, max(0.2, 2 * left))
        self.optimizer.zero_grad()
        (telling + giving).backward()
        torch.nn.utils.clip_grad_norm_(self.tower.parameters(), 1.0)
        self.optimizer.step()
        return telling.item(), giving.item()

    def evaluate(self, cells: Cells, num_batches: int) -> dict[str, float]:
        """Of the words that are there, how many are told; of those that are told, how many are there."""
        import torch

        told = there = both = 0.0
        with torch.inference_mode():
            for step in range(num_batches):
                pixels, grids, wanted = cells[step]
                said = (self._look(pixels, grids)[1] > 0).float()
                told, there, both = (
                    told + said.sum().item(),
                    there + wanted.sum().item(),
                    both + (said * wanted).sum().item(),
                )
        return {"recall": round(both / max(1.0, there), 3), "precision": round(both / max(1.0, told), 3)}

    def finish(self) -> None:
        """Leave the tower as it was but for what it learned."""
        self._hook.remove()

    def _keep_seen(self, _: Any, inputs: tuple["Tensor"], __: "Tensor") -> None:
        self._seen = inputs[0]

    def _look(self, pixels: "Tensor", grids: "Tensor") -> tuple["Tensor", "Tensor"]:
        """What the tower gives [cells, hidden], and the log odds of each word [cells, words]."""
        given: Tensor = self.tower(pixels, grid_thw=grids).pooler_output
        embeddings = self.words.embeddings.clone()
        embeddings[:, COMMON] = 0
        squares = embeddings.square().sum(dim=1)
        return given, (self.teller(self._seen) @ embeddings.T / squares - 0.5) * 2 * SURE
