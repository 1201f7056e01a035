"""How a source's picture becomes a file.

A PNG is checked without being decompressed and written through byte for byte; anything else is decoded once and
written as PNG, or, on request, kept as it came. What a PNG's compressed data hold is found by whoever decodes it (OCR).
"""

import hashlib
import zlib
from pathlib import Path

from r3pp_core.ingest.reasons import Reason
from r3pp_core.pictures import DECODE_ERRORS, FORMATS, PictureError, open_picture

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Allowed bit depths by colour type (PNG specification, third edition, 11.2.1).
BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
IHDR_BYTES = 13
SUFFIXES = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "AVIF": ".avif",
    "JPEG2000": ".jp2",
    "PPM": ".ppm",
    "ICO": ".ico",
}
FAST_COMPRESSION = 1  # of PNG's levels 1 to 9: half the time of the default 6, an eighth larger on real pages


def check_png(data: bytes, max_source_pixels: int) -> None:
    """Raise PictureError unless the chunks are whole (every CRC, IHDR, IDAT, IEND) and the size within the limit."""
    view = memoryview(data)
    position = len(PNG_SIGNATURE)
    seen: set[bytes] = set()
    while b"IEND" not in seen:
        end = position + 12 + int.from_bytes(view[position : position + 4], "big")
        if end > len(view) or position + 12 > len(view):
            raise _undecodable(f"the PNG ends within a chunk, after {len(view)} bytes")
        kind = bytes(view[position + 4 : position + 8])
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise _undecodable(f"the PNG's chunk {kind!r} at byte {position} has a wrong checksum")
        if not seen:
            _check_header(kind, bytes(view[position + 8 : end - 4]), max_source_pixels)
        seen.add(kind)
        position = end
    if b"IDAT" not in seen or (data[25] == 3 and b"PLTE" not in seen):
        raise _undecodable("the PNG holds no picture data or no palette")


def _check_header(kind: bytes, header: bytes, max_source_pixels: int) -> None:
    if kind != b"IHDR" or len(header) != IHDR_BYTES:
        raise _undecodable("the PNG does not begin with its header")
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    depth, color, compression, filtering, interlace = header[8:]
    if not width or not height or depth not in BIT_DEPTHS.get(color, ()) or compression or filtering or interlace > 1:
        raise _undecodable("the PNG's header holds values that the format does not know")
    if width * height > max_source_pixels:
        raise PictureError(
            Reason.PICTURE_TOO_LARGE, f"the picture has {width} x {height} pixels, more than {max_source_pixels}"
        )


def _undecodable(message: str) -> PictureError:
    return PictureError(Reason.PICTURE_UNDECODABLE, message)


def write_png_through(data: bytes, path: Path, max_source_pixels: int, sha256: str) -> str:
    """Check a PNG, write its bytes, whose SHA-256 this is, and return that. Nothing is written on a PictureError."""
    check_png(data, max_source_pixels)
    path.write_bytes(data)
    return sha256


def convert_picture(data: bytes, path: Path, max_source_pixels: int, sha256: str) -> str:
    """Decode whatever it is, write it as PNG, and return the new file's SHA-256."""
    image = open_picture(data, max_source_pixels)
    image.save(path, format="PNG", compress_level=FAST_COMPRESSION)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def keep_picture(data: bytes, path: Path, max_source_pixels: int, sha256: str) -> str:
    """Decode to see that it can be, and write the source's own bytes."""
    open_picture(data, max_source_pixels)
    path.write_bytes(data)
    return sha256


def suffix_of(data: bytes) -> str:
    """The file suffix of a picture's format by its first bytes, `.png` where the format is unknown."""
    import io

    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            return SUFFIXES.get(opened.format or "", ".png")
    except (*DECODE_ERRORS, Image.DecompressionBombError):
        return ".png"  # it will be rejected when it is decoded
