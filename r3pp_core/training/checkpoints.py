"""Checkpoints: `step_<n>`, whole or absent, plain safetensors and JSON, enough to go on bit for bit.

model/                   the R3 model as `R3Model.save_pretrained` writes it (trainable weights in fp32)
optimizer.safetensors    AdamW's moments and step counts by parameter name
teacher.safetensors      the teacher's averages by parameter name
probe.safetensors        what the live model said to the probe, to compare a loaded one with
random.safetensors       states of torch's generators, of each rank
state.json               step, position in the order, loss scaler, hashes of the inputs
config.json              the whole TrainConfig
manifest.json            sizes and hashes of all of them

All tensors are whole, whatever backend wrote them from however many ranks, so any of them can go on.
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from r3pp_core import code_versions
from r3pp_core.artefact import Manifest, Outcome, Request, Target, build, hash_file, is_whole, read_manifest, sync
from r3pp_core.errors import R3Error
from r3pp_core.model.probe import probe_logits
from r3pp_core.model.storage import load_trained, save_model
from r3pp_core.model.tensor_files import open_tensors, read_tensors, tensor_files, write_tensors, writing
from r3pp_core.training.config import FREE_ON_RESUME, TrainConfig
from r3pp_core.training.setup import Training, seed_rank


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


def save(run: Training, metrics: Mapping[str, float]) -> Path:
    """Write `step_<n>`, which appears by one rename when it is on disk; then the newest `keep` and the best stay.

    Every rank calls this. Raises R3Error, on every rank, when the disk does not take it.
    """
    if not run.group.is_first:
        if staging := run.group.gather("")[0]:
            with suppress(R3Error):  # agreed on by all, and told by the first
                _write(Path(staging), run)
        run.group.raise_together(None)
        return checkpoint_path(run.config.run_dir, run.step)
    has_begun = []

    def make(staging: Path) -> Outcome:
        has_begun.append(True)
        run.group.gather(str(staging))
        _write(staging, run)
        return Outcome(counts={"step": run.step}, details={"metrics": dict(metrics)})

    error = None
    try:
        with writing(run.config.run_dir):
            _build(run, make)
    except R3Error as met:
        error = met
        if not has_begun:
            run.group.gather("")
    run.group.raise_together(error)
    return checkpoint_path(run.config.run_dir, run.step)


def _build(run: Training, make: Callable[[Path], Outcome]) -> None:
    run_dir = run.config.run_dir
    final, saving = checkpoint_path(run_dir, run.step), run_dir / f".saving-step_{run.step}"
    shutil.rmtree(saving, ignore_errors=True)
    request = Request(
        "checkpoint", code_versions.TRAINING, {**run.config.model_dump(mode="json"), "step": run.step}, dict(run.inputs)
    )
    build(Target(saving), request, make)
    Target(saving).lock.unlink(missing_ok=True)
    shutil.rmtree(final, ignore_errors=True)
    saving.rename(final)
    sync(run_dir)
    _remove_old(run_dir, run.config.keep)


def best(run_dir: Path) -> Path | None:
    """The finished checkpoint of the lowest finite validation loss, the earlier of equals; None where there is none."""
    losses = [(_val_loss(path), path) for path in whole_checkpoints(run_dir)]
    found = [(loss, path) for loss, path in losses if loss is not None and math.isfinite(loss)]
    return min(found, key=lambda one: one[0])[1] if found else None


def _val_loss(folder: Path) -> float | None:
    manifest = read_manifest(Target(folder))
    return None if manifest is None else manifest.details["metrics"].get("val_loss")


def _remove_old(run_dir: Path, keep: int) -> None:
    kept = {*whole_checkpoints(run_dir)[-keep:], best(run_dir)}
    for path in whole_checkpoints(run_dir):
        if path not in kept:
            removing = run_dir / f".removing-{path.name}"
            path.rename(removing)
            shutil.rmtree(removing)


def _write(folder: Path, run: Training) -> None:
    """All ranks write their files, and leave when the last is written."""
    import torch

    backend, group = run.backend, run.group
    live = probe_logits(run.model)
    save_model(run.model, folder / "model", dict(run.inputs), backend)
    write_tensors(folder, "optimizer", backend.moments(), backend)
    if run.teacher:
        write_tensors(folder, "teacher", run.teacher.averages, backend)
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state()
    of_ranks = group.gather(random)
    group.from_first(lambda: _write_state(folder, run, live, of_ranks))


def _write_state(folder: Path, run: Training, live: Any, of_ranks: list[dict[str, Any]]) -> None:
    from safetensors.torch import save_file

    backend, precision = run.backend, run.backend.precision
    named = {f"{kind}:{rank}": state for rank, states in enumerate(of_ranks) for kind, state in states.items()}
    state = {
        "step": run.step,
        "position": run.position,
        "num_ranks": run.group.size,
        "scaler": backend.scaler_state(),
        "precision": {"weights": precision.weights, "autocast": precision.autocast},
        "inputs": dict(run.inputs),
    }
    with writing(folder):
        save_file(named, folder / "random.safetensors")
        save_file({"logits": live}, folder / "probe.safetensors")
        (folder / "state.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        (folder / "config.json").write_text(run.config.model_dump_json(indent=1) + "\n", encoding="utf-8")


def restore(folder: Path, run: Training) -> None:
    """Put a checkpoint into a run that was set up from the same config; `run.step` is the step to go on with.

    Every rank calls this. Raises R3Error when a file is not the one that was saved, or when any weight is missing or
    unexpected.
    """
    run.group.from_first(lambda: verify(folder))
    backend = run.backend
    load_trained(run.model, folder / "model", backend)
    moments = open_tensors(tensor_files(folder, "optimizer"))
    read_tensors(folder, "optimizer", backend.new_moments(moments), backend)
    if run.teacher:
        read_tensors(folder, "teacher", run.teacher.averages, backend)
    backend.loaded()
    state = read_state(folder)
    run.step, run.position = int(state["step"]), int(state["position"])
    backend.load_scaler(state["scaler"])
    _restore_random(folder, run, int(state["num_ranks"]))


def _restore_random(folder: Path, run: Training, num_ranks: int) -> None:
    """Each rank's own state; with another number of ranks new ones, since none of the old belongs to any."""
    import torch

    if num_ranks != run.group.size:
        seed_rank(run.config.seed, run.step, run.group)
        return
    random, rank = open_tensors([folder / "random.safetensors"]), run.group.rank
    torch.set_rng_state(random[f"cpu:{rank}"].whole())
    if f"cuda:{rank}" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random[f"cuda:{rank}"].whole())


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


def rows_a_step(folder: Path) -> int:
    """Of all ranks together, when the checkpoint was saved."""
    saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return int(saved["batch_size"] * saved["grad_accum"] * read_state(folder)["num_ranks"])


def differences(folder: Path, run: Training) -> list[str]:
    """The config fields and inputs in which a checkpoint departs from this run, but for those free on resume, and
    "version of the training code".

    Rows a step may come from more or fewer ranks: only where neither their number a rank nor a step is equal, the
    batch is another.
    """
    saved = _with_newer_fields(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    wanted = run.config.model_dump(mode="json")
    names = [name for name in wanted if name not in FREE_ON_RESUME and saved.get(name) != wanted[name]]
    state = read_state(folder)
    rows_a_rank = saved["batch_size"] * saved["grad_accum"]
    if rows_a_rank != run.rows_a_rank and rows_a_step(folder) != run.rows_a_rank * run.group.size:
        names.append("batch_size x grad_accum")
    inputs, saved_inputs = dict(run.inputs), state["inputs"]
    if "val_jsonl" not in inputs or "val_jsonl" not in saved_inputs:  # whether to validate is free on resume
        inputs.pop("val_jsonl", None)
        saved_inputs.pop("val_jsonl", None)
    names += [name for name in sorted({*inputs, *saved_inputs}) if inputs.get(name) != saved_inputs.get(name)]
    return ["version of the training code" if name == "code" else name for name in names]


def _with_newer_fields(saved: dict[str, Any]) -> dict[str, Any]:
    """A saved config as this version would have saved it: fields that came since have their defaults."""
    try:
        return TrainConfig.model_validate(saved).model_dump(mode="json")
    except ValidationError:  # of a version that knew other fields: they are told as differences
        return saved


def refuse_other_run(folder: Path, run: Training) -> None:
    """Raise R3Error when a checkpoint was made by another config or from other inputs than this run's."""
    if names := differences(folder, run):
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
    for path in [*old, *run_dir.glob("metrics.jsonl"), *run_dir.glob("tensorboard")]:
        path.rename(replaced / path.name)
    announce(f"starting anew: {len(old)} older checkpoints are now in {replaced}")


def remove_unfinished(run_dir: Path) -> None:
    """Remove what a killed save left behind."""
    for path in [*run_dir.glob(".saving-step_*"), *run_dir.glob(".removing-step_*")]:
        shutil.rmtree(path)


def refuse_damaged(run_dir: Path) -> None:
    """Raise R3Error when the highest `step_<n>` is not whole: a save makes it so, hence it was damaged afterwards."""
    steps = [path for path in run_dir.glob("step_*") if path.name.removeprefix("step_").isdigit()]
    latest = max(steps, key=lambda path: int(path.name.removeprefix("step_")), default=None)
    whole = whole_checkpoints(run_dir)
    if latest is not None and latest not in whole:
        before = f"to go on from {whole[-1]}" if whole else "to start anew"
        raise R3Error(f"{latest} is damaged: a file is missing or has another size; remove it {before}")
