"""The user's DeepSpeed JSON beside the run's flags: "auto" is filled in, and what contradicts a flag is an error."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

from r3pp_core.errors import UsageError
from r3pp_core.training.config import TrainConfig

PACKAGED = "configs/deepspeed_zero3.json"
ZERO_STAGE = 3


def read_deepspeed_config(name: str | None) -> dict[str, Any]:
    """A file, or the packaged one: the default, also found by its name. Raises UsageError when it is no JSON object."""
    packaged = resources.files("r3pp_core.training").joinpath(PACKAGED)
    is_packaged = name is None or (name == PACKAGED and not Path(name).is_file())
    try:
        text = packaged.read_text(encoding="utf-8") if is_packaged else Path(str(name)).read_text(encoding="utf-8")
        values = json.loads(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"--deepspeed_config {name} is not a readable JSON file ({error})") from error
    if not isinstance(values, dict):
        raise UsageError(f"--deepspeed_config {name} holds no JSON object")
    return values


def resolved(config: TrainConfig, world_size: int, dtype: str | None = None) -> dict[str, Any]:
    """The JSON as the engine takes it, with every value that follows from the run.

    `dtype` is what it computes in: None before the card is known, when a precision is not compared under --bf16,
    which a card may have to serve as float16.

    Raises UsageError naming the key, its value and the flag that says otherwise.
    """
    values = read_deepspeed_config(config.deepspeed_config)
    name = config.deepspeed_config or PACKAGED
    peak = config.lr if config.use_lora else config.full_lr
    wishes = {"bfloat16": config.bf16, "float16": config.fp16}
    computes = {name: wish if dtype is None else dtype == name for name, wish in wishes.items()}
    follows: dict[str, tuple[Any, str]] = {
        "train_micro_batch_size_per_gpu": (config.batch_size, "--batch_size"),
        "gradient_accumulation_steps": (config.grad_accum, "--grad_accum"),
        "train_batch_size": (config.batch_size * config.grad_accum * world_size, "--batch_size x --grad_accum x ranks"),
        "gradient_clipping": (config.max_grad_norm, "--max_grad_norm"),
        "bf16.enabled": (computes["bfloat16"], "--bf16 and the card"),
        "fp16.enabled": (computes["float16"], "--fp16 and the card"),
        "zero_optimization.stage": (ZERO_STAGE, "--backend deepspeed, which is ZeRO-3"),
    }
    optimizer = {
        "optimizer.type": ("AdamW", "the optimizer of every backend"),
        "optimizer.params.lr": (peak, "--lr" if config.use_lora else "--full_lr"),
        "optimizer.params.weight_decay": (config.weight_decay, "--weight_decay"),
        "optimizer.params.betas": ([0.9, 0.999], "the optimizer of every backend"),
        "optimizer.params.eps": (1e-8, "the optimizer of every backend"),
    }
    for section in ("optimizer", "optimizer.params", "zero_optimization", "bf16", "fp16"):
        if not isinstance(found := _get(values, section, {}), dict):
            raise UsageError(f"{name} says {section} {found!r}, where DeepSpeed wants an object")
    depends_on_card = ("bf16.enabled", "fp16.enabled") if dtype is None and config.bf16 else ()
    for key, (wanted, flag) in {**follows, **optimizer}.items():
        found = _get(values, key)
        if found not in (None, "auto", wanted) and key not in depends_on_card:
            raise UsageError(f"{name} says {key} {found!r}, the run says {wanted!r} ({flag}); change one, or say auto")
    for key in ("scheduler", "amp"):
        if values.get(key):
            raise UsageError(f"{name} holds a section {key!r}, which the run's own flags decide; take it out")
    for section in ("optimizer", "optimizer.params"):
        for key in _get(values, section, {}):
            if (full := f"{section}.{key}") not in {*optimizer, "optimizer.params"}:
                raise UsageError(f"{name} says {full}, which the run's own AdamW does not have; take it out")
    values.pop("optimizer", None)  # it agrees with the one that the engine is given
    for key, (wanted, _) in follows.items():
        _set(values, key, wanted)
    # Offloaded moments are updated by the same AdamW.
    values.setdefault("zero_force_ds_cpu_optimizer", False)
    values.setdefault("steps_per_print", config.max_steps + 1)
    if left := _autos(values):
        raise UsageError(f"{name} says auto for {left[0]}, which no flag decides; give a value or take it out")
    return values


def _get(values: dict[str, Any], key: str, default: Any = None) -> Any:
    found: Any = values
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return default
        found = found[part]
    return found


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        values = values.setdefault(part, {})
    values[last] = value


def _autos(values: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += _autos(value, f"{prefix}{key}.")
        elif value == "auto":
            found.append(f"{prefix}{key}")
    return found
