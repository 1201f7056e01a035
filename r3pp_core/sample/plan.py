"""Which facts stand on which picture: the whole sample before anything is drawn.

Promises of the plan, each with a test: val and test pictures show held facts only; any two pictures share at most
`placement.MAX_SHARED` facts; at the default size nearly every fact of val and test stands in a train picture too.
"""

import random
from collections import Counter
from dataclasses import dataclass, replace

from r3pp_core.sample.config import SampleConfig
from r3pp_core.sample.layouts import KINDS, LAYOUTS, BlockRule, Layout
from r3pp_core.sample.placement import SHORTAGE, Ledger, choose_facts
from r3pp_core.sample.world import Entity, Fact, World, build_world

SPLITS = ("train", "val", "test")
COLOURS = ("red", "blue", "green", "orange", "purple", "pink", "brown", "gray")
ICONS = ("circle", "square", "triangle", "star", "heart", "diamond")
SWITCHES = ("Wi-Fi", "Sound", "Dark mode", "Location", "Updates", "Bluetooth", "Backup", "Alerts")

_EVAL_SHARE = {"val": 0.35, "test": 0.13}
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


def dress(rng: random.Random, layout: Layout, rule: BlockRule, facts: list[Fact]) -> Block:
    """Order the facts of a block and give them colours and icons, different from thing to thing.

    A grouped chart has one colour a month, a line chart one in all, horizontal bars sometimes one with one exception.
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
        elif layout.name == "hbar" and one_colour:
            colour = colours[1 if look == highlighted else 0]
        rows.append(Row(fact, colour, icons[look % len(icons)]))
    return Block(rule, tuple(rows))


def finish(rng: random.Random, kind: str, split: str, layout: Layout, blocks: tuple[Block, ...]) -> Picture:
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
        jobs += [(kind, "train", "evidence")] * (num_train - num_practice) + [
            (kind, "train", "practice")
        ] * num_practice
    return sorted(jobs, key=lambda job: ("eval", "evidence", "practice").index(job[2]))


def _choose_layout(
    ledger: Ledger, layouts: tuple[Layout, ...], turn: int, role: str
) -> tuple[Layout, tuple[BlockRule, ...], list[list[Fact]]]:
    """The layout whose turn it is or the next that can be filled; if none can, the one that lacks least."""
    best: tuple[float, Layout, tuple[BlockRule, ...], list[list[Fact]]] | None = None
    for i in range(len(layouts)):
        layout = layouts[(turn + i) % len(layouts)]
        cost, rules, facts = choose_facts(ledger, layout, role)
        if best is None or cost < best[0]:
            best = (cost, layout, rules, facts)
        if cost < SHORTAGE / 2:
            break
    assert best is not None, "every kind has layouts"
    return best[1:]


def build_plan(config: SampleConfig, world: World | None = None) -> SamplePlan:
    """Place the facts of the world (by default the one of `config.seed`) on pictures; deterministic from the seed."""
    num_pictures = config.num_screens + config.num_charts + config.num_infographics
    world = world or build_world(config.seed, num_pictures)
    rng = random.Random(f"plan/{config.seed}")
    ledger = Ledger(world, rng)
    turns: Counter[tuple[str, str]] = Counter()
    pictures: list[Picture] = []
    for kind, split, role in _schedule(config):
        layouts = LAYOUTS[kind]
        if role == "evidence":  # a series of held months would repeat a val picture
            layouts = tuple(layout for layout in layouts if layout.name != "line")
        layout, rules, facts = _choose_layout(ledger, layouts, turns[kind, split + role], role)
        turns[kind, split + role] += 1
        ledger.note([fact for block in facts for fact in block], kind, role)
        blocks = tuple(dress(rng, layout, rule, block) for rule, block in zip(rules, facts, strict=True))
        pictures.append(finish(rng, kind, split, layout, blocks))
    return SamplePlan(world, _number(rng, pictures))


def _number(rng: random.Random, pictures: list[Picture]) -> tuple[Picture, ...]:
    """Shuffle the pictures within kind and split, and number them within their kind."""
    ordered: list[Picture] = []
    for kind in KINDS:
        own = [p for p in pictures if p.kind == kind]
        rng.shuffle(own)
        own.sort(key=lambda picture: SPLITS.index(picture.split))
        ordered += [replace(picture, number=i) for i, picture in enumerate(own)]
    return tuple(ordered)
