"""Pictures that are damaged, lie about themselves or are made to exhaust whoever opens them; drawn from a seed."""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator

from chart_rows import FORMATS, picture
from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
HUGE = 60_000
INFLATED_BYTES = 32 << 20


def malformed_pictures(num: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """(kind of damage, bytes): all bombs once, the rest of `num` evenly over the kinds of damage."""
    draw = random.Random(seed)
    bombs = list(_bombs())
    yield from bombs
    for number in range(num - len(bombs)):
        name, damage = list(DAMAGES.items())[number % len(DAMAGES)]
        yield name, damage(draw, picture(number, draw.choice(FORMATS)))


def _truncated(draw: random.Random, data: bytes) -> bytes:
    return data[: draw.randrange(1, len(data))]


def _flipped(draw: random.Random, data: bytes) -> bytes:
    """Some bits of it, among the first bytes or anywhere."""
    damaged = bytearray(data)
    for _ in range(draw.choice((1, 1, 4, 16))):
        damaged[draw.randrange(min(len(data), draw.choice((32, len(data)))))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def _overwritten(draw: random.Random, data: bytes) -> bytes:
    start = draw.randrange(len(data))
    return data[:start] + bytes(draw.choice((0, 255)) for _ in range(30)) + data[start + 30 :]


def _headless(draw: random.Random, data: bytes) -> bytes:
    return data[: draw.choice((2, 8, 16))] + draw.randbytes(draw.randrange(200))


DAMAGES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "truncated": _truncated,
    "flipped bits": _flipped,
    "overwritten": _overwritten,
    "random after its first bytes": _headless,
    "random": lambda draw, data: draw.randbytes(draw.randrange(1, 400)),
    "zero bytes": lambda draw, data: bytes(draw.randrange(1, 400)),
    "empty": lambda draw, data: b"",
    "another suffix": lambda draw, data: data,  # all rows say x.png
    "another format's signature": lambda draw, data: PNG_SIGNATURE + data[8:],
}


def _bombs() -> Iterator[tuple[str, bytes]]:
    pixels = zlib.compress(bytes(INFLATED_BYTES))
    yield "PNG of huge dimensions", png(HUGE, HUGE, pixels)
    yield "PNG of no width", png(0, 30, pixels)
    yield "PNG of dimensions beyond the format", png(2**31, 2**31, pixels)
    yield "PNG that inflates far beyond its dimensions", png(40, 30, pixels)
    yield "PNG with a text that inflates", png(40, 30, zlib.compress(bytes(40 * 30 * 3 + 30)), text=pixels)
    yield "PNG just within the limit, without its pixels", png(9_990, 9_990, zlib.compress(b""))
    yield "JPEG of huge dimensions", _patched("JPEG", b"\xff\xc0\x00\x11\x08", struct.pack(">HH", HUGE, HUGE))
    yield "GIF of huge dimensions", _patched("GIF", b"GIF87a", struct.pack("<HH", HUGE, HUGE))
    yield "BMP of huge dimensions", _patched("BMP", struct.pack("<I", 40), struct.pack("<ii", HUGE, HUGE))
    yield "BMP of no height", _patched("BMP", struct.pack("<I", 40), struct.pack("<ii", 40, 0))
    yield "WEBP of huge dimensions", _webp(16_383, 16_383)
    yield "WEBP of no pixels", b"RIFF\x04\x00\x00\x00WEBP"
    yield "TIFF of huge dimensions", _tiff(HUGE, HUGE)
    yield "TIFF whose directory is itself", b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00"
    yield "PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n(/tmp/r3pp-was-here) (w) file closefile\n"
    for width, height in ((1, 1), (1, 3000), (3000, 1), (1, 60_000), (60_000, 2)):
        yield f"PNG of {width} x {height}", picture(0, size=(width, height))


def png(width: int, height: int, pixels: bytes, text: bytes | None = None) -> bytes:
    """A PNG whose checksums are right; `pixels` and `text` are compressed."""
    header = struct.pack(">IIBB3x", width, height, 8, 2)
    chunks = [
        (b"IHDR", header),
        (b"zTXt", b"Comment\x00\x00" + text if text else b""),
        (b"IDAT", pixels),
        (b"IEND", b""),
    ]
    packed = [struct.pack(">I", len(data)) + kind + data for kind, data in chunks if data or kind != b"zTXt"]
    return PNG_SIGNATURE + b"".join(chunk + struct.pack(">I", zlib.crc32(chunk[4:])) for chunk in packed)


def _patched(kind: str, before: bytes, patch: bytes) -> bytes:
    """A small picture of a format with the bytes after `before` replaced."""
    data = picture(1, kind)
    start = data.index(before) + len(before)
    return data[:start] + patch + data[start + len(patch) :]


def _webp(width: int, height: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas + picture(1, "WEBP")[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tiff(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (40, 30)).save(buffer, "TIFF")
    data = bytearray(buffer.getvalue())
    (directory,) = struct.unpack_from("<I", data, 4)
    (num_tags,) = struct.unpack_from("<H", data, directory)
    for place in range(directory + 2, directory + 2 + 12 * num_tags, 12):
        tag = struct.unpack_from("<H", data, place)[0]
        if tag in (256, 257):
            struct.pack_into("<HIHH", data, place + 2, 3, 1, width if tag == 256 else height, 0)
    return bytes(data)
