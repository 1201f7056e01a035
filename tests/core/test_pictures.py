"""Every picture comes out upright, opaque and RGB, or is refused with a reason."""

import io

import numpy as np
import pytest
from PIL import Image

from r3pp_core import pictures
from r3pp_core.pictures import PictureError, fit, open_picture, picture_inside

WHITE, RED, BLUE = (255, 255, 255), (255, 0, 0), (0, 0, 255)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel(data, at=(0, 0)):
    image = open_picture(data)
    assert image.mode == "RGB"
    return image.getpixel(at)


def reason(call):
    with pytest.raises(PictureError) as caught:
        call()
    return caught.value.reason


@pytest.mark.parametrize(
    "orientation, corner", [(1, (0, 0)), (2, (5, 0)), (3, (5, 3)), (4, (0, 3)), (6, (3, 0)), (8, (0, 5))]
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_exif_orientation_is_applied(kind, orientation, corner):
    image = Image.new("RGB", (6, 4), "white")
    image.putpixel((0, 0), (0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_picture(
        encoded(image, kind, exif=exif, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}))
    )
    assert opened.size == ((6, 4) if orientation < 5 else (4, 6))
    dark = np.asarray(opened.convert("L")) < 60
    assert list(zip(*np.nonzero(dark.T), strict=True)) == [corner]


def palette(colour):
    image = Image.new("P", (4, 4), 0)
    image.putpalette(list(colour) * 256)
    return image


@pytest.mark.parametrize(
    "image, options",
    [
        (Image.new("RGBA", (4, 4), (9, 9, 9, 0)), {}),
        (Image.new("LA", (4, 4), (9, 0)), {}),
        (palette(RED), {"transparency": 0}),
        (palette(RED), {"transparency": b"\x00\xff"}),
        (Image.new("L", (4, 4), 7), {"transparency": 7}),
        (Image.new("1", (4, 4), 0), {"transparency": 0}),
        (Image.new("RGB", (4, 4), RED), {"transparency": RED}),
    ],
    ids=["RGBA", "LA", "P", "P with alphas", "L", "1", "RGB"],
)
def test_what_is_transparent_becomes_white(image, options):
    assert pixel(encoded(image, **options)) == WHITE


def test_half_transparent_black_on_white_is_grey():
    assert pixel(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128)))) == (127, 127, 127)


def test_opaque_colours_are_kept():
    assert pixel(encoded(Image.new("RGBA", (2, 2), (*RED, 255)))) == RED
    assert pixel(encoded(palette(BLUE))) == BLUE


@pytest.mark.parametrize(
    "kind, dtype", [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2")], ids=["png", "tiff", "big-endian tiff"]
)
def test_16_bits_are_scaled_to_8(kind, dtype):
    values = np.array([[0, 0x4000, 0x8000, 0xFFFF]], dtype)
    opened = open_picture(encoded(Image.fromarray(values), kind))
    assert list(opened.convert("L").tobytes()) == [0, 64, 128, 255]


def test_cmyk_becomes_its_rgb_colour():
    red, green, blue = pixel(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    assert red > 240
    assert max(green, blue) < 15


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    assert pixel(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == RED


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"])
def test_a_truncated_picture_is_undecodable(kind):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    for length in (len(data) // 2, 20):
        assert reason(lambda: open_picture(data[:length])) == "picture_undecodable"  # noqa: B023


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"<html>not found</html>", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_undecodable(data):
    assert reason(lambda: open_picture(data)) == "picture_undecodable"


def test_damaged_bytes_give_a_picture_or_a_reason_and_never_another_error():
    draw = np.random.default_rng(1)
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(draw.integers(0, 255, (20, 30, 3), dtype=np.uint8))
    num_refused = 0
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "PPM"):
        whole = encoded(image, kind, **({"exif": exif} if kind in ("PNG", "JPEG", "WEBP") else {}))
        for _ in range(60):
            data = bytearray(whole)
            for at in draw.integers(0, min(len(data), 150), 4):
                data[at] = draw.integers(0, 256)
            try:
                open_picture(bytes(data), 10_000_000)
            except PictureError:
                num_refused += 1
    assert num_refused > 50


def test_a_picture_above_the_limit_is_refused_by_its_header_alone():
    header = encoded(Image.new("RGB", (40, 30)))[:45]  # the pixels are not even there
    assert reason(lambda: open_picture(header, max_source_pixels=1199)) == "picture_too_large"
    assert open_picture(encoded(Image.new("RGB", (40, 30))), max_source_pixels=1200).size == (40, 30)


def test_a_decompression_bomb_is_refused_whatever_the_limit():
    bomb = bytearray(encoded(Image.new("1", (8, 8))))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    assert reason(lambda: open_picture(bytes(bomb), max_source_pixels=10**12)) == "picture_too_large"


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "images/../../secret.png", "../raw2/x.png"])
def test_a_path_that_leads_out_of_the_root_is_refused(tmp_path, path):
    root = tmp_path / "raw"
    (tmp_path / "raw2").mkdir()
    with pytest.raises(PictureError, match="leads out of"):
        picture_inside(root, path)


def test_a_link_that_leads_out_of_the_root_is_refused(tmp_path):
    root = tmp_path / "raw"
    root.mkdir()
    (root / "link.png").symlink_to("/etc/passwd")
    with pytest.raises(PictureError, match="leads out of"):
        picture_inside(root, "link.png")


@pytest.mark.parametrize(
    "path", ["a\0b.png", "x" * 5000 + ".png", "\ud800.png"], ids=["zero byte", "long", "surrogate"]
)
def test_a_path_that_no_file_can_have_is_a_missing_picture(tmp_path, path):
    assert reason(lambda: picture_inside(tmp_path, path)) == "picture_missing"


@pytest.mark.parametrize("path", ["gone.png", "", "."])
def test_a_missing_file_or_a_folder_is_a_missing_picture(tmp_path, path):
    assert reason(lambda: open_picture(picture_inside(tmp_path, path))) == "picture_missing"


def test_a_path_inside_the_root_is_that_file(tmp_path):
    assert picture_inside(tmp_path, "images/../train_0.png") == (tmp_path / "train_0.png").resolve()


def test_fit_keeps_the_shape_and_the_limit():
    fitted = fit(Image.new("RGB", (400, 100)), max_pixels=10_000)
    assert fitted.size == (200, 50)
    small = Image.new("RGB", (30, 20))
    assert fit(small, 10_000) is small
    assert fit(Image.new("RGB", (1000, 3)), 1000, multiple=32).size[1] == 32


def test_a_picture_error_survives_the_way_back_from_a_worker_process():
    import pickle

    error = pickle.loads(pickle.dumps(PictureError("picture_missing", "gone")))
    assert (error.reason, str(error)) == ("picture_missing", "gone")


def test_a_picture_that_is_asked_for_again_is_decoded_once_while_there_is_room(tmp_path, monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.new("RGB", (10, 10), "red").save(path)
    decoded = []
    opened = pictures.open_picture
    monkeypatch.setattr(pictures, "open_picture", lambda path: (decoded.append(path), opened(path))[1])
    kept = pictures.DecodedPictures(max_bytes=2 * 300)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(kept.open, [paths[0]] * 20 + [paths[1]] * 20))
    assert decoded == paths[:2]
    assert all(one is found[0] for one in found[:20])
    kept.open(paths[0])
    kept.open(paths[2])  # no room: the one that was asked for longest ago goes
    kept.open(paths[0])
    kept.open(paths[1])
    assert decoded == [paths[0], paths[1], paths[2], paths[1]]
    tiny = pictures.DecodedPictures(max_bytes=1)
    assert tiny.open(paths[0]) is tiny.open(paths[0])


def test_a_picture_that_does_not_open_says_so_every_time(tmp_path):
    kept = pictures.DecodedPictures(max_bytes=1000)
    for _ in range(2):
        with pytest.raises(PictureError, match="does not exist"):
            kept.open(tmp_path / "gone.png")
