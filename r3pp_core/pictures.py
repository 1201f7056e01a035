"""The one way a picture is opened: bounded, upright, without transparency, RGB."""

import io
import struct
import threading
from collections import OrderedDict
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from r3pp_core.errors import R3Error

if TYPE_CHECKING:
    from PIL import Image

MAX_SOURCE_PIXELS = 100_000_000
MAX_ASPECT_RATIO = 200  # Qwen's image processor refuses more
# Not EPS, which Pillow hands to Ghostscript to run, nor the formats of games, fonts and plotters.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "JPEG2000", "AVIF")
# All that Pillow's readers were seen to raise on damaged bytes (tests/faults).
DECODE_ERRORS = (
    *(OSError, ValueError, SyntaxError, EOFError, LookupError, ArithmeticError, MemoryError),
    *(TypeError, NotImplementedError, struct.error),
)


class PictureError(R3Error):
    """A picture that cannot be used. `reason`: picture_missing, _undecodable, _too_large or _changed."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.reason, str(self))


def picture_inside(image_root: Path, image_path: str) -> Path:
    """`image_root / image_path`, refused when it would lead out of `image_root`."""
    try:
        path = (image_root / image_path).resolve()
        path.is_file()
    except (OSError, ValueError) as error:  # a zero byte, a name longer than the file system takes
        raise PictureError("picture_missing", f"picture path {image_path[:80]!r} cannot be a file ({error})") from error
    if not path.is_relative_to(image_root.resolve()):
        raise PictureError("picture_missing", f"picture path {image_path!r} leads out of {image_root}")
    return path


def open_picture(source: Path | bytes, max_source_pixels: int = MAX_SOURCE_PIXELS) -> "Image.Image":
    """Decode to RGB: first frame, EXIF orientation applied, transparency on white, 16 bit scaled to 8.

    Raises PictureError for a missing, undecodable or oversized picture (the size is read before decoding).
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    name = str(source) if isinstance(source, Path) else "the picture"
    if isinstance(source, Path) and not source.is_file():
        raise PictureError("picture_missing", f"{source} does not exist")
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as opened:
            if opened.width * opened.height > max_source_pixels:
                raise PictureError(
                    "picture_too_large",
                    f"{name} has {opened.width} x {opened.height} pixels, more than {max_source_pixels}",
                )
            return _flatten(ImageOps.exif_transpose(opened))
    except Image.DecompressionBombError as error:
        raise PictureError("picture_too_large", f"{name}: {error}") from error
    except UnidentifiedImageError as error:  # its own message holds a memory address, never the same twice
        raise PictureError("picture_undecodable", f"{name} is in no known picture format") from error
    except DECODE_ERRORS as error:
        raise PictureError("picture_undecodable", f"{name} does not decode ({error})") from error


class DecodedPictures:
    """Keeps what it opened last, at most `max_bytes` of pixels (but always one): a sweep asks again at every level.

    A kept picture is shared: nobody may draw on it. Threads that ask for one picture wait for one decoding.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._kept: OrderedDict[Path, Future[Image.Image]] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, path: Path) -> "Image.Image":
        """As `open_picture`."""
        with self._lock:
            if found := self._kept.get(path):
                self._kept.move_to_end(path)
            else:
                opened = self._kept[path] = Future()
        if found:
            return found.result()
        try:
            opened.set_result(open_picture(path))
        except BaseException as error:
            opened.set_exception(error)
            raise
        finally:
            self._forget_old()
        return opened.result()

    def _forget_old(self) -> None:
        with self._lock:
            ready = {path: opened for path, opened in self._kept.items() if opened.done()}
            sizes = {path: 0 if it.exception() else _num_bytes(it.result()) for path, it in ready.items()}
            num_bytes = sum(sizes.values())
            for path in [*sizes][:-1]:
                if num_bytes <= self.max_bytes:
                    break
                del self._kept[path]
                num_bytes -= sizes[path]


def _num_bytes(image: "Image.Image") -> int:
    return image.width * image.height * len(image.getbands())


def _flatten(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if image.mode.startswith("I;16") or image.mode == "I":
        image = image if image.mode == "I;16" else image.convert("I")  # big-endian 16 bit has no point operation
        image = image.point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def fit(image: "Image.Image", max_pixels: int, multiple: int = 1) -> "Image.Image":
    """Shrink to at most `max_pixels`, keeping the aspect ratio; sides become multiples of `multiple`."""
    from PIL import Image

    scale = min(1.0, (max_pixels / (image.width * image.height)) ** 0.5)
    width, height = (max(multiple, int(side * scale) // multiple * multiple) for side in image.size)
    if (width, height) == image.size:
        return image
    return image.resize((width, height), Image.Resampling.BICUBIC)
