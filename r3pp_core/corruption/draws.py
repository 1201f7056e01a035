"""Random draws that depend on a key only, never on a process, a call order or a global state."""

import hashlib

import numpy as np


def generator(seed: int, row_id: str, visit: int, stream: str) -> np.random.Generator:
    """A generator seeded from the SHA-256 of the key; `stream` names what the draws are for.

    The level is not part of the key: it scales what is drawn, so levels are comparable row by row.
    """
    key = "\x1f".join((str(seed), row_id, str(visit), stream)).encode()
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()[:16], "big"))


def nested_box(
    size: tuple[int, int], width: int, height: int, anchor: tuple[float, float]
) -> tuple[int, int, int, int]:
    """A box (x0, y0, x1, y1) of width x height pixels inside `size`, around `anchor` (relative, in [0, 1)).

    For one anchor, a smaller box always lies inside a larger one, and every box lies inside the picture.
    """
    x0 = int(anchor[0] * (size[0] - width))
    y0 = int(anchor[1] * (size[1] - height))
    return x0, y0, x0 + width, y0 + height
