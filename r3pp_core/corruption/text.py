"""The text operators: each marks damage on a DamagedText and returns its record.

All draws are made for every place of the clean text whatever the level; a place is damaged when its draw is
below the rate, so the damage at one level contains that of every lower level. The smallest draw always counts:
at least one place is damaged.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from r3pp_core.corruption.words import DamagedText
from r3pp_core.errors import UsageError

Record = dict[str, Any]

# Share of words or characters damaged just above level 0 and at level 1. Judgement: at level 1 little can still be
# read, and the lower end touches something in a line of text.
TRUNCATION = (0.05, 0.75)
CHAR_NOISE = (0.02, 0.30)
TOKEN_DROP = (0.05, 0.65)
OCR_CONFUSION = (0.05, 0.80)  # of the characters that have a look-alike

_MUTUAL = ("O0", "l1", "S5", "B8", "Z2", "g9", "b6", "ce", "uv", "nh", ",.", "ao", "tf", "EF", "A4")
_ONE_WAY = ("Il", "o0", "il", "s5", "DO", "QO", "G6", "qg", "71", "38", ":;", "-~", "$S")
LOOK_ALIKES = {
    **{pair[0]: pair[1] for pair in (*_MUTUAL, *_ONE_WAY)},
    **{pair[1]: pair[0] for pair in _MUTUAL},
    **{"m": "rn", "w": "vv", "d": "cl"},
}
NOISE_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def damage_text(name: str, text: DamagedText, level: float, rng: Generator) -> Record:
    """Mark operator `name` at `level` in (0, 1] on `text`. Raises UsageError for an unknown name."""
    if name not in TEXT_OPERATORS:
        raise UsageError(f"unknown text operator {name!r}; choose from {', '.join(TEXT_OPERATORS)}")
    low, high = _RATES[name]
    rate = low + (high - low) * level
    if text.words:
        TEXT_OPERATORS[name](text, rate, rng)
    return {"name": name, "kind": "text", "level": level, "strength": rate}


def below(draws: NDArray[np.float64], rate: float) -> NDArray[np.bool_]:
    """Which draws are below the rate, and the smallest in any case."""
    return draws <= max(rate, float(draws.min()))


def truncate(text: DamagedText, rate: float, rng: Generator) -> None:
    """The last words go; of a single word, its last characters."""
    if len(text.words) == 1:
        text.erase(np.arange(len(text.characters)) >= int(len(text.characters) * (1 - rate)))
    else:
        text.drop(np.arange(len(text.words)) >= int(len(text.words) * (1 - rate)))


def drop_tokens(text: DamagedText, rate: float, rng: Generator) -> None:
    text.drop(below(rng.random(len(text.words)), rate))


def add_char_noise(text: DamagedText, rate: float, rng: Generator) -> None:
    """A character is replaced, deleted or doubled by a stranger, each as likely."""
    draws = rng.random((3, len(text.characters)))
    for index in np.flatnonzero(below(draws[0], rate)):
        stranger = other_letter(text.characters[index], float(draws[1, index]))
        kind = int(draws[2, index] * 3)
        text.edit(int(index), (stranger, "", text.characters[index] + stranger)[kind])


def confuse(text: DamagedText, rate: float, rng: Generator) -> None:
    """Characters turn into look-alikes; a text without any loses one character to a stranger."""
    draws = rng.random((2, len(text.characters)))
    has_twin = np.array([character in LOOK_ALIKES for character in text.characters])
    if not has_twin.any():
        first = int(draws[0].argmin())
        text.edit(first, other_letter(text.characters[first], float(draws[1, first])))
        return
    for index in np.flatnonzero(below(np.where(has_twin, draws[0], 2.0), rate)):
        text.edit(int(index), LOOK_ALIKES[text.characters[index]])


def other_letter(character: str, draw: float) -> str:
    """A letter or digit that is not `character`, chosen by `draw` in [0, 1)."""
    choices = NOISE_LETTERS.replace(character.lower(), "")
    return choices[int(draw * len(choices))]


TEXT_OPERATORS: dict[str, Callable[[DamagedText, float, Generator], None]] = {
    "truncation": truncate,
    "token_drop": drop_tokens,
    "ocr_confusion": confuse,
    "char_noise": add_char_noise,
}
_RATES = {"truncation": TRUNCATION, "token_drop": TOKEN_DROP, "ocr_confusion": OCR_CONFUSION, "char_noise": CHAR_NOISE}
