"""Each image operator by itself."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from r3pp_core.corruption import severity
from r3pp_core.corruption.draws import generator, nested_box
from r3pp_core.corruption.image import IMAGE_OPERATORS, damage_image, measure, remaining_content
from r3pp_core.corruption.motion import motion_blurred
from r3pp_core.errors import UsageError

LEVELS = (0.01, 0.2, 0.4, 0.6, 0.8, 1.0)
IN_PLACE = [name for name in IMAGE_OPERATORS if name != "crop"]


def damaged(name, image, level, key="row"):
    return damage_image(name, image, level, generator(0, key, 0, name))


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


@pytest.mark.parametrize("name", IN_PLACE)
def test_pixels_differ_more_at_a_higher_level_with_the_same_draws(name, page):
    for key in ("a", "b", "c"):
        found = [difference(page.image, damaged(name, page.image, level, key)[0]) for level in LEVELS]
        assert found[0] > 0
        assert found == sorted(found)
        assert found[-1] > found[0]


def test_a_crop_leaves_less_at_a_higher_level_and_always_inside_what_a_lower_level_left(page):
    kept = [damaged("crop", page.image, level)[1]["kept"] for level in LEVELS]
    for outer, inner in pairwise(kept):
        assert inner != outer
        assert outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def test_a_crop_shows_the_kept_part_of_the_picture(page):
    image, record = damaged("crop", page.image, 0.5)
    assert image.tobytes() == page.image.crop(record["kept"]).tobytes()


def test_an_occlusion_grows_around_its_place_and_covers_its_share(page):
    for key in "abcdefgh":
        boxes = [damaged("occlusion", page.image, level, key)[1]["box"] for level in LEVELS]
        for inner, outer in pairwise(boxes):
            assert outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]
        x0, y0, x1, y1 = boxes[-1]
        share = (x1 - x0) * (y1 - y0) / (page.image.width * page.image.height)
        assert share == pytest.approx(severity.AREA_SHARE_HIGH, abs=0.02)


def test_an_occlusion_leaves_everything_outside_its_box_alone(page):
    image, record = damaged("occlusion", page.image, 0.5)
    before, after = np.array(page.image), np.array(image)
    x0, y0, x1, y1 = record["box"]
    before[y0:y1, x0:x1] = after[y0:y1, x0:x1] = 0
    assert (before == after).all()


@pytest.mark.parametrize("name", ["occlusion", "colour_jitter", "gaussian_noise"])
@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (128, 128, 128)])
def test_operators_that_add_something_change_even_a_blank_picture(name, colour):
    blank = Image.new("RGB", (40, 30), colour)
    for key in "abcdefghij":
        assert damaged(name, blank, 0.01, key)[0].tobytes() != blank.tobytes()


@pytest.mark.parametrize("name", IMAGE_OPERATORS)
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (3, 5), (1, 40), (224, 1)])
def test_tiny_pictures_are_damaged_without_an_error(name, size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    for level in LEVELS:
        image, _ = damaged(name, Image.fromarray(pixels), level)
        assert image.mode == "RGB"
        assert image.size == size or name == "crop"


@pytest.mark.parametrize("name", IMAGE_OPERATORS)
def test_the_input_picture_is_never_written_to(name, page):
    before = page.image.tobytes()
    damaged(name, page.image, 1.0)
    assert page.image.tobytes() == before


@pytest.mark.parametrize(
    ("name", "number", "at_severity_3"),
    [
        ("gaussian_blur", "sigma_px", 3.0),
        ("gaussian_noise", "std", 0.18),
        ("jpeg", "quality", 15),
        ("downsample", "ratio", 0.4),
    ],
)
def test_half_a_level_is_severity_3_of_imagenet_c_at_its_own_size(name, number, at_severity_3):
    assert measure(name, (224, 300), 0.5, generator(0, "r", 0, name))[number] == pytest.approx(at_severity_3)


def test_lengths_are_scaled_with_the_shorter_side():
    small, large = (measure("gaussian_blur", size, 0.5, generator(0, "r", 0, "x")) for size in ((224, 500), (900, 448)))
    assert large["sigma_px"] == pytest.approx(2 * small["sigma_px"])


def test_gaussian_blur_has_the_variance_it_claims_at_every_reduction():
    for level, side in ((0.25, 224), (0.5, 448), (1.0, 448)):
        point = Image.new("RGB", (side, side))
        point.paste((255, 255, 255), (side // 2 - 8, side // 2 - 8, side // 2 + 8, side // 2 + 8))
        image, record = damaged("gaussian_blur", point, level)
        profile = np.asarray(image, dtype=float)[:, :, 0].sum(axis=0)
        x = np.arange(side)
        mean = (profile * x).sum() / profile.sum()
        variance = (profile * (x - mean) ** 2).sum() / profile.sum() - 16**2 / 12
        assert variance**0.5 == pytest.approx(record["sigma_px"], rel=0.1)


@pytest.mark.parametrize("angle", [0.0, 30.0, -45.0])
def test_motion_blur_smears_a_dot_along_its_direction_only(angle):
    dot = Image.new("RGB", (161, 161))
    dot.paste((255, 255, 255), (79, 79, 82, 82))
    light = np.asarray(motion_blurred(dot, 20, 10, angle), dtype=float)[:, :, 0]
    y, x = np.nonzero(light > 2)
    slope = np.tan(np.radians(abs(angle))) * (1 if angle >= 0 else -1)
    assert x.max() - x.min() > 15
    assert np.abs((y - 80) - slope * (x - 80)).max() <= 5


def test_a_long_motion_blur_made_of_pieces_stays_near_the_exact_sum(page):
    pixels = np.asarray(page.image, dtype=float)
    weights = np.exp(-(np.arange(31) ** 2) / (2 * 10.0**2))
    columns = np.minimum(np.arange(page.image.width)[:, None] + np.arange(31), page.image.width - 1)
    exact = np.einsum("hwtc,t->hwc", pixels[:, columns], weights / weights.sum())
    assert np.abs(np.asarray(motion_blurred(page.image, 30, 10, 0.0)) - exact).mean() < 1.0


def test_noise_has_the_standard_deviation_it_claims():
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    image, record = damaged("gaussian_noise", grey, 0.01)
    assert np.asarray(image, dtype=float).std() == pytest.approx(record["std"] * 255, rel=0.02)


def test_less_of_the_picture_is_left_at_a_higher_level_for_every_operator():
    for name in IMAGE_OPERATORS:
        left = [remaining_content([measure(name, (300, 400), v, generator(0, "r", 0, name))]) for v in LEVELS]
        assert left == sorted(left, reverse=True)
        assert 0 < left[-1] < left[0] < 1


def test_nested_boxes_lie_inside_the_picture_and_each_other():
    for u, v in np.random.default_rng(0).random((50, 2)):
        boxes = [nested_box((30, 20), width, max(1, width // 2), (u, v)) for width in range(1, 31)]
        assert all(0 <= b[0] < b[2] <= 30 and 0 <= b[1] < b[3] <= 20 for b in boxes)
        for a, b in pairwise(boxes):
            assert b[0] <= a[0] and b[1] <= a[1] and a[2] <= b[2] and a[3] <= b[3]


def test_an_unknown_operator_is_refused_by_name():
    with pytest.raises(UsageError, match="unknown image operator 'blurr'"):
        measure("blurr", (10, 10), 0.5, generator(0, "r", 0, "x"))
