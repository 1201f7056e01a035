"""The models that everything else starts from: CLIP, MiniLM and the backbone, in `models/<name>`.

The full profile takes them from the Hub at pinned revisions; the others take small ones of the same architectures
(CLIP, Qwen3-VL) that come with this package, and the real MiniLM from a PyPI package.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from r3pp_core import code_versions
from r3pp_core.artefact import Manifest, Outcome, Request, Target, build
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.hub import hub_errors
from r3pp_core.profiles import HubModel, Profile
from r3pp_core.progress import Progress, silent
from r3pp_core.sample.packaged import copy_packaged_model

MODEL_NAMES = ("clip", "minilm", "backbone")
# Only what loading needs; weights in safetensors only.
PATTERNS = ["*.json", "*.txt", "*.safetensors", "*.jinja", "tokenizer.model", "1_Pooling/*"]


def get_model(
    name: str, models_dir: Path, profile: Profile, progress: Progress = silent, *, force: bool = False
) -> Manifest:
    """Make or fetch `models_dir/<name>` in the Hub's layout.

    Raises UsageError for an unknown name, R3Error when the Hub cannot be reached or the disk is too small.
    """
    if name not in MODEL_NAMES:
        raise UsageError(f"unknown model {name!r}: choose one of {', '.join(MODEL_NAMES)}")
    out_dir = models_dir / name
    if profile.hub_models is not None:
        return _from_hub(name, profile.hub_models[name], out_dir, progress, force)
    return _packaged_minilm(out_dir, force) if name == "minilm" else copy_packaged_model(name, out_dir, force=force)


def _packaged_minilm(out_dir: Path, force: bool) -> Manifest:
    from r3pp_core.retrieval.minilm import copy_packaged_minilm

    return copy_packaged_minilm(out_dir, force=force)


def announce_size(names: list[str], models_dir: Path, profile: Profile, progress: Progress) -> None:
    """Say how much will be downloaded and how much disk is free. Raises R3Error when it cannot fit."""
    if profile.hub_models is None:
        return
    needed = sum(profile.hub_models[name].num_bytes for name in names if not (models_dir / name).exists())
    parent = next(path for path in [models_dir, *models_dir.resolve().parents] if path.exists())
    free = shutil.disk_usage(parent).free
    progress(f"to download: {needed / 1e9:.1f} GB ({', '.join(names)}); free on this disk: {free / 1e9:.1f} GB")
    if needed > free:
        raise R3Error(
            f"{models_dir} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed; choose another --out_dir"
        )


def _from_hub(name: str, model: HubModel, out_dir: Path, progress: Progress, force: bool) -> Manifest:
    request = Request(
        stage=f"models/{name}",
        code_version=code_versions.MODELS,
        config={"repo": model.repo, "revision": model.revision},
        inputs={},
    )

    def make(staging: Path) -> Outcome:
        from huggingface_hub import snapshot_download

        progress(f"models/{name}: fetching {model.repo}@{model.revision[:12]}")
        try:
            snapshot = Path(snapshot_download(model.repo, revision=model.revision, allow_patterns=PATTERNS))
        except hub_errors() as error:
            raise R3Error(
                f"cannot fetch {model.repo}@{model.revision}: {str(error).splitlines()[0]}; "
                "check the network and HF_TOKEN, or copy the model's folder there by hand"
            ) from error
        for path in _files(snapshot):
            destination = staging / path.relative_to(snapshot)
            destination.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(path.resolve(), destination)
        weights = len(list(staging.glob("*.safetensors")))
        if not weights:
            raise R3Error(f"{model.repo}@{model.revision} holds no safetensors weights")
        return Outcome(counts={"weight_files": weights}, details={"repo": model.repo, "revision": model.revision})

    return build(Target(out_dir), request, make, force=force, progress=progress)


def _files(snapshot: Path) -> Iterator[Path]:
    return (path for path in sorted(snapshot.rglob("*")) if path.is_file())


def _link_or_copy(source: Path, destination: Path) -> None:
    """A hard link to the Hub cache costs no disk; across file systems it is a copy."""
    try:
        destination.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, destination)
