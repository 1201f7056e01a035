"""Damage to one row: which operators, how strong, what is left.

Every draw depends on (config.seed, row_id, visit) and the name of an operator; the level only scales strength. So
the same operators meet the same row at every level, in every process and after every resume.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.random import Generator
from PIL import Image

from r3pp_core.corruption import image as image_damage
from r3pp_core.corruption.config import CorruptionConfig
from r3pp_core.corruption.coupling import CONFIDENCE_SLOPE, couple
from r3pp_core.corruption.draws import generator
from r3pp_core.corruption.image import IMAGE_OPERATORS, remaining_content
from r3pp_core.corruption.text import TEXT_OPERATORS, damage_text
from r3pp_core.corruption.words import DamagedText, OcrLine
from r3pp_core.errors import UsageError

__all__ = ["Damaged", "OcrLine", "Plan", "corrupt", "corrupt_text", "operators_for"]

Record = dict[str, Any]
UNKNOWN_SIZE = (1000, 1000)  # pixels, for a text of which neither picture, size nor boxes are given


@dataclass(frozen=True)
class Plan:
    """The operators of one visit to one row, each kind in the order of application."""

    image: tuple[str, ...]
    text: tuple[str, ...]


@dataclass(frozen=True)
class Damaged:
    """A damaged row and the truth about it.

    `operators` are plain JSON records of what was done: name, kind (image, coupling, text), strength in [0, 1], and
    the operator's numbers (box, sigma_px, ...). `c_vis` is how much of the picture is left (image.remaining_content)
    and `c_text` the share of the clean words that survive untouched; both are 1 at level 0. `ocr_conf` is None where
    it was, and where no text is left.
    """

    image: Image.Image | None
    pseudo_text: str
    ocr_conf: float | None
    operators: list[Record]
    level: float
    c_vis: float
    c_text: float


def operators_for(row_id: str, visit: int, config: CorruptionConfig) -> Plan:
    """The operators drawn for this visit: for each kind in play 1 to max_operators, all as likely, none twice."""
    rng = generator(config.seed, row_id, visit, "plan")
    image, text = (
        _draw(rng, names, config.max_operators)
        for names in (
            [name for name in IMAGE_OPERATORS if name in config.image_operators],
            [name for name in TEXT_OPERATORS if name in config.text_operators],
        )
    )
    return Plan(image=image if config.damage != "text" else (), text=text if config.damage != "image" else ())


def corrupt(
    image: Image.Image | None,
    lines: Sequence[OcrLine],
    pseudo_text: str,
    ocr_conf: float | None,
    level: float,
    config: CorruptionConfig,
    row_id: str,
    visit: int = 0,
    image_size: tuple[int, int] | None = None,
) -> Damaged:
    """Damage a row at `level` in [0, 1]; at 0 everything comes back as it was, the same objects.

    `lines` are the picture's OCR lines, with boxes in pixels of `image`; without them the coupling is approximate and
    its record says so. With `image` None only the text is damaged, exactly as it would be beside the picture when
    `image_size` (width, height) is given; otherwise the size is
    guessed from the boxes and the coupling's record says so.

    Raises UsageError for a level outside [0, 1], a negative visit, and a picture that is not RGB.
    """
    _check(image, level, visit)
    if level == 0:
        return Damaged(image, pseudo_text, ocr_conf, [], 0.0, 1.0, 1.0)
    plan = operators_for(row_id, visit, config)
    size = image.size if image else image_size
    used_size = size or _size_from(lines)
    text = DamagedText(pseudo_text)
    records: list[Record] = []
    for name in plan.image:
        rng = generator(config.seed, row_id, visit, name)
        records.append(image_damage.measure(name, used_size, level, rng))
        if image is not None:
            image = IMAGE_OPERATORS[name].apply(
                image, records[-1], generator(config.seed, row_id, visit, f"{name} pixels")
            )
    c_vis = remaining_content(records)
    if records:
        coupling = couple(text, lines, used_size, records, generator(config.seed, row_id, visit, "coupling"))
        records.append(coupling if size else {**coupling, "guessed_size": list(used_size)})
    records += [damage_text(name, text, level, generator(config.seed, row_id, visit, name)) for name in plan.text]
    damaged_text = text.render()
    conf = ocr_conf * (1 - CONFIDENCE_SLOPE * text.error_share()) if ocr_conf is not None and damaged_text else None
    return Damaged(image, damaged_text, conf, records, level, c_vis, text.intact_share())


def corrupt_text(
    clean: str, level: float, config: CorruptionConfig, row_id: str, visit: int = 0
) -> tuple[str, list[Record]]:
    """A text such as the question, damaged by text operators alone; its draws are not those of the row's text."""
    _check(None, level, visit)
    if level == 0:
        return clean, []
    alone = config.model_copy(update={"damage": "text"})
    stream = f"{row_id} alone"
    text = DamagedText(clean)
    records = [
        damage_text(name, text, level, generator(config.seed, stream, visit, name))
        for name in operators_for(stream, visit, alone).text
    ]
    return text.render(), records


def _draw(rng: Generator, names: list[str], max_operators: int) -> tuple[str, ...]:
    """1 to max_operators of `names`, in their order."""
    share, ranks = float(rng.random()), rng.random(32)[: len(names)]
    count = 1 + int(share * min(max_operators, len(names)))
    chosen = sorted(sorted(range(len(names)), key=lambda i: ranks[i])[:count])
    return tuple(names[i] for i in chosen)


def _size_from(lines: Sequence[OcrLine]) -> tuple[int, int]:
    if not lines:
        return UNKNOWN_SIZE
    return max(1, int(max(line.box[2] for line in lines))), max(1, int(max(line.box[3] for line in lines)))


def _check(image: Image.Image | None, level: float, visit: int) -> None:
    if not 0 <= level <= 1:
        raise UsageError(f"level {level} is outside 0 to 1; 0 is clean and 1 the strongest damage")
    if visit < 0:
        raise UsageError(f"visit {visit} is negative; visits of a row are counted from 0")
    if image is not None and image.mode != "RGB":
        raise UsageError(f"a picture of mode {image.mode} cannot be damaged; open it with pictures.open_picture (RGB)")
