"""The batch of each step, made anew from (seed, step): a resumed run sees what it would have seen."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r3pp_core.sample.plan import Picture
from r3pp_core.sample.pretrain.config import NUM_HELD_OUT, PretrainConfig
from r3pp_core.sample.pretrain.examples import Example, make_example
from r3pp_core.sample.pretrain.other_worlds import build_group
from r3pp_core.sample.pretrain.packing import Packed, pack
from r3pp_core.sample.pretrain.pool import Page, read_pool
from r3pp_core.sample.pretrain.printed import printed_lines

_FRESH = 10**9  # groups that are never drawn are numbered from here: text costs nothing to make anew
_HELD_OUT_FRESH = 2 * 10**9


class _Lines(dict[int, list[str]]):
    """The lines of each page, put down when they are first asked for."""

    def __init__(self, rng: random.Random, pages: Sequence[Picture]) -> None:
        super().__init__()
        self.rng, self.pages = rng, pages

    def __missing__(self, number: int) -> list[str]:
        self[number] = printed_lines(self.rng, self.pages[number])
        return self[number]


@dataclass
class Batches:
    """A map from step to batch, as a DataLoader wants it; the drawn pages are read when they are first needed."""

    config: PretrainConfig
    pool_dir: Path
    tokenizer: Any
    image_processor: Any
    held_out: bool = False

    def __post_init__(self) -> None:
        self._pool: list[list[Page]] | None = None

    def __getitem__(self, step: int) -> tuple[str, Packed]:
        """The mode of `step` and its batch."""
        is_first = step < self.config.lookup_steps and not self.held_out
        mode = "lookup" if is_first else self.config.modes[step % len(self.config.modes)]
        rng = random.Random(f"{self.config.seed}/{'held out' if self.held_out else 'step'}/{step}")
        examples: list[Example] = []
        num_pages = self.config.look_pages if mode == "look" else self.config.pages
        while len(examples) < num_pages:
            examples += self._of_one_group(rng, mode, num_pages - len(examples))
        return mode, pack(examples, self.tokenizer, self.image_processor)

    def _of_one_group(self, rng: random.Random, mode: str, wanted: int) -> list[Example]:
        """Up to three examples of one group: drawn pages where a picture is shown, fresh ones where none is."""
        shown = mode in ("look", "both") or (mode == "evidence" and rng.random() < 0.5)
        number = (
            self._drawn_number(rng) if shown else (_HELD_OUT_FRESH if self.held_out else _FRESH) + rng.randrange(_FRESH)
        )
        group = build_group(self.config.seed, number)
        pages = rng.sample(range(len(group.pages)), min(3, wanted))
        if shown:
            drawn = self.pool[number]
            made = [make_example(rng, group, [page.lines for page in drawn], n, mode, drawn[n].png) for n in pages]
        else:
            lines = _Lines(rng, group.pages)
            made = [make_example(rng, group, lines, n, mode, None) for n in pages]
        return [example for example in made if example is not None]

    def _drawn_number(self, rng: random.Random) -> int:
        first_held_out = self.config.num_groups - NUM_HELD_OUT
        return rng.randrange(first_held_out, self.config.num_groups) if self.held_out else rng.randrange(first_held_out)

    @property
    def pool(self) -> list[list[Page]]:
        if self._pool is None:
            self._pool = read_pool(self.pool_dir, self.config.num_groups)
        return self._pool
