"""How strong each image operator is at a level: every constant of the damage to pictures, in one place.

Source of the five-number rows: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations (ICLR 2019), the functions of ImageNet-C for pictures of 224 pixels. A level in
(0, 1] is severity 1 + 4 x level, interpolated; lengths in pixels are scaled by min(height, width) / 224.
"""

from collections.abc import Sequence

import numpy as np

REFERENCE_SIDE_PX = 224
# Below this scale a blur is shorter than a pixel and would do nothing: icons are damaged as if they were larger.
MIN_LENGTH_SCALE = 0.4

GAUSSIAN_BLUR_SIGMA_PX = (1.0, 2.0, 3.0, 4.0, 6.0)
MOTION_BLUR_RADIUS_PX = (10.0, 15.0, 15.0, 15.0, 20.0)
MOTION_BLUR_SIGMA_PX = (3.0, 5.0, 8.0, 12.0, 15.0)
MOTION_BLUR_MAX_ANGLE_DEG = 45.0
GAUSSIAN_NOISE_STD = (0.08, 0.12, 0.18, 0.26, 0.38)  # of the range 0..1
JPEG_QUALITY = (25.0, 18.0, 15.0, 10.0, 7.0)
DOWNSAMPLE_RATIO = (0.6, 0.5, 0.4, 0.3, 0.25)  # of `pixelate`; a ratio of sides, not a length, so not scaled
COLOUR_SHIFT = (0.1, 0.2, 0.3, 0.4, 0.5)  # of `brightness`, used here as the largest shift of a channel

# Ours: share of the area that is covered or cut away.
AREA_SHARE_LOW = 0.05
AREA_SHARE_HIGH = 0.55

# How much of the picture's content is counted as lost at severity 5 (blur ... jpeg). Judgement: in the order in which
# small text goes in ImageNet-C's severities (blur and pixelation first, colour last). Occlusion and crop lose
# their share of the area.
CONTENT_LOSS_AT_5 = {
    "gaussian_blur": 0.8,
    "motion_blur": 0.8,
    "downsample": 0.7,
    "gaussian_noise": 0.6,
    "jpeg": 0.5,
    "colour_jitter": 0.4,
}


def severity(level: float) -> float:
    """1 to 5, for a level above 0 and up to 1."""
    return 1 + 4 * level


def at_level(constants: Sequence[float], level: float) -> float:
    """The operator's constant at severity(level), linear between its five values."""
    return float(np.interp(severity(level), np.arange(1, 6), constants))


def length_scale(size: tuple[int, int]) -> float:
    """Pixels of this picture (width, height) for one pixel of ImageNet-C's 224."""
    return max(min(size) / REFERENCE_SIDE_PX, MIN_LENGTH_SCALE)


def area_share(level: float) -> float:
    return AREA_SHARE_LOW + (AREA_SHARE_HIGH - AREA_SHARE_LOW) * level
