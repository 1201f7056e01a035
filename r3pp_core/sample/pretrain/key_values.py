"""The first lesson: names and values side by side, then each name once more, to be answered with its value.

Short and dense: every few tokens are an answer. What it teaches, to find a name and pass on what stands beside it, is
what reading a page needs most.
"""

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from r3pp_core.model.prompt import plain_ids
from r3pp_core.sample.attributes import ATTRIBUTES, UNITS
from r3pp_core.sample.world import first_words, nouns, plain_value

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class KeyValues:
    """`is_value` and `is_key` mark the tokens to be predicted, each from the one before it."""

    input_ids: "Tensor"  # [B, T]
    is_value: "Tensor"  # bool [B, T]
    is_key: "Tensor"  # bool [B, T]


def key_values(rng: random.Random, tokenizer: Any, num_rows: int, num_items: int) -> KeyValues:
    """`num_rows` sequences of between half of `num_items` and all of them."""
    import torch

    rows = [_row(rng, tokenizer, rng.randint(max(2, num_items // 2), num_items)) for _ in range(num_rows)]
    length = max(len(ids) for ids, _ in rows)
    input_ids = np.full((num_rows, length), tokenizer.pad_token_id, np.int64)
    marks = np.zeros((num_rows, length), np.int64)
    for number, (ids, own_marks) in enumerate(rows):
        input_ids[number, : len(ids)], marks[number, : len(ids)] = ids, own_marks
    return KeyValues(torch.from_numpy(input_ids), torch.from_numpy(marks == 1), torch.from_numpy(marks == 2))


def _row(rng: random.Random, tokenizer: Any, num_items: int) -> tuple[list[int], list[int]]:
    bar, equals = plain_ids(tokenizer, "|"), plain_ids(tokenizer, "=")
    words = rng.sample(first_words(), num_items)
    items = [
        (plain_ids(tokenizer, f"{word} {rng.choice(nouns())}"), plain_ids(tokenizer, _value(rng))) for word in words
    ]
    ids = [token for key, value in items for token in (*key, *bar, *value, *bar)]
    marks = [0] * len(ids)
    rng.shuffle(items)
    for key, value in items:
        ids += [*key, *equals, *value]
        marks += [2] * len(key) + [0] * len(equals) + [1] * len(value)
    return ids, marks


def _value(rng: random.Random) -> str:
    attribute = rng.choice([one for one in ATTRIBUTES if not one.words])
    number = rng.randrange(attribute.low, attribute.high + 1, attribute.step)
    return UNITS[attribute.unit].shown.format(plain_value(attribute, number))
