"""Pages of other worlds: an endless seeded stream of pictures whose names never occur in the sample.

A group is a small world of its own with a dozen pages about the same few things, so that what one page says stands
on others too, as in the sample. Same seed and number: same group.
"""

import random
from dataclasses import dataclass
from functools import cache

from r3pp_core.sample.config import SampleConfig
from r3pp_core.sample.layouts import LAYOUTS, BlockRule
from r3pp_core.sample.plan import Block, Picture, dress, finish
from r3pp_core.sample.world import Entity, Fact, World, build_world

PAGES_IN_GROUP = 12
_SMALL_SHARE = 0.4  # pages with fewer things than the sample's
_KINDS = ("screen", "screen", "chart", "chart", "infographic")


@cache
def sample_names(config: SampleConfig = SampleConfig()) -> frozenset[str]:
    """Every name of the sample's own world: none occurs in another world, though first words of names are shared."""
    num_pictures = config.num_screens + config.num_charts + config.num_infographics
    return frozenset(entity.name for entity in build_world(config.seed, num_pictures).entities)


@dataclass(frozen=True)
class Group:
    world: World
    pages: tuple[Picture, ...]


def build_group(seed: int, number: int) -> Group:
    """Group `number` of the stream of `seed`."""
    rng = random.Random(f"other worlds/{seed}/{number}")
    world = build_world(rng.randrange(2**48), 1, sample_names())
    facts: dict[Entity, dict[str, Fact]] = {}
    for fact in world.facts:
        facts.setdefault(fact.entity, {})[fact.attribute.key] = fact
    return Group(world, tuple(_page(rng, facts) for _ in range(PAGES_IN_GROUP)))


def _page(rng: random.Random, facts: dict[Entity, dict[str, Fact]]) -> Picture:
    kind = rng.choice(_KINDS)
    layout = rng.choice(LAYOUTS[kind])
    rules = rng.choice(layout.variants)
    is_small = rng.random() < _SMALL_SHARE and layout.name not in ("versus", "shares", "weather")
    blocks: list[Block] = []
    taken: set[Entity] = set()
    for rule in rules:
        own = _facts_of_block(rng, rule, facts, taken, is_small)
        taken |= {fact.entity for fact in own}
        blocks.append(dress(rng, layout, rule, own))
    return finish(rng, kind, "train", layout, tuple(blocks))


def _facts_of_block(
    rng: random.Random,
    rule: BlockRule,
    facts: dict[Entity, dict[str, Fact]],
    taken: set[Entity],
    is_small: bool,
) -> list[Fact]:
    low, high = rule.size
    size = rng.randint(1 if rule.pattern == "list" else 2, high) if is_small else rng.randint(low, high)
    known = [entity for entity in facts if entity.category == rule.category and entity not in taken]
    if rule.pattern == "list":
        entities = rng.sample(known, min(size, len(known)))
        return [facts[entity][key] for entity in entities for key in rule.keys]
    entity = rng.choice(known)
    keys = rng.sample(rule.keys, min(size, len(rule.keys)))
    return [facts[entity][key] for key in keys]
