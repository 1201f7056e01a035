"""Which facts stand on which picture: the whole sample before anything is drawn.

Promises of the plan, each with a test: val and test pictures show held facts only; any two pictures share at most
`MAX_SHARED` facts; at the default size every fact of a val or test picture stands in a train picture too.
"""

import random
from collections import Counter
from dataclasses import dataclass

from r3pp_core.sample.attributes import find_attribute
from r3pp_core.sample.config import SampleConfig
from r3pp_core.sample.layouts import KINDS, LAYOUTS, BlockRule, Layout
from r3pp_core.sample.world import Entity, Fact, World, build_world

MAX_SHARED = 2
SPLITS = ("train", "val", "test")
COLOURS = ("red", "blue", "green", "orange", "purple", "pink", "brown", "gray")
ICONS = ("circle", "square", "triangle", "star", "heart", "diamond")
SWITCHES = ("Wi-Fi", "Sound", "Dark mode", "Location", "Updates", "Bluetooth", "Backup", "Alerts")

_EVAL_SHARE = {"val": 0.35, "test": 0.13}
_MAX_VARIANTS = 60
_SHORTAGE = 100.0  # the cost of each thing or fact that a block lacks
_PRACTICE_SHARE = 0.25  # train pictures without held facts: whole-picture questions can be asked there


@dataclass(frozen=True)
class Row:
    """One fact as a picture shows it; rows of one thing have the same colour and icon in a list."""

    fact: Fact
    colour: str
    icon: str


@dataclass(frozen=True)
class Block:
    """Rows go thing by thing, and within one by attribute."""

    rule: BlockRule
    rows: tuple[Row, ...]

    @property
    def entities(self) -> tuple[Entity, ...]:
        return tuple(dict.fromkeys(row.fact.entity for row in self.rows))

    def rows_of(self, entity: Entity) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.fact.entity == entity)


@dataclass(frozen=True)
class Picture:
    """Everything a drawing shows; `seed` only decides ornament. `switches` are (label, is_on), `battery` percent."""

    kind: str
    number: int
    split: str
    layout: str
    blocks: tuple[Block, ...]
    colour: str
    tab: int
    clock: str
    battery: int
    switches: tuple[tuple[str, bool], ...]
    seed: int

    @property
    def facts(self) -> tuple[Fact, ...]:
        return tuple(row.fact for block in self.blocks for row in block.rows)


@dataclass(frozen=True)
class SamplePlan:
    world: World
    pictures: tuple[Picture, ...]


class _Ledger:
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


def _choose_list(ledger: _Ledger, rule: BlockRule, kind: str, role: str, taken: list[Fact]) -> list[tuple[float, list[Fact]]]:
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
    picked: list[tuple[float, list[Fact]]] = []
    for cost, facts in offers:
        chosen = taken + [fact for _, one in picked for fact in one]
        if len(picked) < size and ledger.fits(facts, chosen):
            picked.append((cost, facts))
    return picked


def _choose_detail(ledger: _Ledger, rule: BlockRule, kind: str, role: str, taken: list[Fact]) -> list[tuple[float, list[Fact]]]:
    """The best facts of the one thing that offers the cheapest set, as a list of single facts with their costs."""
    best: list[tuple[float, list[Fact]]] = []
    best_cost = float("inf")
    size = ledger.rng.randint(*rule.size)
    for entity, known in ledger.by_entity.items():
        if entity.category != rule.category or any(fact.entity == entity for fact in taken):
            continue
        facts = [known[key] for key in rule.keys if ledger.allowed(known[key], role)]
        if role == "evidence" and all(fact.held for fact in facts):
            continue
        offers = sorted(((ledger.cost(fact, kind, role), fact) for fact in facts), key=lambda offer: offer[0])
        picked: list[tuple[float, list[Fact]]] = []
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


def _choose_facts(ledger: _Ledger, layout: Layout, role: str) -> tuple[float, tuple[BlockRule, ...], list[list[Fact]]]:
    """The variant of `layout` whose facts are wanted most: its cost, its rules, its facts block by block."""
    variants = list(layout.variants)
    ledger.rng.shuffle(variants)
    best: tuple[float, tuple[BlockRule, ...], list[list[Fact]]] | None = None
    for variant in variants[:_MAX_VARIANTS]:
        taken: list[Fact] = []
        blocks: list[list[Fact]] = []
        cost = 0.0
        for rule in variant:
            choose = _choose_list if rule.pattern == "list" else _choose_detail
            picked = choose(ledger, rule, layout.kind, role, taken)
            facts = [fact for _, group in picked for fact in group]
            if len(picked) < rule.size[0]:
                cost += _SHORTAGE * (rule.size[0] - len(picked))
            cost += sum(group_cost for group_cost, _ in picked) / max(1, len(facts))
            blocks.append(facts)
            taken += facts
        if best is None or cost < best[0]:
            best = (cost, variant, blocks)
    assert best is not None, "a layout has at least one variant"
    return best


def _dress(rng: random.Random, layout: Layout, rule: BlockRule, facts: list[Fact]) -> Block:
    """Order the facts of a block and give them colours and icons, different from thing to thing.

    A grouped chart has one colour a month, a line chart one in all, a bar chart sometimes one with a single exception.
    """
    one_colour = rng.random() < 0.5
    entities = list(dict.fromkeys(fact.entity for fact in facts))
    rng.shuffle(entities)
    order = {key: i for i, key in enumerate(rule.keys)}
    facts = sorted(facts, key=lambda fact: (entities.index(fact.entity), order[fact.attribute.key]))
    colours, icons = rng.sample(COLOURS, len(COLOURS)), rng.sample(ICONS, len(ICONS))
    rows = []
    highlighted = rng.randrange(len(entities)) if entities else 0
    for i, fact in enumerate(facts):
        look = entities.index(fact.entity) if rule.pattern == "list" else i
        colour = colours[look % len(colours)]
        if layout.name == "grouped":
            colour = colours[i % len(rule.keys)]
        elif layout.name == "line":
            colour = colours[0]
        elif layout.name in ("bar", "hbar") and one_colour:
            colour = colours[1 if look == highlighted else 0]
        rows.append(Row(fact, colour, icons[look % len(icons)]))
    return Block(rule, tuple(rows))


def _finish(rng: random.Random, kind: str, split: str, layout: Layout, blocks: tuple[Block, ...]) -> Picture:
    switches = tuple((name, rng.random() < 0.5) for name in rng.sample(SWITCHES, 4))
    return Picture(
        kind=kind,
        number=0,
        split=split,
        layout=layout.name,
        blocks=blocks,
        colour=rng.choice(COLOURS[:6]),
        tab=rng.randrange(3),
        clock=f"{rng.randint(7, 22):02d}:{rng.randint(10, 59)}",
        battery=rng.randint(12, 98),
        switches=switches,
        seed=rng.randrange(2**31),
    )


def _schedule(config: SampleConfig) -> list[tuple[str, str, str]]:
    """(kind, split, role) of every picture in planning order: val and test, then their evidence, then practice."""
    counts = {"screen": config.num_screens, "chart": config.num_charts, "infographic": config.num_infographics}
    jobs: list[tuple[str, str, str]] = []
    for kind in KINDS:
        num_val = max(1, round(_EVAL_SHARE["val"] * counts[kind]))
        num_test = max(1, round(_EVAL_SHARE["test"] * counts[kind]))
        num_train = counts[kind] - num_val - num_test
        num_practice = round(_PRACTICE_SHARE * num_train)
        jobs += [(kind, "val", "eval")] * num_val + [(kind, "test", "eval")] * num_test
        jobs += [(kind, "train", "evidence")] * (num_train - num_practice) + [(kind, "train", "practice")] * num_practice
    return sorted(jobs, key=lambda job: ("eval", "evidence", "practice").index(job[2]))


def build_plan(config: SampleConfig, world: World | None = None) -> SamplePlan:
    """Place the facts of the world (by default the one of `config.seed`) on pictures; deterministic from the seed."""
    num_pictures = config.num_screens + config.num_charts + config.num_infographics
    world = world or build_world(config.seed, num_pictures)
    rng = random.Random(f"plan/{config.seed}")
    ledger = _Ledger(world, rng)
    turns: Counter[tuple[str, str]] = Counter()
    pictures: list[Picture] = []
    for kind, split, role in _schedule(config):
        layouts = LAYOUTS[kind]
        if role == "evidence":  # a series of held months would repeat a val picture
            layouts = tuple(layout for layout in layouts if layout.name != "line")
        turn = turns[kind, split + role]
        turns[kind, split + role] += 1
        offers = []
        for i in range(len(layouts)):
            layout = layouts[(turn + i) % len(layouts)]
            cost, rules, facts = _choose_facts(ledger, layout, role)
            offers.append((cost, i, layout, rules, facts))
            if cost < _SHORTAGE / 2:
                break
        _, _, layout, rules, facts = min(offers, key=lambda offer: (offer[0], offer[1]))
        ledger.note([fact for block in facts for fact in block], kind, role)
        blocks = tuple(_dress(rng, layout, rule, block) for rule, block in zip(rules, facts, strict=True))
        pictures.append(_finish(rng, kind, split, layout, blocks))
    return SamplePlan(world, _number(rng, pictures))


def _number(rng: random.Random, pictures: list[Picture]) -> tuple[Picture, ...]:
    """Shuffle the pictures within kind and split, and number them within their kind."""
    ordered: list[Picture] = []
    for kind in KINDS:
        own = [p for p in pictures if p.kind == kind]
        rng.shuffle(own)
        own.sort(key=lambda picture: SPLITS.index(picture.split))
        ordered += [Picture(**{**vars(picture), "number": i}) for i, picture in enumerate(own)]
    return tuple(ordered)
