"""Pictures opened and prepared by threads ahead of the encoder; nothing holds all of them."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from r3pp_core.artefact import hash_file
from r3pp_core.in_order import mapped_in_order
from r3pp_core.pictures import PictureError, open_picture, picture_inside
from r3pp_core.retrieval.encoders import ImageEncoder
from r3pp_core.retrieval.metadata import IndexEntry

if TYPE_CHECKING:
    from PIL import Image

MAX_DECODE_THREADS = 16
NUM_BATCHES_AHEAD = 2


def prepared_pictures(
    entries: Iterable[IndexEntry], image_root: Path, encoder: ImageEncoder, batch_size: int
) -> Iterator[np.ndarray | PictureError]:
    """For each entry, in order, what the encoder takes, or why its picture cannot be opened."""

    def prepare(entry: IndexEntry) -> np.ndarray | PictureError:
        try:
            return encoder.prepare(open_entry(image_root, entry))
        except PictureError as error:
            return error

    num_threads = min(MAX_DECODE_THREADS, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="decode")
    try:
        yield from mapped_in_order(pool, prepare, entries, max(batch_size * NUM_BATCHES_AHEAD, num_threads))
    finally:
        pool.shutdown(cancel_futures=True)


def open_entry(image_root: Path, entry: IndexEntry) -> "Image.Image":
    """The picture of `entry`, unchanged since its row was written; PictureError otherwise."""
    path = picture_inside(image_root, entry.image_path)
    picture = open_picture(path)
    if hash_file(path) != entry.image_sha256:
        raise PictureError("picture_changed", f"{path} is another picture than the one that its row was made from")
    return picture
