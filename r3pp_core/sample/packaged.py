"""The sample's pre-trained models: they come with the package, in `weights/<name>`, each with its hashes and card."""

import shutil
from pathlib import Path

from r3pp_core import code_versions
from r3pp_core.artefact import Manifest, Outcome, Request, Target, build, fresh_manifest, hash_file
from r3pp_core.errors import R3Error

NAMES = ("clip", "backbone")
WEIGHTS_DIR = Path(__file__).parent / "weights"
HASHES = "SHA256SUMS"
CARD = "README.md"


def copy_packaged_model(name: str, out_dir: Path, *, force: bool = False) -> Manifest:
    """Copy `weights/<name>` to `out_dir` (`models/<name>`) as an artefact, in the Hub's layout.

    Raises R3Error where a file is missing or is not the one that was packaged.
    """
    source = WEIGHTS_DIR / name
    hashes = read_hashes(source)
    for file, expected in hashes.items():
        digest = hash_file(source / file) if (source / file).is_file() else "no file"
        if digest != expected:
            raise R3Error(f"{source / file} has SHA-256 {digest}, it was packaged with {expected}; install r3pp again")

    def make(staging: Path) -> Outcome:
        for file in hashes:
            shutil.copyfile(source / file, staging / file)
        return Outcome(counts={"files": len(hashes)}, details={"package": "r3pp", "card": str(source / CARD)})

    return build(Target(out_dir), _request(name, hashes), make, force=force)


def is_current(name: str, out_dir: Path) -> bool:
    """Whether `out_dir` holds the model that this version packages."""
    return fresh_manifest(Target(out_dir), _request(name, read_hashes(WEIGHTS_DIR / name))) is not None


def _request(name: str, hashes: dict[str, str]) -> Request:
    return Request(f"models/{name}", code_versions.MODELS, {}, hashes)


def read_hashes(folder: Path) -> dict[str, str]:
    """The lines of its SHA256SUMS. Raises R3Error where there is none."""
    path = folder / HASHES
    if not path.is_file():
        raise R3Error(f"{path} is missing: this installation lacks the sample's weights; install r3pp again")
    pairs = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines()]
    return {file: digest for digest, file in pairs}


def pack(made: Path, name: str, card: str) -> Path:
    """Put a model's folder, with its hashes and card, where the package carries it."""
    folder = WEIGHTS_DIR / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made, folder)
    hashes = {path.name: hash_file(path) for path in sorted(folder.iterdir())}
    text = "".join(f"{digest}  {file}\n" for file, digest in hashes.items())
    (folder / HASHES).write_text(text, encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")
    return folder
