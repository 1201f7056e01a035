"""What must hold of a finished run. Each function returns the problems it found."""

import json
import math
from pathlib import Path
from statistics import fmean

from r3pp_core.errors import R3Error
from r3pp_core.jsonl import read_jsonl

EDGE_SHARE = 0.1
MAX_RISE = 0.05


def load_problems(checkpoint_dir: Path, backbone_dir: Path) -> list[str]:
    """The newest checkpoint's files are those that were saved, and its weights fit the model exactly."""
    from r3pp_core.model.r3 import R3Model
    from r3pp_core.training import checkpoints

    try:
        folder = highest_step(checkpoint_dir)
        checkpoints.verify(folder)
        R3Model.from_pretrained(folder / "model", backbone_dir, *_where())
    except R3Error as error:
        return [str(error)]
    return []


def live_problems(checkpoint_dir: Path, backbone_dir: Path) -> list[str]:
    """The reloaded model says to the probe what the live model said when it was saved."""
    from r3pp_core.training.export import live_difference

    try:
        live_difference(highest_step(checkpoint_dir), backbone_dir)
    except R3Error as error:
        return [str(error)]
    return []


def base_problems(checkpoint_dir: Path, backbone_dir: Path) -> list[str]:
    """The trained backbone answers otherwise than the one it started from, to a prompt without evidence."""
    from r3pp_core.model.backbone import load_backbone
    from r3pp_core.model.config import R3Config
    from r3pp_core.model.probe import probe_logits
    from r3pp_core.model.r3 import R3Model

    try:
        dtype, device = _where()
        model = R3Model.from_pretrained(highest_step(checkpoint_dir) / "model", backbone_dir, dtype, device)
        sizes = {name: getattr(model.config, name) for name in ("text_dim", "image_dim", "max_pixels")}
        trained = probe_logits(model, clean=True)
        del model  # a card holds one of them
        bare = R3Model(load_backbone(backbone_dir, None, dtype, device), R3Config.bare(**sizes))
    except R3Error as error:
        return [str(error)]
    moved = float((trained - probe_logits(bare, clean=True)).abs().max())
    if not math.isfinite(moved):
        return ["the trained backbone's logits are not finite"]
    return [] if moved else ["the trained backbone's logits equal the base's: its weights were not trained or loaded"]


def _where() -> tuple[str, str]:
    """The dtype and the device to answer with here."""
    from r3pp_core.model.backbone import inference_dtype
    from r3pp_core.training.precision import current_device

    device = current_device()[0]
    return inference_dtype(device), device


def teacher_problems(checkpoint_dir: Path) -> list[str]:
    """The teacher's averages are the weights that were trained, and lag behind them. Nothing to say without one."""
    import torch

    from r3pp_core.model.storage import saved_place
    from r3pp_core.model.tensor_files import open_tensors, tensor_files

    try:
        folder = highest_step(checkpoint_dir)
        if not json.loads((folder / "config.json").read_text(encoding="utf-8"))["losses"]["kl"]:
            return []
        teacher = open_tensors(tensor_files(folder, "teacher"))
        places = {name: saved_place(name) for name in teacher}
        files = {
            part: open_tensors(tensor_files(folder / "model" / part.parent, part.name)) for part, _ in places.values()
        }
    except (R3Error, OSError) as error:
        return [str(error)]
    differ = [
        name for name, (part, key) in places.items() if not torch.equal(teacher[name].whole(), files[part][key].whole())
    ]
    return [] if differ else [f"the teacher's {len(teacher)} averages all equal the student's weights"]


def highest_step(checkpoint_dir: Path) -> Path:
    """The newest step_<n>, whole or not: resuming may pass over a damaged one, a check may not."""
    found = {int(path.name[5:]): path for path in checkpoint_dir.glob("step_*") if path.name[5:].isdigit()}
    if not found:
        raise R3Error(f"no checkpoint in {checkpoint_dir}; train first (`r3pp train`)")
    return found[max(found)]


def loss_problems(metrics: Path) -> list[str]:
    """The validation loss is at its end not above its beginning by more than MAX_RISE.

    Damage grows over the steps, and with it the training loss, of a backbone that reads more than of one that does not.
    So it counts only where fewer than two validations were made: the last tenth's mean is below that of the first.
    """
    if not metrics.is_file():
        return [f"{metrics} does not exist"]
    rows = list(read_jsonl(metrics))
    losses = {row["step"]: row["loss"] for row in rows if row.get("kind") == "step"}
    if not losses:
        return [f"{metrics} holds no step"]
    validated = {row["step"]: row["val_loss"] for row in rows if row.get("kind") == "validation"}
    if any(loss is None for loss in (*losses.values(), *validated.values())):
        return ["a loss is not finite"]
    if len(validated) > 1:
        first, last = validated[min(validated)], validated[max(validated)]
        if last <= first * (1 + MAX_RISE):
            return []
        return [f"the validation loss went from {first:.4f} to {last:.4f}"]
    values = [losses[step] for step in sorted(losses)]
    edge = max(1, int(len(values) * EDGE_SHARE))
    first, last = fmean(values[:edge]), fmean(values[-edge:])
    return [] if last < first else [f"the loss went from {first:.4f} to {last:.4f}"]


def finite_problems(metrics: Path) -> list[str]:
    """No step with a loss or gradient that is not finite, but for those that the loss scaler skipped."""
    if not metrics.is_file():
        return [f"{metrics} does not exist"]
    steps = {row["step"]: row for row in read_jsonl(metrics) if row.get("kind") == "step"}
    return [
        f"step {step}: {name} is not finite"
        for step, row in sorted(steps.items())
        for name in ("loss", "grad_norm")
        if not row.get("is_skipped") and (row[name] is None or not math.isfinite(row[name]))
    ]
