"""Whole tensors by name in safetensors files, written and read by one process or by many that each hold a part.

A file never depends on how many ranks wrote it, so any number of them can read it.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from r3pp_core.errors import R3Error
from r3pp_core.model.backbone import refuse_key_differences

if TYPE_CHECKING:
    from torch import Tensor

MAX_FILE_BYTES = 4_000_000_000
T = TypeVar("T")


class Sharding(Protocol):
    """How tensors lie over the ranks. Every rank makes the same calls in the same order: they may communicate."""

    rank: int
    size: int

    def shape(self, tensor: Any) -> tuple[int, ...]:
        """Of the whole tensor."""

    def whole(self, tensor: Any) -> "Tensor":
        """The whole tensor on the CPU, contiguous."""

    def put(self, tensor: Any, stored: "StoredTensor") -> None:
        """Fill this rank's part of a tensor in place."""

    def from_first(self, work: Callable[[], T]) -> T:
        """What `work` returns on rank 0, on every rank; an R3Error that it raises is raised on every rank."""

    def raise_together(self, error: R3Error | None) -> None:
        """Raise on every rank what the first of them met."""


class Unsharded:
    """One process that holds everything."""

    rank, size = 0, 1

    def shape(self, tensor: "Tensor") -> tuple[int, ...]:
        return tuple(tensor.shape)

    def whole(self, tensor: "Tensor") -> "Tensor":
        return tensor.detach().cpu().contiguous()

    def put(self, tensor: "Tensor", stored: "StoredTensor") -> None:
        tensor.detach().copy_(stored.whole())

    def from_first(self, work: Callable[[], T]) -> T:
        return work()

    def raise_together(self, error: R3Error | None) -> None:
        if error is not None:
            raise error


UNSHARDED = Unsharded()


def write_tensors(folder: Path, stem: str, tensors: Mapping[str, Any], sharding: Sharding = UNSHARDED) -> None:
    """`stem.safetensors`, or files of at most 4 GB with the Hub's index over them, in place of those that were there.

    Ranks take turns at the files, so a rank holds one file's tensors at a time. Raises R3Error, on every rank, when
    the disk does not take a file.
    """
    from safetensors.torch import save_file

    parts = _cut({name: math.prod(sharding.shape(tensor)) * tensor.element_size() for name, tensor in tensors.items()})
    files = [
        f"{stem}.safetensors" if len(parts) == 1 else f"{stem}-{number:05d}-of-{len(parts):05d}.safetensors"
        for number in range(1, len(parts) + 1)
    ]
    error = None
    for number, (file, names) in enumerate(zip(files, parts, strict=True)):
        is_mine = number % sharding.size == sharding.rank
        kept = {}
        for name in names:
            whole = sharding.whole(tensors[name])
            if is_mine:
                kept[name] = whole
        try:
            if is_mine and error is None:
                with writing(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                    save_file(kept, folder / file, metadata={"format": "pt"})
        except R3Error as met:  # the others still wait for this rank's part of the next files
            error = met
    sharding.raise_together(error)
    sharding.from_first(lambda: _write_index(folder, stem, files, parts))


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What goes wrong while a file in `folder` is written is an R3Error. safetensors has an error of its own."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise R3Error(f"cannot write {folder}: {error}; free some space, or choose another folder") from error


def _write_index(folder: Path, stem: str, files: Sequence[str], parts: Sequence[Sequence[str]]) -> None:
    """The Hub's index over several files; what another number of files left goes."""
    for old in {*tensor_files(folder, stem), folder / f"{stem}.safetensors"} - {folder / file for file in files}:
        old.unlink(missing_ok=True)
    index = folder / f"{stem}.safetensors.index.json"
    index.unlink(missing_ok=True)
    if len(parts) > 1:
        weight_map = {name: file for file, names in zip(files, parts, strict=True) for name in names}
        with writing(folder):
            index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}, indent=1) + "\n", encoding="utf-8")


def _cut(sizes: Mapping[str, int]) -> list[list[str]]:
    """Names in order, in runs of at most MAX_FILE_BYTES; at least one run."""
    parts: list[list[str]] = [[]]
    num_bytes = 0
    for name, size in sizes.items():
        if parts[-1] and num_bytes + size > MAX_FILE_BYTES:
            parts.append([])
            num_bytes = 0
        parts[-1].append(name)
        num_bytes += size
    return parts


class StoredTensor:
    """A tensor in an opened file; only what is asked for is read."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name = file, name

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._file.get_slice(self._name).get_shape())

    def whole(self) -> "Tensor":
        tensor: Tensor = self._file.get_tensor(self._name)
        return tensor

    def rows(self, start: int, stop: int) -> "Tensor":
        """Along the first dimension."""
        tensor: Tensor = self._file.get_slice(self._name)[start:stop]
        return tensor

    def piece(self, start: int, stop: int) -> "Tensor":
        """Values [start, stop) of the flattened tensor; only the rows that hold them are read. 1-D."""
        shape = self.shape
        if len(shape) < 2:
            return self.whole().reshape(-1)[start:stop]
        row = math.prod(shape[1:])
        first, last = start // row, -(-stop // row)
        return self.rows(first, last).reshape(-1)[start - first * row : stop - first * row]


def open_tensors(paths: Iterable[Path]) -> dict[str, StoredTensor]:
    """All tensors of these files by name. Raises R3Error when a file is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, StoredTensor] = {}
    for path in paths:
        try:
            file = safe_open(path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise R3Error(f"{path} is missing or damaged ({error}); take another checkpoint") from error
        found.update({name: StoredTensor(file, name) for name in file.keys()})  # noqa: SIM118 - no mapping
    return found


def tensor_files(folder: Path, stem: str) -> list[Path]:
    """The files that `write_tensors` wrote under this name."""
    return sorted(folder.glob(f"{stem}-*-of-*.safetensors")) or [folder / f"{stem}.safetensors"]


def read_tensors(folder: Path, stem: str, tensors: Mapping[str, Any], sharding: Sharding = UNSHARDED) -> None:
    """Put what `write_tensors` wrote into tensors that are there.

    Raises R3Error, before any is touched, unless the files hold exactly these names and shapes.
    """
    import torch

    found, source = open_tensors(tensor_files(folder, stem)), str(folder / f"{stem}.safetensors")
    refuse_differences(source, {name: sharding.shape(tensor) for name, tensor in tensors.items()}, found)
    with torch.no_grad():
        for name, tensor in tensors.items():
            sharding.put(tensor, found[name])


def refuse_differences(source: str, wanted: Mapping[str, Sequence[int]], found: Mapping[str, StoredTensor]) -> None:
    """Raise R3Error unless `found` holds exactly these names, of these shapes."""
    refuse_key_differences(source, set(wanted) - set(found), set(found) - set(wanted))
    for name, shape in wanted.items():
        if found[name].shape != tuple(shape):
            raise R3Error(
                f"{source}: {name} has shape {found[name].shape}, this model needs {tuple(shape)}; "
                "it was saved with another backbone or configuration"
            )
