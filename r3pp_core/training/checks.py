"""What must hold of a finished run. Each function returns the problems it found."""

import math
from pathlib import Path
from statistics import fmean

from r3pp_core.errors import R3Error
from r3pp_core.jsonl import read_jsonl

EDGE_SHARE = 0.1


def load_problems(checkpoint_dir: Path, backbone_dir: Path) -> list[str]:
    """The newest checkpoint's files are those that were saved, and its weights fit the model exactly."""
    from r3pp_core.model.r3 import R3Model
    from r3pp_core.training import checkpoints

    try:
        folder = highest_step(checkpoint_dir)
        checkpoints.verify(folder)
        R3Model.from_pretrained(folder / "model", backbone_dir)
    except R3Error as error:
        return [str(error)]
    return []


def highest_step(checkpoint_dir: Path) -> Path:
    """The newest step_<n>, whole or not: resuming may pass over a damaged one, a check may not."""
    found = {int(path.name[5:]): path for path in checkpoint_dir.glob("step_*") if path.name[5:].isdigit()}
    if not found:
        raise R3Error(f"no checkpoint in {checkpoint_dir}; train first (`r3pp train`)")
    return found[max(found)]


def loss_problems(metrics: Path) -> list[str]:
    """The mean loss of the last tenth of the steps is below that of the first tenth, and all are finite."""
    if not metrics.is_file():
        return [f"{metrics} does not exist"]
    losses = {row["step"]: row["loss"] for row in read_jsonl(metrics) if row.get("kind") == "step"}
    if not losses:
        return [f"{metrics} holds no step"]
    not_finite = [step for step, loss in losses.items() if loss is None or not math.isfinite(loss)]
    if not_finite:
        return [f"the loss of step {not_finite[0]} is not finite"]
    values = [losses[step] for step in sorted(losses)]
    edge = max(1, int(len(values) * EDGE_SHARE))
    first, last = fmean(values[:edge]), fmean(values[-edge:])
    return [] if last < first else [f"the loss went from {first:.4f} to {last:.4f}"]
