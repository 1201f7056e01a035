"""Checkpoints: `step_<n>`, whole or absent, plain safetensors and JSON, enough to go on bit for bit.

model/                   the R3 model as `R3Model.save_pretrained` writes it (trainable weights in fp32)
optimizer.safetensors    AdamW's moments and step counts by parameter name
random.safetensors       states of torch's generators
state.json               step, loss scaler, hashes of the inputs
config.json              the whole TrainConfig
manifest.json            sizes and hashes of all of them
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from r3pp_core.artefact import Manifest, Outcome, Request, Target, build, hash_file, is_whole, read_manifest, sync
from r3pp_core.errors import R3Error
from r3pp_core.model.storage import load_trained, read_tensors
from r3pp_core.training.config import FREE_ON_RESUME, TrainConfig

CODE_VERSION = "1"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def checkpoint_path(run_dir: Path, step: int) -> Path:
    return run_dir / f"step_{step}"


def whole_checkpoints(run_dir: Path) -> list[Path]:
    """Finished checkpoints of a run, oldest first."""
    found = []
    for path in run_dir.glob("step_*"):
        number = path.name.removeprefix("step_")
        manifest = read_manifest(Target(path)) if number.isdigit() else None
        if manifest and is_whole(Target(path), manifest):
            found.append((int(number), path))
    return [path for _, path in sorted(found)]


def newest(run_dir: Path) -> Path | None:
    """The newest finished checkpoint of a run, or None."""
    return next(reversed(whole_checkpoints(run_dir)), None)


def save(
    run_dir: Path,
    step: int,
    model: Any,
    optimizer: Any,
    scaler: Any,
    config: TrainConfig,
    inputs: Mapping[str, str],
    metrics: Mapping[str, float],
) -> Path:
    """Write `step_<n>`, which appears by one rename when it is on disk, then remove all but the newest `keep`."""
    final = checkpoint_path(run_dir, step)
    saving = run_dir / f".saving-step_{step}"
    shutil.rmtree(saving, ignore_errors=True)
    request = Request("checkpoint", CODE_VERSION, {**config.model_dump(mode="json"), "step": step}, dict(inputs))

    def make(staging: Path) -> Outcome:
        _write(staging, step, model, optimizer, scaler, config, inputs)
        return Outcome(counts={"step": step}, details={"metrics": dict(metrics)})

    build(Target(saving), request, make)
    Target(saving).lock.unlink(missing_ok=True)
    shutil.rmtree(final, ignore_errors=True)
    saving.rename(final)
    sync(run_dir)
    for old in whole_checkpoints(run_dir)[: -config.keep]:
        shutil.rmtree(old)
    return final


def _write(
    folder: Path, step: int, model: Any, optimizer: Any, scaler: Any, config: TrainConfig, inputs: Mapping[str, str]
) -> None:
    import torch
    from safetensors.torch import save_file

    model.save_pretrained(folder / "model", dict(inputs))
    moments = {}
    for name, parameter in model.trainable().items():
        for key, value in optimizer.state.get(parameter, {}).items():
            moments[f"{key}:{name}"] = value.detach().cpu().contiguous()
    save_file(moments, folder / "optimizer.safetensors")
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state()
    save_file(random, folder / "random.safetensors")
    state = {"step": step, "scaler": scaler.state_dict() if scaler else None, "inputs": dict(inputs)}
    (folder / "state.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    (folder / "config.json").write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")


def restore(folder: Path, model: Any, optimizer: Any, scaler: Any) -> int:
    """Put a checkpoint into a model and optimizer built from the same config; returns the step to go on with.

    Raises R3Error when a file is not the one that was saved, or when any weight is missing or unexpected.
    """
    import torch

    verify(folder)
    load_trained(model, folder / "model")
    moments = read_tensors(folder / "optimizer.safetensors")
    for name, parameter in model.trainable().items():
        state = {key: moments.pop(f"{key}:{name}", None) for key in MOMENTS}
        if any(value is None for value in state.values()):
            if any(value is not None for value in state.values()):
                raise R3Error(f"{folder}: the optimizer state of {name} is incomplete; take another checkpoint")
            continue  # a parameter that never had a gradient has no state
        optimizer.state[parameter] = {
            key: value if key == "step" else value.to(parameter.device) for key, value in state.items()
        }
    if moments:
        raise R3Error(f"{folder}: optimizer state of unknown parameters, for example {sorted(moments)[0]}")
    random = read_tensors(folder / "random.safetensors")
    torch.set_rng_state(random["cpu"])
    if "cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random["cuda"])
    state = read_state(folder)
    if scaler is not None and state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    return int(state["step"])


def verify(folder: Path) -> Manifest:
    """Compare every file with the manifest's hash. Raises R3Error naming the first that differs."""
    manifest = read_manifest(Target(folder))
    if manifest is None:
        raise R3Error(f"{folder} is not a finished checkpoint; give a step_<n> folder that training made")
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file() or hash_file(path) != entry["sha256"]:
            raise R3Error(f"{path} is missing or damaged; remove {folder} to resume from the checkpoint before it")
    return manifest


def read_state(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return state


def differences(folder: Path, config: TrainConfig, inputs: Mapping[str, str]) -> list[str]:
    """The config fields and inputs in which a checkpoint departs from this run, but for those free on resume."""
    saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    wanted = config.model_dump(mode="json")
    names = [name for name in wanted if name not in FREE_ON_RESUME and saved.get(name) != wanted[name]]
    saved_inputs = read_state(folder)["inputs"]
    return names + [name for name in sorted({*inputs, *saved_inputs}) if inputs.get(name) != saved_inputs.get(name)]


def refuse_other_run(folder: Path, config: TrainConfig, inputs: Mapping[str, str]) -> None:
    """Raise R3Error when a checkpoint was made by another config or from other inputs than this run's."""
    if names := differences(folder, config, inputs):
        raise R3Error(
            f"{folder} was trained with another {', '.join(names)}; keep them, name another --run, "
            "or start anew with --resume never"
        )


def set_aside(run_dir: Path, announce: Callable[[str], None]) -> None:
    """Move a run's checkpoints and curves to `replaced/`, in place of what an earlier new start had put there."""
    old = sorted(run_dir.glob("step_*"))
    if not old:
        return
    replaced = run_dir / "replaced"
    shutil.rmtree(replaced, ignore_errors=True)
    replaced.mkdir()
    for path in [*old, *run_dir.glob("metrics.jsonl")]:
        path.rename(replaced / path.name)
    announce(f"starting anew: {len(old)} older checkpoints are now in {replaced}")


def remove_unfinished(run_dir: Path) -> None:
    """Remove what a killed save left behind."""
    for path in run_dir.glob(".saving-step_*"):
        shutil.rmtree(path)
