"""From an artefact back to what it was made from, by hashes: the tree of manifests, and whether the bytes still hold.

A manifest names its inputs by hash: the content of an artefact, one of its files, the weights of a model, or the
identity of an encoder or an index. What has such a hash is looked for among the manifests of the workspace.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from r3pp_core.artefact import (
    EMPTY_HASH,
    SEAL_THREADS,
    Manifest,
    Target,
    hash_file,
    hash_json,
    manifest_text,
    read_manifest,
)
from r3pp_core.errors import R3Error

SUFFIX = "manifest.json"
HASH = re.compile(r"[0-9a-f]{64}")
OUTSIDE = {"source", "texts", "prompt", "missing_pictures", "asked_ocr"}  # inputs that are no artefact
RECORDS = "made_from"  # a folder of manifests alone, kept beside what outlives its inputs
WORKSPACE_FOLDERS = {"data", "models", "indices", "checkpoints", "results", "champion"}


@dataclass(frozen=True)
class Artefact:
    """A finished artefact of a workspace."""

    target: Target
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.stage

    @property
    def is_record(self) -> bool:
        """Whether this is the manifest alone, of something that was replaced or removed since."""
        return _is_record(self.target.manifest_path)

    @property
    def place(self) -> Path:
        return self.target.folder / self.target.name if self.target.name else self.target.folder


@dataclass(frozen=True)
class Node:
    """An artefact with its inputs: each an artefact, or the bare value where none of the workspace has that hash."""

    artefact: Artefact
    inputs: "dict[str, Node | str]"


def find(path: Path) -> Artefact:
    """The artefact that a folder or a file belongs to; of a champion's folder the one that stands. Raises R3Error."""
    if (path / "current").is_symlink():
        path = path / "current"
    path = path.resolve()
    if not path.exists():
        raise R3Error(f"{path} does not exist")
    candidates = [path / SUFFIX] if path.is_dir() else sorted(path.parent.glob(f"*{SUFFIX}"))
    for candidate in candidates:
        artefact = _read(candidate)
        if artefact and (path.is_dir() or path.name in artefact.manifest.files or path == candidate):
            return artefact
    raise R3Error(f"{path} is no artefact (no manifest names it); give a folder or file that a stage wrote")


def workspace_of(artefact: Artefact) -> Path:
    """The nearest folder above that looks like a workspace; else the artefact's own."""
    for folder in artefact.target.folder.parents:
        if len(WORKSPACE_FOLDERS & {path.name for path in folder.iterdir()}) > 1:
            return folder
    return artefact.target.folder


def place_in(workspace: Path, path: Path) -> Path:
    """Relative to the workspace where it is inside, so that it stays true where the workspace is moved to."""
    return path.relative_to(workspace) if path.is_relative_to(workspace) else path


def lineage(artefact: Artefact, workspace: Path) -> Node:
    """The tree below `artefact`; manifests of `workspace` are searched."""
    return _tree(artefact, _known(workspace))


def _known(workspace: Path) -> dict[str, Artefact]:
    """The artefacts of a workspace by every hash that names them."""
    known: dict[str, Artefact] = {}
    for found in _artefacts(workspace):
        for identity in identities(found):
            known.setdefault(identity, found)
    return known


def _tree(artefact: Artefact, known: Mapping[str, Artefact]) -> Node:
    nodes: dict[str, Node] = {}

    def node(of: Artefact) -> Node:
        key = of.manifest.content_hash
        if key not in nodes:
            nodes[key] = Node(of, {})
            for name, value in of.manifest.inputs.items():
                made = known.get(value)
                nodes[key].inputs[name] = node(made) if made and made.manifest.content_hash != key else value
        return nodes[key]

    return node(artefact)


def keep_records(artefacts: Sequence[Artefact], workspace: Path, parent: Path) -> None:
    """Write into `parent/made_from` the manifests of all in `workspace` that the artefacts were made from."""
    folder, known = parent / RECORDS, _known(workspace)
    folder.mkdir()
    kept = {artefact.manifest.content_hash for artefact in artefacts}  # they are beside it whole
    for artefact in artefacts:
        for node in nodes_of(_tree(artefact, known)):
            manifest = node.artefact.manifest
            if manifest.content_hash not in kept:
                kept.add(manifest.content_hash)
                name = f"{manifest.stage.replace('/', '_')}-{manifest.content_hash[:12]}"
                Target(folder, name).manifest_path.write_text(manifest_text(manifest), encoding="utf-8")


def _manifests(workspace: Path) -> list[Path]:
    """All of a workspace, the champions' copies and records last."""
    found = []
    for parent, folders, files in os.walk(workspace):  # which passes over what vanishes meanwhile
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent) / name for name in files if name.endswith(SUFFIX) and not name.startswith(".")]
    places = {path: path.relative_to(workspace).parts for path in found}
    return sorted(found, key=lambda path: (_is_record(path), "champion" in places[path], places[path]))


def _is_record(path: Path) -> bool:
    return path.parent.name == RECORDS and path.name != SUFFIX


def _artefacts(workspace: Path) -> Iterator[Artefact]:
    for path in _manifests(workspace):
        if found := _read(path):
            yield found


def identities(artefact: Artefact) -> Iterator[str]:
    """Every hash by which another manifest may name this artefact."""
    from r3pp_core.retrieval.encoders import encoder_hash_of

    manifest = artefact.manifest
    yield manifest.content_hash
    yield from (entry["sha256"] for entry in manifest.files.values() if entry["sha256"] != EMPTY_HASH)
    if manifest.stage.startswith("index/"):
        yield hash_json(manifest.details)
    for prefix in ("", "model/"):
        weights = {
            name.removeprefix(prefix): entry["sha256"]
            for name, entry in manifest.files.items()
            if name == f"{prefix}config.json" or (name.startswith(prefix) and name.endswith(".safetensors"))
        }
        if "config.json" in weights and len(weights) > 1:
            yield hash_json(weights)
    if manifest.stage in ("models/clip", "models/minilm"):
        yield encoder_hash_of({name: entry["sha256"] for name, entry in manifest.files.items()})


def lines(node: Node, workspace: Path) -> list[str]:
    """The tree for a terminal; what was shown above is not shown twice."""
    shown: set[str] = set()

    def told(one: Node, label: str, prefix: str, indent: str) -> Iterator[str]:
        manifest = one.artefact.manifest
        where = place_in(workspace, one.artefact.place)
        again = " (above)" if manifest.content_hash in shown and manifest.inputs else ""
        name = "" if label in ("", one.artefact.name) else f"{label}: "
        since = " (replaced or removed since)" if one.artefact.is_record else ""
        yield f"{prefix}{name}{one.artefact.name}  {where}  {manifest.content_hash[:12]}{since}{again}"
        if again:
            return
        shown.add(manifest.content_hash)
        for split, commit in manifest.details.get("commits", {}).items():
            yield f"{indent}   {split} from commit {commit}"
        inputs = _together(one.inputs)
        for number, (name, below) in enumerate(inputs):
            is_last = number == len(inputs) - 1
            branch, following = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
            if isinstance(below, Node):
                yield from told(below, name, indent + branch, indent + following)
            else:
                yield f"{indent}{branch}{name}: {_bare(name, below)}"

    return list(told(node, "", "", ""))


def _together(inputs: "Mapping[str, Node | str]") -> "list[tuple[str, Node | str]]":
    """Inputs that one artefact gives under several names as one, called by the first; empty files are left out."""
    names: dict[str, list[str]] = {}
    for name, below in inputs.items():
        key = below.artefact.manifest.content_hash if isinstance(below, Node) else f"{name} {below}"
        if below != EMPTY_HASH:
            names.setdefault(key, []).append(name)
    return [
        (first if not others else f"{first} and {len(others)} more", inputs[first]) for first, *others in names.values()
    ]


def nodes_of(node: Node) -> list[Node]:
    """A node and all below it, each once."""
    found: dict[str, Node] = {}
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one.artefact.manifest.content_hash not in found:
            found[one.artefact.manifest.content_hash] = one
            waiting += [below for below in one.inputs.values() if isinstance(below, Node)]
    return list(found.values())


def missing_inputs(node: Node) -> list[str]:
    """Inputs of an artefact that are no longer in the workspace: replaced since, removed, or their manifest is torn."""
    own = set(identities(node.artefact))  # an artefact that was copied is named by its own files
    gone = {
        name: value if isinstance(value, str) else value.artefact.manifest.content_hash
        for name, value in node.inputs.items()
        if (isinstance(value, Node) and value.artefact.is_record)
        or (isinstance(value, str) and _is_inside(name, value) and value not in own)
    }
    place = node.artefact.place
    return [f"{place}: its input {name} ({value[:12]}) is no longer in the workspace" for name, value in gone.items()]


def broken_manifests(workspace: Path) -> list[str]:
    """Manifests that are torn or were edited, so that what they stand for is found under no hash or a wrong one."""
    found = []
    for path in _manifests(workspace):
        artefact = _read(path)
        if artefact is None and _is_torn(path):
            found.append(f"{path} cannot be read")
        elif artefact is not None and _is_edited(artefact.manifest):
            found.append(_edited(artefact))
    return found


def _is_torn(path: Path) -> bool:
    """Whether what has a manifest's name is no JSON, or names a stage and yet is no manifest: others use that name."""
    try:
        written = json.loads(path.read_bytes())
    except ValueError:
        return True
    return isinstance(written, dict) and "stage" in written


def _is_edited(manifest: Manifest) -> bool:
    content = {name: entry["sha256"] for name, entry in [*manifest.files.items(), *manifest.trees.items()]}
    return hash_json(content) != manifest.content_hash


def _edited(artefact: Artefact) -> str:
    return f"{artefact.target.manifest_path} was edited: its own hash does not fit what it lists"


def _is_inside(name: str, value: str) -> bool:
    """Whether a value is the hash of something that a workspace holds as an artefact."""
    return HASH.fullmatch(value) is not None and name not in OUTSIDE and value != EMPTY_HASH


def damages(artefact: Artefact) -> list[str]:
    """Files that are not what the manifest says, by reading them all."""
    folder, manifest = artefact.target.folder, artefact.manifest
    names = list(manifest.files)
    with ThreadPoolExecutor(SEAL_THREADS) as pool:
        hashes = dict(zip(names, pool.map(lambda name: _hash(folder / name), names), strict=True))
    found = [
        f"{folder / name} {'is missing' if hashes[name] is None else 'has other bytes than the manifest says'}"
        for name, entry in manifest.files.items()
        if hashes[name] != entry["sha256"]
    ]
    for name, entry in manifest.trees.items():
        paths = [path for path in sorted((folder / name).glob("*")) if not path.name.startswith(".")]
        with ThreadPoolExecutor(SEAL_THREADS) as pool:
            of_tree = dict(zip([path.name for path in paths], pool.map(hash_file, paths), strict=True))
        if hash_json(of_tree) != entry["sha256"]:
            found.append(f"{folder / name}: {len(of_tree)} files are not the {entry['count']} that the manifest knows")
    return [*found, _edited(artefact)] if _is_edited(manifest) else found


def _hash(path: Path) -> str | None:
    return hash_file(path) if path.is_file() else None


def _bare(name: str, value: str) -> str:
    if not HASH.fullmatch(value):
        return value
    return f"{value[:12]} (no artefact of this workspace)" if _is_inside(name, value) else value[:12]


def _read(path: Path) -> Artefact | None:
    name = path.name.removesuffix(SUFFIX).rstrip(".")
    target = Target(path.parent, name or None)
    try:
        manifest = read_manifest(target)
    except (R3Error, OSError):
        return None  # somebody else's file of that name, or gone by now
    return Artefact(target, manifest) if manifest else None
