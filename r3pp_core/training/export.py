"""From a checkpoint to one folder in the Hub's layout, checked by reloading it."""

import shutil
from pathlib import Path
from typing import Any

from r3pp_core.artefact import Manifest, Outcome, Request, Target, build
from r3pp_core.errors import R3Error
from r3pp_core.progress import Progress, silent
from r3pp_core.training import checkpoints

CODE_VERSION = "1"


def export(
    checkpoint_dir: Path,
    out_dir: Path,
    backbone_dir: Path | None = None,
    progress: Progress = silent,
    *,
    force: bool = False,
) -> Manifest:
    """Write the model of a `step_<n>` folder (or of the newest in a run's folder) to `out_dir`.

    The manifest's details say by how much the logits of the written folder differ from those of the checkpoint's
    model, on a drawn picture. Raises R3Error without a finished checkpoint and when the logits differ at all.
    """
    checkpoint = find_checkpoint(checkpoint_dir)
    manifest = checkpoints.verify(checkpoint)
    request = Request(
        "model/r3", CODE_VERSION, {"step": manifest.counts["step"]}, {"checkpoint": manifest.content_hash}
    )

    def make(staging: Path) -> Outcome:
        for path in sorted((checkpoint / "model").iterdir()):
            copy = shutil.copytree if path.is_dir() else shutil.copyfile
            copy(path, staging / path.name)
        difference, num_logits = _difference(checkpoint / "model", staging, backbone_dir)
        if difference != 0.0:
            raise R3Error(f"the exported model's logits differ from the checkpoint's by {difference:.3g}; export again")
        progress(f"model/r3: reloaded, {num_logits} logits equal to those of {checkpoint}")
        details = {"checkpoint": checkpoint.name, "max_logit_difference": difference, "num_logits_compared": num_logits}
        return Outcome(counts={"step": manifest.counts["step"]}, details=details)

    return build(Target(out_dir), request, make, force=force, progress=progress)


def find_checkpoint(folder: Path) -> Path:
    """`folder` itself if it is a finished checkpoint, else the newest one in it. Raises R3Error without any."""
    if (folder / "state.json").is_file():
        return folder
    newest = checkpoints.newest(folder)
    if newest is None:
        raise R3Error(f"no finished checkpoint in {folder}; train first (`r3pp train`)")
    return newest


def _difference(one: Path, other: Path, backbone_dir: Path | None) -> tuple[float, int]:
    first, second = _probe_logits(one, backbone_dir), _probe_logits(other, backbone_dir)
    return float((first - second).abs().max()), int(first.numel())


def _probe_logits(folder: Path, backbone_dir: Path | None) -> Any:
    """Logits of the probe's answer. float32 [n, V]."""
    import torch

    from r3pp_core.model.backbone import inference_dtype
    from r3pp_core.model.collation import collate, to_device
    from r3pp_core.model.probe import probe_row
    from r3pp_core.model.r3 import R3Model
    from r3pp_core.training.precision import current_device

    device = current_device()[0]
    model = R3Model.from_pretrained(folder, backbone_dir, inference_dtype(device), device)
    row = probe_row(model.config, model.image_processor)
    batch = collate([row], model.tokenizer, model.config, with_answers=True, merge_size=model.merge_size)
    with torch.inference_mode():
        return model.answer_logits(to_device(batch, model.device))[0].float().cpu()
