"""Cards by name: memory, compute capability, and the peak that their makers give for dense 16-bit products."""

import re
from dataclasses import dataclass, replace

from r3pp_core.errors import UsageError

GIB = 1 << 30


@dataclass(frozen=True)
class Card:
    """`memory_bytes`: what a process may use. `peak_flops`: per second, dense, in bf16 or (below 8.0) in fp16."""

    name: str
    memory_bytes: int
    capability: tuple[int, int]
    peak_flops: float


@dataclass(frozen=True)
class Cards:
    """`count` cards of one kind on one machine."""

    count: int
    card: Card

    def __str__(self) -> str:
        return f"{self.count}x {self.card.name}"


def _card(name: str, gib: float, capability: tuple[int, int], tera: float) -> Card:
    return Card(name, int(gib * GIB), capability, tera * 1e12)


# GiB as the driver reports them, a little under the number on the box; TFLOP/s from the makers' data sheets.
KNOWN = [
    _card("V100-16G", 15.8, (7, 0), 125),
    _card("V100-32G", 31.7, (7, 0), 125),
    _card("T4-16G", 14.6, (7, 5), 65),
    _card("A10-24G", 22.1, (8, 6), 125),
    _card("L4-24G", 22.0, (8, 9), 121),
    _card("RTX3090-24G", 23.6, (8, 6), 71),
    _card("RTX4090-24G", 23.6, (8, 9), 165),
    _card("A6000-48G", 47.4, (8, 6), 155),
    _card("L40S-48G", 44.4, (8, 9), 362),
    _card("A100-40G", 39.4, (8, 0), 312),
    _card("A100-80G", 79.2, (8, 0), 312),
    _card("H100-80G", 79.1, (9, 0), 989),
    _card("H200-141G", 139.7, (9, 0), 989),
    _card("B200-180G", 178.3, (10, 0), 2250),
]


def parse_cards(text: str) -> Cards:
    """`8xV100-32G` or `A100-80G`. Raises UsageError that lists the cards that are known."""
    found = re.fullmatch(r"(?:(\d+)\s*x\s*)?([A-Za-z]+\d*[A-Za-z]*-\d+G)B?", text.strip(), re.IGNORECASE)
    names = {card.name.lower(): card for card in KNOWN}
    if not found or found[2].lower() not in names or int(found[1] or 1) < 1:
        raise UsageError(f"--gpus {text!r}: give for example 8xV100-32G; known are {', '.join(c.name for c in KNOWN)}")
    return Cards(int(found[1] or 1), names[found[2].lower()])


def card_of(device_name: str, memory_bytes: int, capability: tuple[int, int]) -> Card:
    """The card of this machine, as its driver describes it; one that is not known has the peak of its nearest kin."""
    letters = re.sub(r"[^a-z0-9]", "", device_name.lower())
    named = [card for card in KNOWN if card.name.split("-")[0].lower() in letters]
    kin = named or [card for card in KNOWN if card.capability[0] == capability[0]] or KNOWN
    nearest = min(kin, key=lambda card: abs(card.memory_bytes - memory_bytes))
    return replace(nearest, name=device_name, memory_bytes=memory_bytes, capability=capability)


def present_cards() -> Cards | None:
    """The cards that this process sees, as those of its first; None where there is none."""
    import torch

    card = present_card()
    return Cards(torch.cuda.device_count(), card) if card else None


def present_card() -> Card | None:
    """The card that this process computes on, None where there is none."""
    import torch

    if not torch.cuda.is_available():
        return None
    about = torch.cuda.get_device_properties(torch.cuda.current_device())
    return card_of(about.name, about.total_memory, (about.major, about.minor))
