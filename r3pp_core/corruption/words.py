"""A text whose damage is marked on its clean words and characters.

Every operator marks places of the clean text and a mark is never taken back, so damage at a lower level is part of the
damage at a higher one, whatever order and number of operators.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class OcrLine:
    """One line that the OCR read: `box` is x0, y0, x1, y1 in pixels of the undamaged picture, `conf` in [0, 1]."""

    text: str
    box: tuple[float, float, float, float]
    conf: float


class DamagedText:
    """The clean words of a text, with marks for words that are gone and characters that are replaced.

    `characters` are those of all words, joined; `word_of[i]` is the word of character i, `line_of[w]` the line of
    word w. Nothing marked renders the clean text, byte for byte; otherwise words are joined by one space, lines by \\n.
    """

    def __init__(self, clean: str) -> None:
        self.clean = clean
        lines = [line.split() for line in clean.splitlines()]
        self.words = [word for line in lines for word in line]
        self.line_of = np.repeat(np.arange(len(lines)), [len(line) for line in lines]).astype(np.int64)
        self.word_of = np.repeat(np.arange(len(self.words)), [len(word) for word in self.words]).astype(np.int64)
        self.characters = "".join(self.words)
        self.gone = np.zeros(len(self.words), dtype=bool)
        self._edits: dict[int, str] = {}

    def drop(self, words: NDArray[np.bool_]) -> None:
        """Mark words as gone; `words` is a mask (num_words,)."""
        self.gone |= words

    def edit(self, index: int, replacement: str) -> None:
        """Replace character `index` by `replacement` (empty: delete). The first edit of a character stays."""
        self._edits.setdefault(index, replacement)

    def erase(self, characters: NDArray[np.bool_]) -> None:
        """Delete characters; `characters` is a mask (num_characters,)."""
        for index in np.flatnonzero(characters):
            self._edits[int(index)] = ""

    def touched(self) -> NDArray[np.bool_]:
        """Mask (num_words,) of the words that are not as they were."""
        touched = self.gone.copy()
        if self._edits:
            touched[self.word_of[list(self._edits)]] = True
        return touched

    def intact_share(self) -> float:
        """Share of the clean words that survive untouched; 1 for a text without words."""
        return float(1 - self.touched().mean()) if self.words else 1.0

    def error_share(self) -> float:
        """Share of edited characters among those of the words that are not gone; 0 when none is left."""
        left = ~self.gone[self.word_of]
        edited = sum(bool(left[index]) for index in self._edits)
        return edited / max(1, int(left.sum()))

    def render(self) -> str:
        if not self._edits and not self.gone.any():
            return self.clean
        lines: dict[int, list[str]] = {}
        start = 0
        for word, gone, line in zip(self.words, self.gone, self.line_of, strict=True):
            text = "" if gone else "".join(self._edits.get(start + i, c) for i, c in enumerate(word))
            if text:
                lines.setdefault(int(line), []).append(text)
            start += len(word)
        return "\n".join(" ".join(words) for words in lines.values())
