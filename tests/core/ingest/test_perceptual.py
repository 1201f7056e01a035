"""Pictures that look the same are near each other, different ones are not, and no near pair is missed."""

import io

import numpy as np
import pytest
from PIL import Image

from r3pp_core.ingest.perceptual import (
    NEAR_BITS,
    NO_PHASH,
    NUM_WORDS,
    distances,
    near_rows,
    perceptual_hash,
    phash_bytes,
)
from r3pp_core.sample.config import SampleConfig
from r3pp_core.sample.drawings import draw
from r3pp_core.sample.layouts import KINDS
from r3pp_core.sample.plan import build_plan


def words_of(image):
    return np.frombuffer(phash_bytes(perceptual_hash(image)), "<u8")


@pytest.fixture(scope="module")
def pictures():
    """Of each kind of the embedded sample ten pictures: screens, charts and infographics of few styles."""
    plan = build_plan(SampleConfig()).pictures
    chosen = [picture for kind in KINDS for picture in [each for each in plan if each.kind == kind][:10]]
    return [Image.open(io.BytesIO(draw(picture).png())).convert("RGB") for picture in chosen]


def as_jpeg(image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer).convert("RGB")


def smaller(image):
    return image.resize((image.width * 2 // 3, image.height * 2 // 3))


@pytest.mark.parametrize("change", [as_jpeg, smaller, lambda image: as_jpeg(smaller(image))])
def test_a_picture_encoded_again_or_rescaled_stays_near(pictures, change):
    moved = [int(distances(words_of(image), words_of(change(image)))) for image in pictures]
    assert max(moved) <= NEAR_BITS
    assert max(moved) > 0, "the change changed nothing"


def test_different_pictures_of_one_style_are_not_near(pictures):
    words = np.array([words_of(image) for image in pictures])
    apart = distances(words[:, None], words[None])[~np.eye(len(words), dtype=bool)]
    assert apart.min() > NEAR_BITS


def test_a_hash_is_64_digits_and_distances_count_its_bits():
    digits = perceptual_hash(Image.linear_gradient("L"))
    assert len(digits) == 64
    one, other = (np.frombuffer(phash_bytes(text), "<u8") for text in ("0" * 63 + "1", "f" + "0" * 63))
    assert distances(one, other) == 5
    assert distances(np.stack([one, other]), one).tolist() == [0, 5]


@pytest.mark.parametrize("text", ["", "abc", "ff" * 8, "not hexadecimal", "ff" * 33])
def test_what_is_no_perceptual_hash_is_none(text):
    assert phash_bytes(text) == NO_PHASH


def brute_force(questions, hashes, others, other_hashes):
    """Every row against every other one."""
    bits = np.unpackbits(np.ascontiguousarray(hashes).view("u1"), axis=1).astype(int)
    other_bits = np.unpackbits(np.ascontiguousarray(other_hashes).view("u1"), axis=1).astype(int)
    apart = np.abs(bits[:, None] - other_bits[None]).sum(axis=-1)
    known = hashes.any(axis=1)[:, None] & other_hashes.any(axis=1)[None]
    return ((questions[:, None] == others[None]) & (apart <= NEAR_BITS) & known).any(axis=1)


def flipped(rng, words, num_bits):
    bits = np.unpackbits(words.view("u1"))
    bits[rng.choice(len(bits), num_bits, replace=False)] ^= 1
    return np.packbits(bits).view("<u8")


@pytest.mark.parametrize("seed", range(5))
def test_near_rows_are_those_of_a_comparison_of_every_pair(seed):
    """Pairs planted on both sides of the limit, some with another question, some without a hash."""
    rng = np.random.default_rng(seed)
    questions, others = rng.integers(0, 12, 400).astype("<u8"), rng.integers(0, 12, 300).astype("<u8")
    hashes, other_hashes = (rng.integers(0, 1 << 64, (n, NUM_WORDS), dtype="<u8") for n in (400, 300))
    for row in range(0, 300, 3):
        other = int(rng.integers(300))
        hashes[row] = flipped(rng, other_hashes[other], row % (NEAR_BITS + 6))
        if row % 2:
            questions[row] = others[other]
    hashes[390:] = 0
    other_hashes[290:] = 0
    wanted = brute_force(questions, hashes, others, other_hashes)
    assert 20 < wanted.sum() < 200, "the random data hold near pairs and others"
    assert np.array_equal(near_rows(questions, hashes, others, other_hashes), wanted)


def test_the_limit_itself_is_near_and_one_bit_more_is_not():
    rng = np.random.default_rng(0)
    question, known = np.zeros(1, "<u8"), rng.integers(0, 1 << 64, (1, NUM_WORDS), dtype="<u8")
    for num_bits in (NEAR_BITS, NEAR_BITS + 1):
        for _ in range(50):
            moved = flipped(rng, known[0], num_bits)[None]
            assert near_rows(question, moved, question, known).tolist() == [num_bits == NEAR_BITS]


def test_one_bit_in_each_of_twelve_bands_is_still_found():
    """The worst that NEAR_BITS differing bits can do to the bands: all but one are hit."""
    question, known = np.zeros(1, "<u8"), np.full((1, NUM_WORDS), 0x1234_5678_9ABC_DEF0, "<u8")
    for untouched in range(NEAR_BITS + 1):
        bands = known.copy().view("<u2")
        bands[0, [band for band in range(NEAR_BITS + 1) if band != untouched]] ^= 1
        assert near_rows(question, bands.view("<u8"), question, known).all()


def test_without_rows_or_others_nothing_is_near():
    none, no_hash = np.zeros(0, "<u8"), np.zeros((0, NUM_WORDS), "<u8")
    one, a_hash = np.ones(1, "<u8"), np.ones((1, NUM_WORDS), "<u8")
    assert near_rows(none, no_hash, one, a_hash).tolist() == []
    assert near_rows(one, a_hash, none, no_hash).tolist() == [False]
