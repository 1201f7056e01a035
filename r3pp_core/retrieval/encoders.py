"""Encoders: what turns texts or pictures into unit vectors, behind one small interface.

A new encoder is a class with these members and a load function; index building and search know nothing else of it.
Shapes: n items, d dimensions.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from r3pp_core.artefact import cached_file_hash, hash_json
from r3pp_core.errors import R3Error
from r3pp_core.quiet import quiet_transformers

if TYPE_CHECKING:
    from PIL import Image

ENCODER_FILES = (".safetensors", ".json", ".txt")
CPU_TEXTS = 8  # at once at most: on a CPU the padding of a larger batch costs more than smaller batches do
DOWNLOAD_COMMAND = "r3pp download-models --out_dir models"


class Encoder(Protocol):
    """`name` is for people, `hash` identifies the weights and settings, `dim` is d."""

    @property
    def name(self) -> str: ...

    @property
    def hash(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def encode(self, items: Sequence[Any], batch_size: int = 32) -> np.ndarray:
        """Unit vectors, float32 [n, d], in the order of `items`."""
        ...


class ImageEncoder(Encoder, Protocol):
    """An encoder of pictures, whose preparation can run in threads ahead of the encoding."""

    def prepare(self, image: "Image.Image") -> np.ndarray:
        """The model's input for one RGB picture; `encode` takes these as well as pictures. Thread-safe."""
        ...


def encoder_hash(model_dir: Path) -> str:
    """What identifies an encoder: its weights and the settings (tokenizer, pixels, pooling) beside them.

    Pickled weights, read-me files and an artefact's own manifest do not count, so a bare copy of the folder has the
    same hash. Raises R3Error when there is no folder or no safetensors file in it.
    """
    if not model_dir.is_dir():
        raise R3Error(f"no encoder at {model_dir}; run `{DOWNLOAD_COMMAND}` first")
    files = {path.relative_to(model_dir).as_posix(): path for path in model_dir.rglob("*") if path.is_file()}
    hashes = {name: cached_file_hash(path) for name, path in files.items() if _is_of_encoder(name)}
    if not any(name.endswith(".safetensors") for name in hashes):
        raise R3Error(
            f"{model_dir} holds no safetensors weights, and other formats are not loaded; "
            f"run `{DOWNLOAD_COMMAND}` or convert them"
        )
    return encoder_hash_of(hashes)


def encoder_hash_of(hashes: Mapping[str, str]) -> str:
    """As `encoder_hash`, from the SHA-256 of each file by its path in the folder."""
    return hash_json({name: digest for name, digest in hashes.items() if _is_of_encoder(name)})


def _is_of_encoder(name: str) -> bool:
    is_hidden = any(part.startswith(".") for part in name.split("/"))
    return name.endswith(ENCODER_FILES) and not is_hidden and not name.endswith("manifest.json")


def load_text_encoder(model_dir: Path, device: str = "cpu") -> "SentenceEncoder":
    """A sentence-transformers folder, all-MiniLM-L6-v2 by default (d = 384, the first 256 tokens count).

    float32 on CPU; on a GPU bfloat16 from compute capability 8.0, float16 below.
    Raises R3Error when the folder or the device cannot be used.
    """
    digest = encoder_hash(model_dir)
    from sentence_transformers import SentenceTransformer

    dtype = _dtype_for(device)
    try:
        with quiet_transformers():
            model = SentenceTransformer(
                str(model_dir),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": dtype},
            )
    except _load_errors() as error:
        raise _not_loadable(model_dir, error) from error
    return SentenceEncoder(model.eval(), model_dir.name, digest)


def load_image_encoder(model_dir: Path, device: str = "cpu") -> ImageEncoder:
    """The encoder of pictures that the folder's config.json names by its `model_type`, one of IMAGE_ENCODERS.

    Precision and errors as for `load_text_encoder`; a type that is not known is an error too.
    """
    digest = encoder_hash(model_dir)
    try:
        model_type = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _not_loadable(model_dir, error) from error
    if model_type not in IMAGE_ENCODERS:
        known = ", ".join(IMAGE_ENCODERS)
        raise R3Error(f"{model_dir} holds a {model_type!r}; the encoders of pictures are {known} (docs/retrieval.md)")
    return IMAGE_ENCODERS[model_type](model_dir, device, digest)


def load_clip(model_dir: Path, device: str, digest: str) -> "ClipImageEncoder":
    """A CLIP folder in the layout of transformers, ViT-B/32 by default (d = 512): vision tower and projection.

    Pictures are prepared with Pillow even where torchvision is installed, so that the pixels are the same everywhere.
    Raises R3Error for weights that are missing from the file.
    """
    from transformers import CLIPImageProcessorPil, CLIPModel

    dtype = _dtype_for(device)
    try:
        processor = CLIPImageProcessorPil.from_pretrained(str(model_dir), local_files_only=True)
        with quiet_transformers():
            model, loading = CLIPModel.from_pretrained(
                str(model_dir), local_files_only=True, use_safetensors=True, dtype=dtype, output_loading_info=True
            )
    except _load_errors() as error:
        raise _not_loadable(model_dir, error) from error
    if missing := sorted(loading["missing_keys"]) + sorted(map(str, loading["mismatched_keys"])):
        raise R3Error(
            f"the weights in {model_dir} lack {len(missing)} parameters of a CLIP model, first {missing[0]}; "
            f"run `{DOWNLOAD_COMMAND}` again"
        )
    return ClipImageEncoder(model.to(device).eval(), processor, model_dir.name, digest)


class SentenceEncoder:
    """Texts to unit vectors through a sentence-transformers model, which pads those of similar length together."""

    def __init__(self, model: Any, name: str, digest: str) -> None:
        self._model = model
        self.name = name
        self.hash = digest
        self.dim = int(model.get_embedding_dimension())

    def encode(self, items: Sequence[str], batch_size: int = 32) -> np.ndarray:
        if len(items) == 0:
            return np.zeros((0, self.dim), np.float32)
        if self._model.device.type == "cpu":
            batch_size = min(batch_size, CPU_TEXTS)
        vectors = self._model.encode(
            list(items), batch_size=batch_size, convert_to_tensor=True, show_progress_bar=False
        )
        return _unit_rows(vectors)


class ClipImageEncoder:
    """Pictures to unit vectors through CLIP's vision tower and projection (`get_image_features`)."""

    def __init__(self, model: Any, processor: Any, name: str, digest: str) -> None:
        self._model = model
        self._processor = processor
        self.name = name
        self.hash = digest
        self.dim = int(model.config.projection_dim)

    def prepare(self, image: "Image.Image") -> np.ndarray:
        """Pixel values float32 [3, height, width]: shortest side fitted, centre cropped, normalised."""
        values = self._processor(images=image, return_tensors="np")["pixel_values"][0]
        return np.asarray(values, np.float32)

    def encode(self, items: Sequence["Image.Image | np.ndarray"], batch_size: int = 32) -> np.ndarray:
        import torch

        vectors = np.zeros((len(items), self.dim), np.float32)
        for start in range(0, len(items), batch_size):
            batch = items[start : start + batch_size]
            pixels = np.stack([item if isinstance(item, np.ndarray) else self.prepare(item) for item in batch])
            values = torch.from_numpy(pixels).to(self._model.device, self._model.dtype)
            with torch.inference_mode():
                features = self._model.get_image_features(pixel_values=values, return_dict=True).pooler_output
            vectors[start : start + len(batch)] = _unit_rows(features)
        return vectors


def _unit_rows(features: Any) -> np.ndarray:
    """Tensor [n, d] of any precision -> float32 [n, d] of unit length, normalised in float32."""
    import torch

    unit: np.ndarray = torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
    return unit


def _dtype_for(device: str) -> Any:
    import torch

    if not device.startswith("cuda"):
        return torch.float32
    if not torch.cuda.is_available():
        raise R3Error(f"device {device!r} was asked for, but no GPU is visible; use device 'cpu'")
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


def _load_errors() -> tuple[type[Exception], ...]:
    from safetensors import SafetensorError

    return (OSError, ValueError, RuntimeError, KeyError, SafetensorError)


def _not_loadable(model_dir: Path, error: Exception) -> R3Error:
    first_line = next(iter(str(error).splitlines()), type(error).__name__)
    return R3Error(f"cannot load the encoder in {model_dir} ({first_line}); run `{DOWNLOAD_COMMAND}` again")


# By the `model_type` in config.json. One more is a file with a class and its load function (folder, device, hash),
# and a line here.
IMAGE_ENCODERS: dict[str, Callable[[Path, str, str], ImageEncoder]] = {"clip": load_clip}
