"""Weights by name: in which file of a saved model each lies, and reading a whole one or a piece of one.

A name is that of `R3Model.named_parameters()` (and the modules' one buffer). A piece is a range of the flattened
tensor, which is what a rank holds of it: some rows under FSDP2, any range under ZeRO-3.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3pp_core.errors import R3Error

if TYPE_CHECKING:
    from torch import Tensor

MODULES, ADAPTER, BACKBONE = "model.safetensors", "adapter_model.safetensors", "backbone"
MODULES_PREFIX, BACKBONE_PREFIX = "reconstruction.", "backbone."
MAX_FILE_BYTES = 4_000_000_000
FP32_BYTES = 4


@dataclass(frozen=True)
class Place:
    """A file, relative to a saved model's folder, and the tensor's key in it."""

    file: str
    key: str


def places(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Place]:
    """Where the fp32 weights of these names go. The backbone's own are cut into files of at most 4 GB, in order."""
    found: dict[str, Place] = {}
    cut: list[list[str]] = [[]]
    num_bytes = 0
    for name, shape in shapes.items():
        if name.startswith(MODULES_PREFIX):
            found[name] = Place(MODULES, name.removeprefix(MODULES_PREFIX))
        elif "lora_" in name:
            found[name] = Place(ADAPTER, adapter_key(name))
        else:
            size = FP32_BYTES * math.prod(shape)
            if num_bytes and num_bytes + size > MAX_FILE_BYTES:
                cut.append([])
                num_bytes = 0
            cut[-1].append(name)
            num_bytes += size
    for number, names in enumerate(cut, start=1):
        file = "model.safetensors" if len(cut) == 1 else f"model-{number:05d}-of-{len(cut):05d}.safetensors"
        found.update({name: Place(f"{BACKBONE}/{file}", name.removeprefix(BACKBONE_PREFIX)) for name in names})
    return found


def adapter_key(name: str) -> str:
    """PEFT's name in adapter_model.safetensors for a LoRA parameter of ours."""
    return "base_model.model." + name.removeprefix(BACKBONE_PREFIX).replace(".default.", ".")


def write_files(folder: Path, placed: Mapping[Place, "Tensor"]) -> list[str]:
    """Write whole tensors into their files below `folder`, and return the files' names."""
    from safetensors.torch import save_file

    files: dict[str, dict[str, Tensor]] = {}
    for place, tensor in placed.items():
        files.setdefault(place.file, {})[place.key] = tensor
    for file, tensors in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / file, metadata={"format": "pt"})
    return sorted(files)


def index_of(found: Iterable[Place], num_bytes: int) -> str | None:
    """The Hub's index over the backbone's files, None where it is one file."""
    inside = [place for place in found if place.file.startswith(f"{BACKBONE}/")]
    if len({place.file for place in inside}) < 2:
        return None
    weight_map = {place.key: Path(place.file).name for place in inside}
    return json.dumps({"metadata": {"total_size": num_bytes}, "weight_map": weight_map}, indent=1) + "\n"


class WeightFiles:
    """Safetensors files opened once, weights found by key. Close it, or use it in a `with`."""

    def __init__(self, files: Iterable[Path]) -> None:
        """Raises R3Error when a file is missing or damaged."""
        from safetensors import SafetensorError, safe_open

        self._opened: dict[str, Any] = {}
        self._files: list[Any] = []
        self._paths: dict[str, Path] = {}
        for path in files:
            try:
                file = safe_open(path, framework="pt")
            except (OSError, SafetensorError) as error:
                raise R3Error(f"{path} is missing or damaged ({error}); take another checkpoint") from error
            self._files.append(file)
            for key in file.keys():  # noqa: SIM118 - safe_open is no mapping
                self._opened[key] = file
                self._paths[key] = path

    def names(self) -> set[str]:
        return set(self._opened)

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._opened[key].get_slice(key).get_shape())

    def whole(self, key: str) -> "Tensor":
        tensor: Tensor = self._opened[key].get_tensor(key)
        return tensor

    def piece(self, key: str, start: int, stop: int) -> "Tensor":
        """The flattened tensor's values [start, stop); only the rows that hold them are read. 1-D."""
        shape = self.shape(key)
        if len(shape) < 2:
            flat: Tensor = self._opened[key].get_tensor(key).reshape(-1)[start:stop]
            return flat
        row = math.prod(shape[1:])
        first, last = start // row, -(-stop // row)
        rows: Tensor = self._opened[key].get_slice(key)[first:last].reshape(-1)
        return rows[start - first * row : stop - first * row]

    def __enter__(self) -> "WeightFiles":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._opened.clear()
        self._files.clear()


def refuse_differences(
    source: str, wanted: Mapping[str, tuple[int, ...]], found: WeightFiles, ignored: Iterable[str] = ()
) -> None:
    """Raise R3Error unless `found` holds exactly the keys of `wanted`, each with its shape."""
    missing, unexpected = set(wanted) - found.names(), found.names() - set(wanted) - set(ignored)
    if missing or unexpected:
        raise R3Error(
            f"{source} does not fit this model: {len(missing)} weights missing {sorted(missing)[:3]}, "
            f"{len(unexpected)} unexpected {sorted(unexpected)[:3]}; it was saved with another configuration"
        )
    for key, shape in wanted.items():
        if found.shape(key) != tuple(shape):
            raise R3Error(
                f"{source}: {key} has shape {found.shape(key)}, this model needs {tuple(shape)}; "
                "it was saved with another backbone or configuration"
            )
