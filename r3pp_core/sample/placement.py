"""Choosing the facts of one picture after another, so that facts recur and no two pictures share many.

A picture has a role: `eval` (val and test: held facts only), `evidence` (train: held facts that val or test shows,
beside free ones that train may ask for) or `practice` (train: free facts only).
"""

import random
from collections import Counter

from r3pp_core.sample.layouts import BlockRule, Layout, Variant
from r3pp_core.sample.world import Entity, Fact, World

MAX_SHARED = 2  # facts that any two pictures may have in common
SHORTAGE = 100.0  # the cost of each thing or fact that a block lacks
_MAX_VARIANTS = 60

Offers = list[tuple[float, list[Fact]]]  # (cost, facts that go together)
Choice = tuple[float, Variant, list[list[Fact]]]  # (cost, rules, the facts of each block)


class Ledger:
    """How often each fact has been placed, and which pictures hold it."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.rng = rng
        self.by_entity: dict[Entity, dict[str, Fact]] = {}
        for fact in world.facts:
            self.by_entity.setdefault(fact.entity, {})[fact.attribute.key] = fact
        self.holders: dict[str, list[int]] = {}
        self.in_eval: Counter[str] = Counter()
        self.in_train: Counter[str] = Counter()
        self.in_kind: Counter[tuple[str, str, bool]] = Counter()
        self.num_pictures = 0

    def note(self, facts: list[Fact], kind: str, role: str) -> None:
        for fact in facts:
            self.holders.setdefault(fact.fact_id, []).append(self.num_pictures)
            (self.in_eval if role == "eval" else self.in_train)[fact.fact_id] += 1
            self.in_kind[fact.fact_id, kind, role == "eval"] += 1
        self.num_pictures += 1

    def allowed(self, fact: Fact, role: str) -> bool:
        if role == "eval":
            return fact.held
        if role == "practice":
            return not fact.held
        return not fact.held or self.in_eval[fact.fact_id] > 0

    def cost(self, fact: Fact, kind: str, role: str) -> float:
        """Low where the fact is wanted: few copies so far, and none in this kind of picture."""
        same_kind = self.in_kind[fact.fact_id, kind, role == "eval"]
        noise = self.rng.random()
        if role == "eval":
            copies = self.in_eval[fact.fact_id]
            return noise + 2 * same_kind + (3 if copies > 2 else -0.7 * copies)
        copies = self.in_train[fact.fact_id]
        wanted = (-9.0, -1.5, 0.5)[min(copies, 2)] if fact.held else (-1.0, -0.5, 0.5)[min(copies, 2)]
        return noise + same_kind + wanted + 0.5 * max(0, copies - 2)

    def fits(self, new: list[Fact], chosen: list[Fact]) -> bool:
        """Whether `chosen` plus `new` still shares at most MAX_SHARED facts with every earlier picture."""
        overlap = Counter(holder for fact in [*chosen, *new] for holder in self.holders.get(fact.fact_id, ()))
        return not overlap or max(overlap.values()) <= MAX_SHARED


def _choose_list(ledger: Ledger, rule: BlockRule, kind: str, role: str, taken: list[Fact]) -> Offers:
    """The best things for a list block, each with its cost; fewer than the rule wants when there are no more."""
    offers = []
    for entity, known in ledger.by_entity.items():
        if entity.category != rule.category or any(fact.entity == entity for fact in taken):
            continue
        facts = [known[key] for key in rule.keys]
        if all(ledger.allowed(fact, role) for fact in facts):
            offers.append((sum(ledger.cost(fact, kind, role) for fact in facts), facts))
    offers.sort(key=lambda offer: offer[0])
    if role == "evidence":  # at least two facts that train may ask for come first
        num_free = 2 if len(rule.keys) == 1 else 1
        free = [offer for offer in offers if not any(fact.held for fact in offer[1])][:num_free]
        offers = free + [offer for offer in offers if offer not in free]
    size = ledger.rng.randint(*rule.size)
    picked: Offers = []
    for cost, facts in offers:
        chosen = taken + [fact for _, one in picked for fact in one]
        if len(picked) < size and ledger.fits(facts, chosen):
            picked.append((cost, facts))
    return picked


def _choose_detail(ledger: Ledger, rule: BlockRule, kind: str, role: str, taken: list[Fact]) -> Offers:
    """The best facts of the one thing that offers the cheapest set, as a list of single facts with their costs."""
    best: Offers = []
    best_cost = float("inf")
    size = ledger.rng.randint(*rule.size)
    for entity, known in ledger.by_entity.items():
        if entity.category != rule.category or any(fact.entity == entity for fact in taken):
            continue
        facts = [known[key] for key in rule.keys if ledger.allowed(known[key], role)]
        if role == "evidence" and all(fact.held for fact in facts):
            continue
        offers = sorted(((ledger.cost(fact, kind, role), fact) for fact in facts), key=lambda offer: offer[0])
        picked: Offers = []
        num_held, max_held = 0, size - (2 if size > 3 else 1)
        for cost, fact in offers:
            if len(picked) == size or (role == "evidence" and fact.held and num_held >= max_held):
                continue
            if ledger.fits([fact], taken + [one for _, group in picked for one in group]):
                picked.append((cost, [fact]))
                num_held += fact.held
        total = sum(cost for cost, _ in picked) / max(1, len(picked)) - len(picked)
        if len(picked) >= rule.size[0] and total < best_cost:
            best, best_cost = picked, total
    return best


def choose_facts(ledger: Ledger, layout: Layout, role: str) -> Choice:
    """The variant of `layout` whose facts are wanted most: its cost, its rules, its facts block by block."""
    variants = list(layout.variants)
    ledger.rng.shuffle(variants)
    best: Choice | None = None
    for variant in variants[:_MAX_VARIANTS]:
        taken: list[Fact] = []
        blocks: list[list[Fact]] = []
        cost = 0.0
        for rule in variant:
            choose = _choose_list if rule.pattern == "list" else _choose_detail
            picked = choose(ledger, rule, layout.kind, role, taken)
            facts = [fact for _, group in picked for fact in group]
            if len(picked) < rule.size[0]:
                cost += SHORTAGE * (rule.size[0] - len(picked))
            cost += sum(group_cost for group_cost, _ in picked) / max(1, len(facts))
            blocks.append(facts)
            taken += facts
        if best is None or cost < best[0]:
            best = (cost, variant, blocks)
    assert best is not None, "a layout has at least one variant"
    return best
