"""What damage to the picture does to the text that OCR would read from it.

Characters under an occlusion or outside a crop are gone. Blur, down-sampling, noise and JPEG make the reader lose
whole lines and misread characters of the others, the more the smaller the text is beside the damage. A line's box is
shared out evenly among its characters, along its longer side.
"""

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from r3pp_core.corruption.text import LOOK_ALIKES, other_letter
from r3pp_core.corruption.words import DamagedText, OcrLine

Record = dict[str, Any]
Floats = NDArray[np.float64]

# A character is gone when more than this share of its box is covered or cut away.
HIDDEN_SHARE = 0.4
# Without boxes: the height of text as a share of the picture's shorter side (what the sample's screens have).
UNKNOWN_TEXT_HEIGHT = 0.03
# Legibility: with the damage x of an operator (see _damage_of), a line is lost with probability
# 1 / (1 + (LINE[0] / x) ** LINE[1]), and a character of a line that is left is misread likewise with CHARACTER.
# Least-squares fit to RapidOCR (PP-OCRv6 small) on 13 drawn pages, two levels of each operator, 286 lines of
# 15 to 105 pixels; a line counts as lost above 70 % character error.
LEGIBILITY: dict[str, dict[str, tuple[float, float]]] = {
    "gaussian_blur": {"line": (0.102, 9.6), "character": (0.364, 1.9)},
    "motion_blur": {"line": (0.329, 6.9), "character": (0.865, 1.5)},
    "downsample": {"line": (0.179, 8.6), "character": (0.187, 6.9)},
    "gaussian_noise": {"line": (0.391, 11.0), "character": (0.545, 6.9)},
    "jpeg": {"line": (0.0853, 1.5), "character": (0.021, 2.6)},
}
# ocr_conf falls by this factor of the share of wrong characters in what is left of the text (same readings).
CONFIDENCE_SLOPE = 0.7


def couple(
    text: DamagedText, lines: Sequence[OcrLine], size: tuple[int, int], records: list[Record], rng: Generator
) -> Record:
    """Mark on `text` what the image operators in `records` take from it; returns the record of the coupling.

    `size` is (width, height) of the undamaged picture. Words that no OCR line explains have no box: they lose
    the share of the area instead, and the record says `approximate` with their number.
    """
    boxes = character_boxes(text, lines)
    unknown = np.isnan(boxes[:, 0])
    _hide(text, boxes, unknown, size, records, rng)
    _misread(text, boxes, size, records, rng)
    num_unknown = len(np.unique(text.word_of[unknown]))
    return {
        "name": "coupling",
        "kind": "coupling",
        "strength": 1 - text.intact_share(),
        "approximate": num_unknown > 0,
        "num_words_without_box": num_unknown,
    }


def character_boxes(text: DamagedText, lines: Sequence[OcrLine]) -> Floats:
    """(num_characters, 4) boxes x0, y0, x1, y1 of the text's characters; NaN for words not found among the lines.

    The words of the lines and of the text are aligned in order, so either may hold words that the other lacks.
    """
    known = [found for line in lines for found in _word_boxes(line)]
    boxes = np.full((len(text.characters), 4), np.nan)
    starts = np.concatenate(([0], np.cumsum([len(word) for word in text.words]))).astype(int)
    for in_text, in_lines, length in _aligned(text.words, [word for word, _ in known]):
        for offset in range(length):
            first = starts[in_text + offset]
            boxes[first : starts[in_text + offset + 1]] = known[in_lines + offset][1]
    return boxes


def _aligned(words: list[str], known: list[str]) -> Iterable[tuple[int, int, int]]:
    """Runs of equal words: start in `words`, start in `known`, length."""
    if words == known:
        return [(0, 0, len(words))]
    return SequenceMatcher(None, words, known, autojunk=False).get_matching_blocks()


def _word_boxes(line: OcrLine) -> list[tuple[str, Floats]]:
    """Each word of a line with the boxes (len(word), 4) of its characters."""
    x0, y0, x1, y1 = line.box
    upright = len(line.text) > 1 and y1 - y0 > 2 * (x1 - x0)
    low, high = (y0, y1) if upright else (x0, x1)
    edges = low + (high - low) * np.arange(len(line.text) + 1) / max(1, len(line.text))
    found, start = [], 0
    for word in line.text.split():
        start = line.text.index(word, start)
        box = np.tile(np.array([x0, y0, x1, y1], dtype=np.float64), (len(word), 1))
        first, second = (1, 3) if upright else (0, 2)
        box[:, first] = edges[start : start + len(word)]
        box[:, second] = edges[start + 1 : start + len(word) + 1]
        found.append((word, box))
        start += len(word)
    return found


def _hide(
    text: DamagedText,
    boxes: Floats,
    unknown: NDArray[np.bool_],
    size: tuple[int, int],
    records: list[Record],
    rng: Generator,
) -> None:
    draws = rng.random(len(text.words))
    without_box = np.zeros(len(text.words), dtype=bool)
    without_box[text.word_of[unknown]] = True
    for record in records:
        if record["name"] == "occlusion":
            hidden = _covered_share(boxes, record["box"])
        elif record["name"] == "crop":
            hidden = 1 - _covered_share(boxes, record["kept"])
        else:
            continue
        text.erase(hidden > HIDDEN_SHARE)
        text.drop(without_box & (draws < record["strength"]))


def _covered_share(boxes: Floats, cover: Sequence[float]) -> Floats:
    """(num_characters,) share of each box inside `cover`; NaN where the box is unknown."""
    width = np.minimum(boxes[:, 2], cover[2]) - np.maximum(boxes[:, 0], cover[0])
    height = np.minimum(boxes[:, 3], cover[3]) - np.maximum(boxes[:, 1], cover[1])
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.clip(width, 0, None) * np.clip(height, 0, None) / np.maximum(area, 1e-6)


def _misread(text: DamagedText, boxes: Floats, size: tuple[int, int], records: list[Record], rng: Generator) -> None:
    """Lines go by a draw each, characters by theirs; what a misread character becomes is drawn as well."""
    line_draws = rng.random(int(text.line_of.max()) + 1 if text.words else 0)
    character_draws, kinds, letters = rng.random((3, len(text.characters)))
    line_loss, character_error = error_rates(text_heights(text, boxes, size), records)
    line_of_character = text.line_of[text.word_of]
    lost = np.zeros(len(text.words), dtype=bool)
    lost[text.word_of[line_draws[line_of_character] < line_loss]] = True
    text.drop(lost)
    for index in np.flatnonzero(character_draws < character_error):
        character = text.characters[index]
        stranger = LOOK_ALIKES.get(character) or other_letter(character, float(letters[index]))
        text.edit(int(index), stranger if kinds[index] < 0.7 else "")


def text_heights(text: DamagedText, boxes: Floats, size: tuple[int, int]) -> Floats:
    """(num_characters,) height in pixels of the line that each character stands in (the width, if it runs upwards)."""
    across = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    return np.maximum(np.where(np.isnan(across), UNKNOWN_TEXT_HEIGHT * min(size), across), 1.0)


def error_rates(heights_px: Floats, records: list[Record]) -> tuple[Floats, Floats]:
    """Chance that the line is lost and that the character is misread, both (num_characters,); 0 without operators."""
    kept, right = np.ones_like(heights_px), np.ones_like(heights_px)
    for record in records:
        if record["name"] in LEGIBILITY:
            damage = _damage_of(record, heights_px)
            kept *= 1 - _rise(damage, *LEGIBILITY[record["name"]]["line"])
            right *= 1 - _rise(damage, *LEGIBILITY[record["name"]]["character"])
    return 1 - kept, 1 - right


def _rise(damage: Floats, half: float, steepness: float) -> Floats:
    """0 at no damage, a half at `half`, towards 1 beyond."""
    return 1 / (1 + (half / damage) ** steepness)


def _damage_of(record: Record, heights_px: Floats) -> Floats:
    """The operator's damage relative to the text: lengths in text heights, noise by itself."""
    match record["name"]:
        case "gaussian_blur" | "motion_blur":
            return record["sigma_px"] / heights_px
        case "downsample":
            return 1 / (record["ratio"] * heights_px)
        case "gaussian_noise":
            return record["std"] * np.sqrt(20 / heights_px)
        case _:
            return 1 / (record["quality"] * heights_px)
