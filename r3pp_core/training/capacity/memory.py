"""Bytes that one rank holds on its card, part by part."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from r3pp_core.model.config import R3Config
from r3pp_core.training.backends.deepspeed_config import resolved
from r3pp_core.training.capacity.activations import FP32, activations
from r3pp_core.training.capacity.outline import outline
from r3pp_core.training.capacity.workload import row_size, step_flops
from r3pp_core.training.config import TrainConfig
from r3pp_core.training.optimizer import BACKBONE_PREFIX
from r3pp_core.training.precision import choose_precision

ADAM_STEP_BYTES = 4
CONTEXT_BYTES = 1_200_000_000  # CUDA's context and libraries
NCCL_BYTES = 800_000_000
FRAGMENTATION = 0.05  # of what is in use
BLOCKS = r"backbone\.model\.(?:visual\.blocks|language_model\.layers)\.\d+\."
TABLES = ("backbone.lm_head.weight", "backbone.model.language_model.embed_tokens.weight")
ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# DeepSpeed's own defaults, where the JSON says nothing.
PERSISTENCE, PREFETCH, BUCKET, SUB_GROUP = 100_000, 50_000_000, 500_000_000, 1_000_000_000


@dataclass(frozen=True)
class Held:
    """What lies there between steps, gradients before they are dropped. Bytes of the rank that holds most."""

    weights: int
    gradients: int
    optimizer: int
    teacher: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.teacher


@dataclass(frozen=True)
class Transient:
    """What a step needs besides: weights and gradients put together from all ranks or cast, activations, logits."""

    gathered: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return self.gathered + self.activations + self.logits


@dataclass(frozen=True)
class Demand:
    """Of one rank: memory in bytes, operations a step, and the bytes of a checkpoint (of all ranks together)."""

    held: Held
    transient: Transient
    reserve: int
    flops_a_step: float
    num_parameters: int
    num_trainable: int
    checkpoint_bytes: int

    @property
    def total(self) -> int:
        return self.held.total + self.transient.total + self.reserve


@dataclass(frozen=True)
class _Size:
    """A parameter: its length, that of its first row, bytes a value as it is loaded."""

    name: str
    rows: int
    row: int
    item_bytes: int
    trains: bool
    decays: bool

    @property
    def num(self) -> int:
        return self.rows * self.row


def demand(
    config: TrainConfig, r3: R3Config, num_ranks: int, device: str, capability: tuple[int, int] | None
) -> Demand:
    """Of `num_ranks` ranks, each with a card of this compute capability (None: a CPU). Needs no weights.

    `r3`: as `TrainConfig.resolved_r3` gives it. Raises R3Error when the backbone is not described anywhere.
    """
    precision = choose_precision(config, device, capability)
    computes = precision.computes
    model = _outline(config.model_name, r3.model_dump_json(), computes)
    if config.backend == "deepspeed":
        sizes = _sizes(model, ITEM_BYTES[computes], ITEM_BYTES[computes])
    else:
        sizes = _sizes(model, ITEM_BYTES[precision.weights], FP32)
    row = row_size(config, model)
    kept = activations(config, model, row)
    gathered = 0
    if config.backend == "deepspeed":
        held, gathered = _of_ranges(sizes, num_ranks, resolved(config, num_ranks, computes), config.losses.kl > 0)
    else:
        held = _of_rows(sizes, num_ranks, config.losses.kl > 0)
        if config.backend == "fsdp":
            gathered = _gathered_by_fsdp(sizes, ITEM_BYTES[computes])
        elif precision.autocast:  # casts every weight once a forward, and keeps what it cast
            gathered = sum(size.num for size in sizes if _is_backbone(size)) * ITEM_BYTES[computes]
    in_use = held.total + gathered + kept.kept + kept.largest_layer + kept.logits
    context = CONTEXT_BYTES + (NCCL_BYTES if num_ranks > 1 else 0) if device == "cuda" else 0
    trained = [size for size in sizes if size.trains]
    num_averaged = sum(size.num for size in trained if _is_backbone(size)) if config.losses.kl else 0
    return Demand(
        held=held,
        transient=Transient(gathered, kept.kept + kept.largest_layer, kept.logits),
        reserve=context + int(in_use * FRAGMENTATION),
        flops_a_step=step_flops(config, model, row),
        num_parameters=sum(size.num for size in sizes),
        num_trainable=sum(size.num for size in trained),
        checkpoint_bytes=FP32 * (3 * sum(size.num for size in trained) + num_averaged),
    )


@lru_cache(maxsize=8)
def _outline(model_name: str, r3: str, dtype: str) -> Any:
    return outline(model_name, R3Config.model_validate_json(r3), dtype)


def _sizes(model: Any, own_bytes: int, added_bytes: int) -> list[_Size]:
    """`own_bytes`: of a value of the backbone's own weights; `added_bytes`: of adapters and modules."""
    found = []
    for name, parameter in model.named_parameters():
        rows = parameter.shape[0] if parameter.dim() else 1
        item_bytes = own_bytes if _is_own(name) else added_bytes
        row = parameter.numel() // rows
        found.append(_Size(name, rows, row, item_bytes, parameter.requires_grad, parameter.dim() > 1))
    return found


def _is_own(name: str) -> bool:
    """Of the backbone itself, not of its adapters."""
    return name.startswith(BACKBONE_PREFIX) and "lora_" not in name


def _is_backbone(size: _Size) -> bool:
    return size.name.startswith(BACKBONE_PREFIX)


def _of_rows(sizes: list[_Size], num_ranks: int, with_teacher: bool) -> Held:
    """FSDP2 cuts along the first dimension, every part as long as the longest; one rank alone holds all."""
    parts = [(size, math.ceil(size.rows / num_ranks) * size.row) for size in sizes]
    trained = [(size, num) for size, num in parts if size.trains]
    return Held(
        weights=sum(num * size.item_bytes for size, num in parts),
        gradients=sum(num * size.item_bytes for size, num in trained),
        optimizer=sum(2 * num * size.item_bytes + ADAM_STEP_BYTES for size, num in trained),
        teacher=sum(num * size.item_bytes for size, num in trained if _is_backbone(size)) if with_teacher else 0,
    )


def _gathered_by_fsdp(sizes: list[_Size], computes_in: int) -> int:
    """What is in no block is there for the whole step; besides the largest table or block at work and a block on its
    way. Gradients are whole, in the dtype of the products and once more in fp32, until they are added up over ranks.
    """
    tables = TABLES if any(size.name == "backbone.lm_head.weight" for size in sizes) else ()
    root = 0
    groups: dict[str, int] = {}
    for size in sizes:
        item_bytes = min(size.item_bytes, computes_in) if "lora_" not in size.name else size.item_bytes
        num_bytes = size.num * (item_bytes + (item_bytes + FP32 if size.trains else 0))
        block = re.match(BLOCKS, size.name)
        if block or size.name in tables:
            name = block[0] if block else size.name
            groups[name] = groups.get(name, 0) + num_bytes
        else:
            root += num_bytes
    blocks = [num_bytes for name, num_bytes in groups.items() if name not in tables]
    return root + max(groups.values()) + max(blocks)


def _of_ranges(sizes: list[_Size], num_ranks: int, values: Mapping[str, Any], with_teacher: bool) -> tuple[Held, int]:
    """ZeRO-3 cuts each weight into equal flat ranges, keeps the small ones whole as well, and has fp32 masters of what
    is trained. `values`: DeepSpeed's JSON. The second number: what is put together during a step, at most."""
    zero = values["zero_optimization"]
    adds_in_fp32 = values.get("data_types", {}).get("grad_accum_dtype") == "fp32"
    threshold = zero.get("stage3_param_persistence_threshold", PERSISTENCE)
    parts = [(size, math.ceil(size.num / num_ranks)) for size in sizes]
    num_trained = sum(num for size, num in parts if size.trains)
    item_bytes = sizes[0].item_bytes
    optimized = {(_is_own(size.name), size.decays) for size in sizes if size.trains}
    kept_whole = sum(size.num * size.item_bytes for size in sizes if size.num <= threshold)
    held = Held(
        weights=sum(num for _, num in parts) * item_bytes + kept_whole + num_trained * FP32,
        gradients=num_trained * (FP32 if adds_in_fp32 else item_bytes),
        optimizer=2 * num_trained * FP32 + len(optimized) * ADAM_STEP_BYTES,
        teacher=sum(num for size, num in parts if size.trains and _is_backbone(size)) * FP32 if with_teacher else 0,
    )
    largest = max(size.num for size in sizes)
    ahead = zero.get("stage3_prefetch_bucket_size", PREFETCH)
    buckets = 2 * min(zero.get("reduce_bucket_size", BUCKET), sum(size.num for size in sizes if size.trains))
    updated = min(num_trained, zero.get("sub_group_size", SUB_GROUP))
    return held, (2 * largest + ahead + buckets) * item_bytes + updated * FP32
