"""Artefacts: what a stage writes appears whole, with a manifest, and is not made twice.

A stage writes into a staging folder inside its target folder. When everything is there and on disk, one atomic
rename turns the staging folder into a commit folder; from then on the new artefact stands, and moving its files
into place can be finished by whoever looks next. A crash before the rename leaves the old artefact, a crash after
it the new one.
"""

import errno
import fcntl
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from r3pp_core.errors import R3Error

HASH_BLOCK_BYTES = 1 << 20
EMPTY_HASH = hashlib.sha256(b"").hexdigest()
SEAL_THREADS = 8


@dataclass(frozen=True)
class Request:
    """What an artefact is made from: equal requests give equal bytes, so their artefacts are interchangeable.

    `inputs` maps a name to the content hash of what is read, `config` holds only what changes the bytes.
    """

    stage: str
    code_version: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        return hash_json(asdict(self))


@dataclass(frozen=True)
class Outcome:
    """What a stage reports of its work: rows and pictures by name, and what was left out by reason.

    `trees` names sub-folders whose files are summarised by one digest (thousands of pictures); it maps the folder
    to {file name: sha256}. `hashes` holds the SHA-256 of files that were hashed while they were written.
    """

    counts: Mapping[str, int]
    left_out: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    trees: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    stage: str
    code_version: str
    fingerprint: str
    content_hash: str
    config: dict[str, Any]
    inputs: dict[str, str]
    counts: dict[str, int]
    left_out: dict[str, int]
    details: dict[str, Any]
    files: dict[str, dict[str, Any]]
    trees: dict[str, dict[str, Any]]

    @property
    def num_bytes(self) -> int:
        return sum(entry["bytes"] for entry in [*self.files.values(), *self.trees.values()])


@dataclass(frozen=True)
class Target:
    """Where an artefact lives: a folder of its own, or, with a name, a group of files in a shared folder."""

    folder: Path
    name: str | None = None

    @property
    def manifest_path(self) -> Path:
        return self.folder / (f"{self.name}.manifest.json" if self.name else "manifest.json")

    def _private(self, kind: str) -> Path:
        return self.folder / f".{kind}-{self.name or 'artefact'}"

    @property
    def staging(self) -> Path:
        return self._private("staging")

    @property
    def commit(self) -> Path:
        return self._private("commit")

    @property
    def lock(self) -> Path:
        return self._private("lock")


def hash_json(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def text_key(text: str) -> int:
    """64 bits of a text, for arrays that stand in for sets and dicts of texts.

    Among a million texts two share a key by chance once in 37 million tables.
    """
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


@lru_cache(maxsize=4096)
def _hash_unchanged_file(path: Path, num_bytes: int, mtime_ns: int) -> str:
    return hash_file(path)


def cached_file_hash(path: Path) -> str:
    """SHA-256 of a file, read once per process for each size and modification time."""
    stat = path.stat()
    return _hash_unchanged_file(path.resolve(), stat.st_size, stat.st_mtime_ns)


def manifest_text(manifest: Manifest) -> str:
    """As its file holds it."""
    return json.dumps(asdict(manifest), indent=1, ensure_ascii=False) + "\n"


def read_manifest(target: Target) -> Manifest | None:
    """The manifest of a finished artefact, after completing a commit that a crash interrupted."""
    if target.commit.is_dir():
        with locked(target):
            _roll_forward(target)
    if not target.manifest_path.is_file():
        return None
    try:
        return Manifest(**json.loads(target.manifest_path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise R3Error(
            f"{target.manifest_path} is not a manifest of this version ({error}); remove it and run the stage again"
        ) from error


def require_manifest(target: Target, command: str) -> Manifest:
    manifest = read_manifest(target)
    if manifest is None:
        raise R3Error(f"nothing finished at {target.manifest_path}; run `{command}` first")
    return manifest


def content_hash_of(path: Path) -> str:
    """The hash of one file, from the manifest beside it when the file has not been touched since that was written."""
    if not path.is_file():
        raise R3Error(f"{path} does not exist")
    manifest = manifest_beside(path)
    return str(manifest.files[path.name]["sha256"]) if manifest else hash_file(path)


def manifest_beside(path: Path) -> Manifest | None:
    """The manifest that names a file of its folder, if the file has not been touched since that was written."""
    for manifest_path in sorted(path.parent.glob("*manifest.json")):
        try:
            manifest = Manifest(**json.loads(manifest_path.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            continue  # somebody else's file of that name
        entry = manifest.files.get(path.name)
        unchanged = path.is_file() and path.stat().st_mtime_ns <= manifest_path.stat().st_mtime_ns
        if entry and unchanged and entry["bytes"] == path.stat().st_size:
            return manifest
    return None


def is_whole(target: Target, manifest: Manifest) -> bool:
    """Whether every file that the manifest names is there with its size, and every tree with its count."""
    for name, entry in manifest.files.items():
        path = target.folder / name
        if not path.is_file() or path.stat().st_size != entry["bytes"]:
            return False
    return all(
        (target.folder / name).is_dir() and sum(1 for _ in os.scandir(target.folder / name)) >= entry["count"]
        for name, entry in manifest.trees.items()
    )


def fresh_manifest(target: Target, request: Request) -> Manifest | None:
    manifest = read_manifest(target)
    if manifest and manifest.fingerprint == request.fingerprint and is_whole(target, manifest):
        return manifest
    return None


def build(
    target: Target,
    request: Request,
    make: Callable[[Path], Outcome],
    *,
    force: bool = False,
    progress: Callable[[str], None] = lambda message: None,
    tidy: Callable[[], None] = lambda: None,
) -> Manifest:
    """The artefact that `request` asks for: the one that stands if it matches, else made by `make(staging)`.

    `tidy` is called once it stands, while nobody else can begin another there. Raises R3Error when another process is
    building the same artefact or the target cannot be written.
    """
    try:
        target.folder.mkdir(parents=True, exist_ok=True)
        with locked(target):
            if target.commit.is_dir():
                _roll_forward(target)
            _refuse_other_stage(target, request)
            if not force and (manifest := fresh_manifest(target, request)):
                progress(f"{request.stage}: {target.manifest_path} matches its inputs, nothing to do")
                tidy()
                return manifest
            shutil.rmtree(target.staging, ignore_errors=True)
            target.staging.mkdir(parents=True)
            try:
                manifest = _seal(target.staging, request, make(target.staging))
                target.staging.rename(target.commit)
            finally:
                shutil.rmtree(target.staging, ignore_errors=True)  # of a failure nothing half-written stays
            sync(target.folder)
            _roll_forward(target)
            tidy()
            return manifest
    except OSError as error:
        raise R3Error(f"{request.stage}: {_what_failed(error, target)}: {error.strerror or error}") from error


def _what_failed(error: OSError, target: Target) -> str:
    """Which of reading and writing it was, with the free space where the disk is full."""
    if error.errno == errno.ENOSPC:
        free = shutil.disk_usage(target.folder).free
        return f"cannot write {target.folder}, where {free / 1e6:.0f} MB are free (free some and run it again)"
    is_inside = error.filename is None or Path(str(error.filename)).is_relative_to(target.folder)
    return f"cannot write {target.folder}" if is_inside else f"cannot use {error.filename}"


def _refuse_other_stage(target: Target, request: Request) -> None:
    """An artefact is replaced by a newer one of its own kind only."""
    old = read_manifest(target)
    if old is not None and old.stage != request.stage:
        raise R3Error(
            f"{target.manifest_path} is of {old.stage}; {request.stage} would replace it, so choose another folder"
        )


@contextmanager
def locked(target: Target) -> Iterator[None]:
    with target.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise R3Error(
                f"another process ({file.read().strip() or 'pid unknown'}) is writing {target.manifest_path}; "
                "wait for it or stop it"
            ) from None
        file.truncate(0)
        file.write(f"pid {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        yield


def _seal(staging: Path, request: Request, outcome: Outcome) -> Manifest:
    """Hash and sync everything staged, and write the manifest beside it."""
    files: dict[str, dict[str, Any]] = {}
    trees: dict[str, dict[str, Any]] = {
        name: {"count": len(hashes), "bytes": 0, "sha256": hash_json(hashes)} for name, hashes in outcome.trees.items()
    }
    paths = sorted(path for path in staging.rglob("*") if path.is_file())
    in_tree = {path: _tree_of(path.relative_to(staging).as_posix(), trees) for path in paths}
    with ThreadPoolExecutor(SEAL_THREADS) as pool:  # both wait for the disk, or hash without the interpreter's lock
        known = {staging / name: sha256 for name, sha256 in outcome.hashes.items()}
        to_hash = {path for path in paths if in_tree[path] is None and path not in known}
        hashes = dict(zip(paths, pool.map(lambda path: _on_disk(path, path in to_hash), paths), strict=True)) | known
    for path, tree in in_tree.items():
        if tree:
            trees[tree]["bytes"] += path.stat().st_size
        else:
            files[path.relative_to(staging).as_posix()] = {"bytes": path.stat().st_size, "sha256": hashes[path]}
    for folder in [*(path for path in staging.rglob("*") if path.is_dir()), staging]:
        sync(folder)
    content = {name: entry["sha256"] for name, entry in [*files.items(), *trees.items()]}
    manifest = Manifest(
        stage=request.stage,
        code_version=request.code_version,
        fingerprint=request.fingerprint,
        content_hash=hash_json(content),
        config=dict(request.config),
        inputs=dict(request.inputs),
        counts=dict(outcome.counts),
        left_out={reason: count for reason, count in outcome.left_out.items() if count},
        details=dict(outcome.details),
        files=files,
        trees=trees,
    )
    sealed = staging / "sealed.manifest"
    sealed.write_text(manifest_text(manifest), encoding="utf-8")
    sync(sealed)
    return manifest


def _tree_of(relative: str, trees: Mapping[str, Any]) -> str | None:
    return next((name for name in trees if relative.startswith(name + "/")), None)


def _on_disk(path: Path, hashed: bool) -> str | None:
    """Sync a file; its SHA-256 where that is asked for."""
    sync(path)
    return hash_file(path) if hashed else None


def _roll_forward(target: Target) -> None:
    """Finish a commit: remove what the old manifest named, move the new files in, the manifest last."""
    sealed = target.commit / "sealed.manifest"
    if sealed.is_file():
        new = json.loads(sealed.read_text(encoding="utf-8"))
        if target.manifest_path.is_file():
            old = json.loads(target.manifest_path.read_text(encoding="utf-8"))
            for name in set(old["trees"]) - set(new["trees"]):
                shutil.rmtree(target.folder / name, ignore_errors=True)
            for name in set(old["files"]) - set(new["files"]):
                (target.folder / name).unlink(missing_ok=True)
        for name in new["trees"]:
            if (target.commit / name).is_dir():
                shutil.rmtree(target.folder / name, ignore_errors=True)
                (target.commit / name).rename(target.folder / name)
        for path in sorted(target.commit.rglob("*")):
            destination = target.folder / path.relative_to(target.commit)
            if path.is_dir():
                destination.mkdir(exist_ok=True)
            elif path != sealed:
                path.replace(destination)
        sealed.replace(target.manifest_path)
        sync(target.folder)
    shutil.rmtree(target.commit)


def unfinished(path: Path) -> Path:
    """A name beside `path` for its bytes until they are whole, which no other process, here or elsewhere, takes."""
    return path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}")


def sync(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
