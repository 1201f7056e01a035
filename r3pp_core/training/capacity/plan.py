"""Whether a run fits on its cards and its disk, how long it takes, and what would make it fit."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from r3pp_core.flags import merged
from r3pp_core.model.config import R3Config
from r3pp_core.training.capacity.cards import GIB, Cards
from r3pp_core.training.capacity.memory import Demand, demand
from r3pp_core.training.capacity.workload import ASSUMED_UTILISATION
from r3pp_core.training.config import TrainConfig
from r3pp_core.training.precision import BF16_CAPABILITY, choose_precision

MIN_PIXELS = 262_144  # below, small print is not legible
LORA = "--use_lora"
MAX_CHANGES = 3
DISK_BYTES_A_SECOND = 300e6  # a plain disk; what a clean stop must have time for
MIN_STOP_GRACE_S = 60.0


@dataclass(frozen=True)
class Plan:
    """Of one run. `card_bytes` None: no card is known, so memory is told and not judged."""

    config: TrainConfig
    cards: Cards | None
    num_ranks: int
    demand: Demand
    disk_needed: int
    disk_free: int

    @property
    def memory_fits(self) -> bool:
        return self.cards is None or self.demand.total <= self.cards.card.memory_bytes

    @property
    def disk_fits(self) -> bool:
        return self.disk_needed <= self.disk_free

    @property
    def hours(self) -> float | None:
        if self.cards is None:
            return None
        speed = self.cards.card.peak_flops * ASSUMED_UTILISATION
        return self.config.max_steps * self.demand.flops_a_step / speed / 3600

    @property
    def stop_grace_s(self) -> float:
        """Time for the checkpoint that a clean stop writes, and for the step before it."""
        return MIN_STOP_GRACE_S + 2 * self.demand.checkpoint_bytes / DISK_BYTES_A_SECOND


def plan(config: TrainConfig, cards: Cards | None, r3: R3Config | None = None) -> Plan:
    """`single` uses one of the cards, the other backends all. `r3`: with the encoders' sizes, where they are known.

    Raises R3Error when the backbone is not described anywhere, UsageError for a DeepSpeed JSON that contradicts flags.
    """
    num_ranks = 1 if config.backend == "single" or cards is None else cards.count
    return plan_for(config, cards, num_ranks, r3)


def plan_for(config: TrainConfig, cards: Cards | None, num_ranks: int, r3: R3Config | None = None) -> Plan:
    """The same for a number of ranks that is known."""
    found = demand(
        config,
        r3 or config.resolved_r3(None, None),
        num_ranks,
        "cuda" if cards else "cpu",
        cards.card.capability if cards else None,
    )
    # The newest `keep`, the best, and the one that is being written; those that are there already will make room.
    present = len(list(config.run_dir.glob("step_*")))
    needed = found.checkpoint_bytes * max(1, config.keep + 2 - present)
    return Plan(config, cards, num_ranks, found, needed, _free_bytes(config.run_dir))


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def table(made: Plan) -> str:
    """The plan as lines of text."""
    found = made.demand
    rows = [
        ("weights", found.held.weights),
        ("gradients", found.held.gradients),
        ("optimizer (AdamW)", found.held.optimizer),
        ("teacher", found.held.teacher),
        ("gathered or cast weights", found.transient.gathered),
        ("activations", found.transient.activations),
        ("logits", found.transient.logits),
        ("reserve (context, fragments)", found.reserve),
        ("together", found.total),
    ]
    config = made.config
    kind = "LoRA" if config.use_lora else "all weights"
    head = f"{config.model_name}: {kind}, {config.backend}, {made.num_ranks} rank{'s' * (made.num_ranks > 1)}"
    lines = [f"memory plan of {head} (a rank):"]
    lines += [f"  {name:<30}{in_words(size):>12}" for name, size in rows]
    if made.cards:
        verdict = "fits" if made.memory_fits else "does not fit"
        lines.append(f"  {made.cards.card.name:<30}{in_words(made.cards.card.memory_bytes):>12}: {verdict}")
    disk = "fits" if made.disk_fits else "does not fit"
    lines.append(
        f"  a checkpoint {found.checkpoint_bytes / 1e9:.2f} GB; {config.keep} newest, the best and the next need "
        f"{made.disk_needed / 1e9:.1f} GB, free {made.disk_free / 1e9:.1f} GB: {disk}"
    )
    if made.hours is not None:
        lines.append(
            f"  {config.max_steps} steps of {found.flops_a_step / 1e12:.1f} TFLOP a rank: about {made.hours:.1f} h at "
            f"{ASSUMED_UTILISATION:.0%} of the card's peak (`--rehearse` measures it)"
        )
    return "\n".join(lines)


def in_words(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.2f} GiB" if num_bytes >= GIB / 10 else f"{num_bytes / (1 << 20):.2f} MiB"


def notes(made: Plan) -> list[str]:
    """What the cards do not serve as it was asked for."""
    if made.cards is None:
        return []
    note = choose_precision(made.config, "cuda", made.cards.card.capability).note
    return [note] if note else []


def remedies(made: Plan, r3: R3Config | None = None, most_bytes: int | None = None) -> list[str]:
    """What would bring the memory down to the card's (or to `most_bytes`): each single change that does, and the fewest
    together that still train all weights, where LoRA alone would do. Empty where none is known."""
    assert made.cards is not None, "without a card nothing is too large"
    wanted = most_bytes or made.cards.card.memory_bytes
    found: list[str] = []
    for number in range(1, MAX_CHANGES + 1):
        fitting = [
            " ".join(flags)
            for flags, config in _changed(made, number)
            if not (found and LORA in flags) and plan(config, made.cards, _like(r3, config)).demand.total <= wanted
        ]
        found += fitting if number == 1 else fitting[:1]
        if found and found != [LORA]:
            break
    return found


def _like(r3: R3Config | None, config: TrainConfig) -> R3Config | None:
    return None if r3 is None else config.resolved_r3(r3.text_dim, r3.image_dim)


def _changed(made: Plan, number: int) -> Iterator[tuple[list[str], TrainConfig]]:
    for chosen in combinations(_changes(made), number):
        values: dict[str, Any] = made.config.model_dump()
        for _, change in chosen:
            values = merged(values, change)
        if values["backend"] != "deepspeed":
            values["deepspeed_config"] = None
        yield [flag for flag, _ in chosen], TrainConfig.model_validate(values)


def _changes(made: Plan) -> list[tuple[str, dict[str, Any]]]:
    """In the order in which they cost least."""
    config = made.config
    found: list[tuple[str, dict[str, Any]]] = []
    assert made.cards is not None
    if not (config.bf16 or config.fp16):
        dtype = "bf16" if made.cards.card.capability >= BF16_CAPABILITY else "fp16"
        found.append((f"--{dtype}", {dtype: True}))
    if not config.gradient_checkpointing:
        found.append(("--gradient_checkpointing", {"gradient_checkpointing": True}))
    if config.batch_size > 1:
        rows = config.batch_size * config.grad_accum
        found.append((f"--batch_size 1 --grad_accum {rows}", {"batch_size": 1, "grad_accum": rows}))
    if config.backend == "single" and made.cards.count > 1:
        name = f"--backend fsdp --num_processes {made.cards.count}"
        found.append((name, {"backend": "fsdp"}))
    if config.max_pixels > MIN_PIXELS:
        half = max(MIN_PIXELS, config.max_pixels // 2)
        found.append((f"--max_pixels {half}", {"max_pixels": half}))
    if config.losses.kl:
        found.append(("--losses.kl 0", {"losses": {"kl": 0.0}}))
    if not config.use_lora:
        found.append((LORA, {"use_lora": True}))
    return found
