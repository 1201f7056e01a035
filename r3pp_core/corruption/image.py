"""The image operators. Each is measured first (numbers only, from the size) and then applied to pixels.

Measuring alone is what the coupled text needs, so text can be damaged without decoding its picture.
A record holds `name`, `strength` in (0, 1] and the operator's numbers in their units; it is plain JSON.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter

from r3pp_core.corruption import severity as sev
from r3pp_core.corruption.draws import nested_box
from r3pp_core.corruption.motion import motion_blurred
from r3pp_core.errors import UsageError

Size = tuple[int, int]  # width, height in pixels
Record = dict[str, Any]


@dataclass(frozen=True)
class ImageOperator:
    """`measure(size, level, rng)` gives the numbers at a level in (0, 1], `apply(image, numbers, rng)` the picture."""

    measure: Callable[[Size, float, Generator], Record]
    apply: Callable[[Image.Image, Record, Generator], Image.Image]


def measure(name: str, size: Size, level: float, rng: Generator) -> Record:
    """The record of `name` at `level` in (0, 1] for a picture of `size`. Raises UsageError for an unknown name."""
    if name not in IMAGE_OPERATORS:
        raise UsageError(f"unknown image operator {name!r}; choose from {', '.join(IMAGE_OPERATORS)}")
    return {"name": name, "kind": "image", "level": level, **IMAGE_OPERATORS[name].measure(size, level, rng)}


def damage_image(name: str, image: Image.Image, level: float, rng: Generator) -> tuple[Image.Image, Record]:
    """One operator on one RGB picture: the damaged picture and its record."""
    record = measure(name, image.size, level, rng)
    return IMAGE_OPERATORS[name].apply(image, record, rng), record


def _graded(level: float, **numbers: Any) -> Record:
    severity = sev.severity(level)
    return {"strength": severity / 5, "severity": severity, **numbers}


def _measure_gaussian_blur(size: Size, level: float, rng: Generator) -> Record:
    return _graded(level, sigma_px=sev.at_level(sev.GAUSSIAN_BLUR_SIGMA_PX, level) * sev.length_scale(size))


def _apply_gaussian_blur(image: Image.Image, record: Record, rng: Generator) -> Image.Image:
    """A wide blur is made at a reduced size, whose own smoothing (box, then triangle) is taken off sigma."""
    sigma = record["sigma_px"]
    factor = max(1, min(int(sigma / 2.5), *(side // 4 for side in image.size)))
    if factor == 1:
        return image.filter(ImageFilter.GaussianBlur(sigma))
    rest = (max(0.0, sigma**2 - factor**2 / 12 - factor**2 / 6)) ** 0.5 / factor
    small = image.reduce(factor).filter(ImageFilter.GaussianBlur(rest))
    width, height = image.size
    return small.resize(image.size, Image.Resampling.BILINEAR, box=(0, 0, width / factor, height / factor))


def _measure_motion_blur(size: Size, level: float, rng: Generator) -> Record:
    scale = sev.length_scale(size)
    return _graded(
        level,
        sigma_px=sev.at_level(sev.MOTION_BLUR_SIGMA_PX, level) * scale,
        radius_px=sev.at_level(sev.MOTION_BLUR_RADIUS_PX, level) * scale,
        angle_deg=float(rng.uniform(-1, 1)) * sev.MOTION_BLUR_MAX_ANGLE_DEG,
    )


def _apply_motion_blur(image: Image.Image, record: Record, rng: Generator) -> Image.Image:
    return motion_blurred(image, record["radius_px"], record["sigma_px"], record["angle_deg"])


def _measure_gaussian_noise(size: Size, level: float, rng: Generator) -> Record:
    return _graded(level, std=sev.at_level(sev.GAUSSIAN_NOISE_STD, level))


def _apply_gaussian_noise(image: Image.Image, record: Record, rng: Generator) -> Image.Image:
    pixels = np.asarray(image)
    noise = rng.standard_normal(pixels.shape, dtype=np.float32)
    noise *= record["std"] * 255
    noise += pixels
    np.clip(noise, 0, 255, out=noise)
    return Image.fromarray(noise.astype(np.uint8))


def _measure_jpeg(size: Size, level: float, rng: Generator) -> Record:
    return _graded(level, quality=round(sev.at_level(sev.JPEG_QUALITY, level)))


def _apply_jpeg(image: Image.Image, record: Record, rng: Generator) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=record["quality"])
    return Image.open(stream).convert("RGB")


def _measure_downsample(size: Size, level: float, rng: Generator) -> Record:
    return _graded(level, ratio=sev.at_level(sev.DOWNSAMPLE_RATIO, level))


def _apply_downsample(image: Image.Image, record: Record, rng: Generator) -> Image.Image:
    width, height = (max(1, int(side * record["ratio"])) for side in image.size)
    return image.resize((width, height), Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX)


def _measure_colour_jitter(size: Size, level: float, rng: Generator) -> Record:
    """Ours: a shift of each channel (the largest is ImageNet-C's brightness) and less contrast around mid grey."""
    direction = rng.uniform(-1, 1, 3)
    direction /= np.abs(direction).max()
    shift = sev.at_level(sev.COLOUR_SHIFT, level)
    return _graded(level, shift=[float(d * shift) for d in direction], contrast=float(1 - shift * rng.random()))


def _apply_colour_jitter(image: Image.Image, record: Record, rng: Generator) -> Image.Image:
    """A shift that clipping would swallow whole (white made whiter) is turned round."""
    tables = [_channel_table(shift, record["contrast"]) for shift in record["shift"]]
    if all(
        table[low] == low and table[high] == high for table, (low, high) in zip(tables, _extrema(image), strict=True)
    ):
        tables = [_channel_table(-shift, record["contrast"]) for shift in record["shift"]]
    return image.point([int(value) for table in tables for value in table])


def _channel_table(shift: float, contrast: float) -> np.ndarray:
    values = (np.arange(256) - 127.5) * contrast + 127.5 + shift * 255
    return np.clip(np.rint(values), 0, 255)


def _extrema(image: Image.Image) -> list[tuple[int, int]]:
    return [(int(low), int(high)) for low, high in image.getextrema()]  # type: ignore[misc]


def _measure_occlusion(size: Size, level: float, rng: Generator) -> Record:
    """A filled box that grows around a fixed point; its aspect is the picture's, times 0.5 to 2."""
    anchor = (float(rng.random()), float(rng.random()))
    stretch = float(2 ** rng.uniform(-1, 1)) ** 0.5
    fill = [int(value) for value in rng.integers(0, 256, 3)]
    share = sev.area_share(level)
    relative_width = min(1.0, max(share, share**0.5 * stretch))
    width = int(np.ceil(size[0] * relative_width))
    height = int(np.ceil(size[1] * min(1.0, share / relative_width)))
    box = nested_box(size, width, height, anchor)
    return {"strength": share, "box": list(box), "fill": fill}


def _apply_occlusion(image: Image.Image, record: Record, rng: Generator) -> Image.Image:
    """The fill is inverted where the covered part has just that colour already."""
    box, fill = tuple(record["box"]), tuple(record["fill"])
    if all(low == high == value for (low, high), value in zip(_extrema(image.crop(box)), fill, strict=True)):
        fill = tuple(255 - value for value in fill)
    covered = image.copy()
    covered.paste(fill, box)
    return covered


def _measure_crop(size: Size, level: float, rng: Generator) -> Record:
    """`kept` is the part that stays, with the picture's aspect; the output is as small as that part."""
    anchor = (float(rng.random()), float(rng.random()))
    share = sev.area_share(level)
    width, height = (max(1, int(side * (1 - share) ** 0.5)) for side in size)
    return {"strength": share, "kept": list(nested_box(size, width, height, anchor))}


def _apply_crop(image: Image.Image, record: Record, rng: Generator) -> Image.Image:
    return image.crop(tuple(record["kept"]))


# In the order in which they are applied: boxes are pixels of the undamaged picture, so the crop is last.
IMAGE_OPERATORS: dict[str, ImageOperator] = {
    "occlusion": ImageOperator(_measure_occlusion, _apply_occlusion),
    "colour_jitter": ImageOperator(_measure_colour_jitter, _apply_colour_jitter),
    "downsample": ImageOperator(_measure_downsample, _apply_downsample),
    "gaussian_blur": ImageOperator(_measure_gaussian_blur, _apply_gaussian_blur),
    "motion_blur": ImageOperator(_measure_motion_blur, _apply_motion_blur),
    "gaussian_noise": ImageOperator(_measure_gaussian_noise, _apply_gaussian_noise),
    "jpeg": ImageOperator(_measure_jpeg, _apply_jpeg),
    "crop": ImageOperator(_measure_crop, _apply_crop),
}


def remaining_content(records: list[Record]) -> float:
    """c_vis: the product over operators of 1 - loss, where the loss of occlusion and crop is their share of the
    area and that of the others CONTENT_LOSS_AT_5 x strength. 1 without operators; falls with the level.
    """
    left = 1.0
    for record in records:
        left *= 1 - record["strength"] * sev.CONTENT_LOSS_AT_5.get(record["name"], 1.0)
    return left
