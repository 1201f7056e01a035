"""Perceptual hashes: pictures that look the same although their bytes differ (encoded again, rescaled).

256 bits (the 16 x 16 lowest frequencies of a DCT against their median, as imagehash's `phash`). Measured on real
screens, charts and pages and on the embedded sample: the same picture as JPEG of quality 40 or at two thirds of its
size moves at most 8 bits, two different pictures differ in at least 16. The common 64 bits cannot do that: different
charts of one style had distance 0.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

HASH_SIZE = 16
NUM_WORDS = HASH_SIZE * HASH_SIZE // 64
NEAR_BITS = 12
NO_PHASH = bytes(HASH_SIZE * HASH_SIZE // 8)

Keys = npt.NDArray[np.uint64]
Words = npt.NDArray[np.uint64]  # [..., 4]: a hash as four 64-bit words


def perceptual_hash(image: "Image.Image") -> str:
    """64 hexadecimal digits."""
    import imagehash

    return str(imagehash.phash(image, hash_size=HASH_SIZE))


def phash_bytes(digits: str) -> bytes:
    """32 bytes; NO_PHASH where the text is no perceptual hash."""
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        return NO_PHASH
    return found if len(found) == len(NO_PHASH) else NO_PHASH


def distances(a: Words, b: Words) -> npt.NDArray[np.int64]:
    """Number of differing bits, for two [..., 4] arrays that broadcast."""
    return np.bitwise_count(a ^ b).sum(axis=-1).astype(np.int64)


def near_rows(questions: Keys, hashes: Words, others: Keys, other_hashes: Words) -> npt.NDArray[np.bool_]:
    """bool [n]: which rows ask the same question (by its key) as one of the others about a nearly equal picture.

    Rows with an all-zero hash have none and are never near. A hash has 16 bands of 16 bits, and NEAR_BITS differing
    bits leave one of any NEAR_BITS + 1 bands untouched, so only rows that share a question and a band are compared.
    """
    near = np.zeros(len(questions), bool)
    rows = np.flatnonzero(np.isin(questions, others) & hashes.any(axis=-1))
    known = other_hashes.any(axis=-1)
    order = np.argsort(others[known], kind="stable")
    others, other_hashes = others[known][order], other_hashes[known][order]
    suspect = np.zeros(len(rows), bool)
    for band in range(NEAR_BITS + 1):
        suspect |= np.isin(_band_key(questions[rows], hashes[rows], band), _band_key(others, other_hashes, band))
    for row in rows[suspect]:
        same = slice(*(int(np.searchsorted(others, questions[row], side)) for side in ("left", "right")))
        near[row] = bool((distances(hashes[row], other_hashes[same]) <= NEAR_BITS).any())
    return near


def _band_key(questions: Keys, hashes: Words, band: int) -> Keys:
    """Equal for the same question and the same 16 bits; by chance for others, which are compared in vain."""
    bits = np.ascontiguousarray(hashes).view("<u2").reshape(-1, NUM_WORDS * 4)[:, band]
    return questions ^ (bits.astype(np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15))
