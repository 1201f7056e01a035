"""Motion blur along a line: ImageMagick's one-sided Gaussian, with the work bounded for long blurs."""

import math

import numpy as np
from PIL import Image

MAX_TAPS = 16


def motion_blurred(image: Image.Image, radius_px: float, sigma_px: float, angle_deg: float) -> Image.Image:
    """Average of the picture with its copies moved by 0 ... 2 x radius pixels along `angle_deg`, in [-45, 45].

    Weights are exp(-i^2 / (2 sigma^2)), cut at 3 sigma; the edge is repeated. A kernel of more than MAX_TAPS
    taps is made piecewise constant: the picture is first averaged over a piece of 2^n pixels by n doublings.
    """
    pixels = np.asarray(image)
    if angle_deg < 0:
        pixels = pixels[::-1]
    direction = (math.sin(math.radians(abs(angle_deg))), math.cos(math.radians(angle_deg)))  # rows, columns
    weights = _weights(radius_px, sigma_px)
    piece = 1
    while len(weights) > MAX_TAPS * piece:
        piece *= 2
    blurred = _average(_padded(pixels, len(weights), piece, direction), pixels.shape, weights, piece, direction)
    if angle_deg < 0:
        blurred = blurred[::-1]
    return Image.fromarray(np.ascontiguousarray(blurred))


def _weights(radius_px: float, sigma_px: float) -> np.ndarray:
    length = max(2, math.ceil(min(2 * radius_px, 3 * sigma_px)) + 1)
    weights = np.exp(-(np.arange(length) ** 2) / (2 * sigma_px**2))
    return weights / weights.sum()


def _padded(pixels: np.ndarray, num_taps: int, piece: int, direction: tuple[float, float]) -> np.ndarray:
    slack = num_taps + 2 * piece
    rows, columns = (math.ceil(slack * d) + 2 + piece.bit_length() for d in direction)
    return np.pad(pixels, ((0, rows), (0, columns), (0, 0)), mode="edge").astype(np.float32)


def _average(
    padded: np.ndarray, shape: tuple[int, ...], weights: np.ndarray, piece: int, direction: tuple[float, float]
) -> np.ndarray:
    """(H, W, 3) uint8 from the padded float32 picture."""
    step = 1
    while step < piece:
        row, column = (round(step * d) for d in direction)
        padded = padded[: padded.shape[0] - row, : padded.shape[1] - column] + padded[row:, column:]
        padded *= 0.5
        step *= 2
    total = np.full(shape, 0.5, dtype=np.float32)  # 0.5: truncation to uint8 then rounds
    scaled = np.empty(shape, dtype=np.float32)
    for start in range(0, len(weights), piece):
        row, column = (round(start * d) for d in direction)
        part = padded[row : row + shape[0], column : column + shape[1]]
        np.multiply(part, np.float32(weights[start : start + piece].sum()), out=scaled)
        total += scaled
    return np.clip(total, 0, 255).astype(np.uint8)
