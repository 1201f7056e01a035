"""From a checkpoint of any backend to one folder in the Hub's layout, checked by reloading it."""

import shutil
from pathlib import Path
from typing import Any, Literal

from r3pp_core import code_versions
from r3pp_core.artefact import Manifest, Outcome, Request, Target, build
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.model.backbone import inference_dtype
from r3pp_core.progress import Progress, silent
from r3pp_core.training import checkpoints
from r3pp_core.training.precision import current_device

TRAINING_CONFIG = "training_config.json"  # of the run, in the exported folder
Dtype = Literal["float32", "bfloat16", "float16"]
# Of the largest logit: sums in another order, and weights rounded to that many bits.
TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 8e-2}


def export(
    checkpoint_dir: Path,
    out_dir: Path,
    backbone_dir: Path | None = None,
    progress: Progress = silent,
    *,
    best: bool = False,
    merge: bool = False,
    dtype: Dtype | None = None,
    force: bool = False,
) -> Manifest:
    """Write the model of a `step_<n>` folder (or of the newest, or the best, in a run's folder) to `out_dir`.

    As it was trained (adapters and R3 modules, or all weights in fp32); with `merge` as a whole backbone in `dtype`
    (bfloat16 unless told) beside the R3 modules.

    The folder is loaded again, and its logits on the probe are compared with those of the checkpoint's model and with
    what the live model said when it was saved; the manifest's details tell both. Raises R3Error without a finished
    checkpoint and when the logits differ: at all where nothing was rounded, else by more than rounding explains.
    """
    if dtype and not merge:
        raise UsageError(f"--dtype {dtype} is for --merge; without it the weights stay as they were trained")
    checkpoint = find_checkpoint(checkpoint_dir, best=best)
    manifest = checkpoints.verify(checkpoint)
    dtype = (dtype or "bfloat16") if merge else None
    loaded_in = inference_dtype(current_device()[0])  # what one would answer with here
    config = {"step": manifest.counts["step"], **({"merged": dtype} if dtype else {})}
    request = Request("model/r3", code_versions.EXPORT, config, {"checkpoint": manifest.content_hash})

    def make(staging: Path) -> Outcome:
        source = checkpoint / "model"
        if dtype:
            _merge(source, staging, backbone_dir, dtype)
        else:
            for path in sorted(source.iterdir()):
                copy = shutil.copytree if path.is_dir() else shutil.copyfile
                copy(path, staging / path.name)
        shutil.copyfile(checkpoint / "config.json", staging / TRAINING_CONFIG)
        kept, written = _load(source, backbone_dir, loaded_in), _load(staging, backbone_dir, dtype or loaded_in)
        difference, num_logits = _difference(kept, written), int(kept.numel())
        allowed = max(TOLERANCE[dtype], TOLERANCE[loaded_in]) * float(kept.abs().max()) if dtype else 0.0
        if not difference <= allowed:
            raise R3Error(
                f"the exported model's logits differ from the checkpoint's by {difference:.3g}, more than "
                f"{allowed:.3g}; export again, or in a wider --dtype"
            )
        live = live_difference(checkpoint, backbone_dir)
        told = "equal to" if difference == 0 else f"within {difference:.3g} of"
        progress(
            f"model/r3: reloaded, {num_logits} logits {told} those of {checkpoint}, {live:.3g} from the live model"
        )
        details = {
            "checkpoint": checkpoint.name,
            "merged": dtype or "no",
            "max_logit_difference": difference,
            "num_logits_compared": num_logits,
            "max_difference_from_live": live,
        }
        return Outcome(counts={"step": manifest.counts["step"]}, details=details)

    return build(Target(out_dir), request, make, force=force, progress=progress)


def find_checkpoint(folder: Path, *, best: bool = False) -> Path:
    """`folder` itself if it is a finished checkpoint, else the newest, or best, in it. Raises R3Error without any."""
    if (folder / "state.json").is_file():
        return folder
    found = checkpoints.best(folder) if best else checkpoints.newest(folder)
    if found is None:
        what = "validated" if best else "finished"
        raise R3Error(f"no {what} checkpoint in {folder}; train first (`r3pp train`)")
    return found


def live_difference(checkpoint: Path, backbone_dir: Path | None) -> float:
    """The largest difference between the reloaded checkpoint's probe logits and those of the model that was saved.

    Raises R3Error when it is more than sums in another order explain.
    """
    import torch

    from r3pp_core.model.tensor_files import open_tensors

    live = open_tensors([checkpoint / "probe.safetensors"])["logits"].whole()
    precision = checkpoints.read_state(checkpoint)["precision"]
    model = _model(checkpoint / "model", backbone_dir, precision["weights"])
    if precision["autocast"]:
        model.autocast_dtype = getattr(torch, precision["autocast"])
    difference = _difference(live, _probe(model))
    allowed = TOLERANCE[precision["autocast"] or precision["weights"]] * float(live.abs().max())
    if not difference <= allowed:
        raise R3Error(
            f"{checkpoint}: the reloaded model's logits differ from the live model's by {difference:.3g}, more than "
            f"{allowed:.3g}; it was not saved as it was"
        )
    return difference


def _merge(source: Path, folder: Path, backbone_dir: Path | None, dtype: Dtype) -> None:
    from r3pp_core.model.storage import read_description, save_merged

    save_merged(_model(source, backbone_dir, dtype), folder, read_description(source)["made_from"])


def _load(folder: Path, backbone_dir: Path | None, dtype: str) -> Any:
    """Probe logits of a saved model."""
    return _probe(_model(folder, backbone_dir, dtype))


def _model(folder: Path, backbone_dir: Path | None, dtype: str) -> Any:
    from r3pp_core.model.r3 import R3Model

    return R3Model.from_pretrained(folder, backbone_dir, dtype, current_device()[0])


def _probe(model: Any) -> Any:
    from r3pp_core.model.probe import probe_logits

    return probe_logits(model)


def _difference(one: Any, other: Any) -> float:
    return float((one - other).abs().max())
