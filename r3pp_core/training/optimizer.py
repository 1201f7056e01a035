"""AdamW with a learning rate for each kind of weight, and the schedule as a function of the step."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from r3pp_core.training.config import TrainConfig

BACKBONE_PREFIX = "backbone."


def build_optimizer(
    parameters: dict[str, Any], config: TrainConfig, shape: Callable[[Any], Sequence[int]] = lambda one: one.shape
) -> Any:
    """AdamW over named parameters. Biases, norms and single vectors do not decay. `shape`: that of a whole one."""
    import torch

    groups: dict[tuple[float, float], list[Any]] = {}
    for name, parameter in parameters.items():
        peak = _peak(name, config)
        decay = config.weight_decay if len(shape(parameter)) > 1 else 0.0
        groups.setdefault((peak, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": params, "lr": peak, "peak": peak, "weight_decay": decay}
            for (peak, decay), params in groups.items()
        ],
        fused=True,
    )


def _peak(name: str, config: TrainConfig) -> float:
    if not name.startswith(BACKBONE_PREFIX):
        return config.lr
    if "lora_" not in name:
        return config.full_lr
    return config.lr if config.lora_lr is None else config.lora_lr


def lr_factor(step: int, config: TrainConfig) -> float:
    """Share of the peak rate at a step (from 0): linear over warmup_steps, then half a cosine to zero at max_steps."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def set_rates(optimizer: Any, step: int, config: TrainConfig) -> float:
    """Set the rates of a step and return that of the R3 modules."""
    factor = lr_factor(step, config)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    return config.lr * factor
