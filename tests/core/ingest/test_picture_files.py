"""A source's picture becomes a file: a sound PNG byte for byte, anything else decoded once, a torn one not at all."""

import io

import pytest
from hub_files import picture, png_header, png_of, row, torn_inside, write_parquet
from PIL import Image

from r3pp_core.ingest.picture_files import check_png, convert_picture, keep_picture, suffix_of, write_png_through
from r3pp_core.jsonl import read_jsonl
from r3pp_core.pictures import MAX_SOURCE_PIXELS, PictureError, open_picture

LIMIT = 10_000
HEADER, DATA, END = (b"IHDR", png_header()), (b"IDAT", b"pixels"), (b"IEND", b"")


def refusal(data, limit=LIMIT):
    with pytest.raises(PictureError) as caught:
        check_png(data, limit)
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_that_pillow_writes_is_accepted(mode):
    check_png(encoded(Image.new(mode, (9, 7)), "PNG"), LIMIT)


def test_an_interlaced_png_and_bytes_after_the_end_are_accepted():
    interlaced = png_of((b"IHDR", png_header(rest=b"\0\0\1")), DATA, END)
    check_png(interlaced + b"something else", LIMIT)


@pytest.mark.parametrize("position", [20, 45, -6], ids=["in the header", "in the pixels", "in the end"])
def test_one_flipped_bit_is_found_by_its_checksum(position):
    data = bytearray(picture(0))
    data[position] ^= 1
    reason, words = refusal(bytes(data))
    assert reason == "picture_undecodable"
    assert "wrong checksum" in words


def test_a_png_that_ends_anywhere_before_its_end_is_found():
    whole = picture(0)
    for length in range(8, len(whole)):
        reason, words = refusal(whole[:length])
        assert (reason, words) == ("picture_undecodable", f"the PNG ends within a chunk, after {length} bytes")


@pytest.mark.parametrize(
    "header",
    [
        png_header(width=0),
        png_header(height=0),
        png_header(depth=3),
        png_header(color=5),
        png_header(depth=16, color=3),
        png_header(rest=b"\1\0\0"),
        png_header(rest=b"\0\1\0"),
        png_header(rest=b"\0\0\2"),
    ],
)
def test_a_header_with_values_that_png_does_not_know_is_refused(header):
    reason, words = refusal(png_of((b"IHDR", header), DATA, END))
    assert (reason, words) == ("picture_undecodable", "the PNG's header holds values that the format does not know")


@pytest.mark.parametrize("chunks", [[DATA, HEADER, END], [END], [(b"IHDR", png_header() + b"\0"), DATA, END]])
def test_a_png_that_does_not_begin_with_its_header_is_refused(chunks):
    assert refusal(png_of(*chunks)) == ("picture_undecodable", "the PNG does not begin with its header")


@pytest.mark.parametrize(
    "chunks",
    [[HEADER, END], [(b"IHDR", png_header(color=3)), DATA, END]],
    ids=["without pixels", "without its palette"],
)
def test_a_png_without_pixels_or_palette_is_refused(chunks):
    assert refusal(png_of(*chunks)) == ("picture_undecodable", "the PNG holds no picture data or no palette")


def test_a_png_that_is_too_large_is_refused_by_its_header_alone():
    whole = png_of((b"IHDR", png_header(width=101, height=100)), DATA, END)
    assert refusal(whole[:40])[0] == "picture_too_large", "what follows the header was needed"
    assert refusal(whole)[1] == "the picture has 101 x 100 pixels, more than 10000"
    check_png(png_of((b"IHDR", png_header(width=100, height=100)), DATA, END), LIMIT)


def test_pixels_that_do_not_decompress_are_left_to_whoever_decodes_them():
    check_png(torn_inside(), LIMIT)
    with pytest.raises(PictureError):
        open_picture(torn_inside())


@pytest.mark.parametrize("write", [write_png_through, convert_picture, keep_picture])
@pytest.mark.parametrize("data", [picture(0, "JPEG")[:300], picture(0)[:60]], ids=["JPEG", "PNG"])
def test_a_picture_that_cannot_be_used_leaves_no_file(tmp_path, write, data):
    with pytest.raises(PictureError):
        write(data, tmp_path / "x.png", LIMIT, "its hash")
    assert list(tmp_path.iterdir()) == []


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(mode, left, right, size=(64, 48)):
    """A picture of two colours, so that a turn, a swap of channels or a lost frame shows."""
    image = Image.new(mode, size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


def rotated_jpeg():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    return encoded(halves("RGB", (255, 0, 0), (0, 0, 255)), "JPEG", exif=exif, quality=95)


def animated_gif():
    first, second = halves("RGB", (255, 0, 0), (0, 0, 255)), Image.new("RGB", (64, 48), (0, 255, 0))
    return encoded(first, "GIF", save_all=True, append_images=[second], duration=100)


def cmyk_jpeg():
    return encoded(halves("CMYK", (0, 255, 255, 0), (255, 255, 0, 0)), "JPEG", quality=95)


def deep_png():
    return encoded(halves("I;16", 0, 65_535), "PNG")


def transparent_png():
    return encoded(halves("RGBA", (255, 0, 0, 255), (0, 0, 0, 0)), "PNG")


RED, BLUE, BLACK, WHITE = (255, 0, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255)
ODD_PICTURES = [
    pytest.param(rotated_jpeg(), (48, 64), (24, 16), RED, (24, 48), BLUE, id="a rotated JPEG"),
    pytest.param(cmyk_jpeg(), (64, 48), (16, 24), RED, (48, 24), BLUE, id="a CMYK JPEG"),
    pytest.param(animated_gif(), (64, 48), (16, 24), RED, (48, 24), BLUE, id="an animated GIF"),
    pytest.param(deep_png(), (64, 48), (16, 24), BLACK, (48, 24), WHITE, id="a PNG of 16 bits"),
    pytest.param(transparent_png(), (64, 48), (16, 24), RED, (48, 24), WHITE, id="a transparent PNG"),
]


@pytest.mark.parametrize("image_format", ["png", "original"])
@pytest.mark.parametrize("data, size, one, one_color, other, other_color", ODD_PICTURES)
def test_odd_pictures_are_upright_rgb_for_whoever_opens_them(
    fetch, tmp_path, image_format, data, size, one, one_color, other, other_color
):
    write_parquet(tmp_path, "train", [row(data)])
    fetch(tmp_path, tmp_path / "raw", splits=["train"], image_format=image_format)
    (line,) = read_jsonl(tmp_path / "raw" / "chartqa_raw_train.jsonl")
    opened = open_picture(tmp_path / "raw" / line["image"])
    assert (opened.mode, opened.size) == ("RGB", size)
    for place, wanted in ((one, one_color), (other, other_color)):
        found = opened.getpixel(place)
        assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= 12, (found, wanted)


@pytest.mark.parametrize("kind, suffix", [("JPEG", ".jpg"), ("WEBP", ".webp"), ("GIF", ".gif"), ("PNG", ".png")])
def test_image_format_original_keeps_bytes_and_suffix(fetch, tmp_path, kind, suffix):
    data = picture(0, kind)
    write_parquet(tmp_path, "train", [row(data)])
    fetch(tmp_path, tmp_path / "raw", splits=["train"], image_format="original")
    (path,) = (tmp_path / "raw" / "images").iterdir()
    assert path.name == f"train_0{suffix}"
    assert path.read_bytes() == data
    assert next(read_jsonl(tmp_path / "raw" / "chartqa_raw_train.jsonl"))["image"] == f"images/{path.name}"


def test_a_phones_jpeg_with_a_second_picture_inside_keeps_its_suffix():
    one, other = Image.new("RGB", (9, 7)), Image.new("RGB", (9, 7), "red")
    data = encoded(one, "MPO", save_all=True, append_images=[other])
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.format == "MPO"
    assert suffix_of(data) == ".jpg"


def test_image_format_original_decodes_what_it_keeps(fetch, tmp_path):
    """A JPEG has no checksums: only decoding shows that it is whole."""
    write_parquet(tmp_path, "train", [row(picture(0, "JPEG")), row(picture(1, "JPEG")[:-200])])
    manifest = fetch(tmp_path, tmp_path / "raw", splits=["train"], image_format="original")
    assert manifest.left_out == {"picture_undecodable": 1}
    assert [path.name for path in (tmp_path / "raw" / "images").iterdir()] == ["train_0.jpg"]


def test_the_other_image_format_is_another_artefact(fetch, tmp_path):
    write_parquet(tmp_path, "train", [row(picture(0, "JPEG"))])
    for image_format, name in (("png", "train_0.png"), ("original", "train_0.jpg"), ("png", "train_0.png")):
        fetch(tmp_path, tmp_path / "raw", splits=["train"], image_format=image_format)
        assert [path.name for path in (tmp_path / "raw" / "images").iterdir()] == [name]


def test_what_is_no_picture_has_a_suffix_all_the_same():
    assert suffix_of(b"not a picture") == ".png"


def test_damaged_pngs_are_rejected_by_download_and_sound_ones_stay(fetch, tmp_path):
    broken = bytearray(picture(1))
    broken[45] ^= 1
    huge = png_of((b"IHDR", png_header(width=20_000, height=20_000)), DATA, END)
    assert MAX_SOURCE_PIXELS < 20_000 * 20_000
    write_parquet(tmp_path, "train", [row(picture(0)), row(bytes(broken)), row(picture(2)[:-20]), row(huge)])
    manifest = fetch(tmp_path, tmp_path / "raw", splits=["train"])
    rejected = {line["id"]: line["reason"] for line in read_jsonl(tmp_path / "raw" / "rejected.jsonl")}
    assert rejected == {
        "chartqa/train/1": "picture_undecodable",
        "chartqa/train/2": "picture_undecodable",
        "chartqa/train/3": "picture_too_large",
    }
    assert (manifest.counts["rows_in"], manifest.counts["rows"]) == (4, 1)
    assert [path.name for path in (tmp_path / "raw" / "images").iterdir()] == ["train_0.png"]
