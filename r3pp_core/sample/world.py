"""The world of facts: named things with attributes and values, all from one seed.

A fact is (entity, attribute, value). `held` facts are the ones that val and test may ask for: train pictures show them
(as evidence) but no train question asks for one.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain, islice

from r3pp_core.sample.attributes import CATEGORIES, MONTH_KEYS, UNITS, Attribute, attributes_of

# Letters that OCR confuses (capital I, l beside i, rn for m) are kept out of invented words.
_ONSETS = ("B", "D", "F", "G", "H", "K", "M", "N", "P", "R", "S", "T", "V", "Z", "Br", "Dr", "St", "Tr", "Gr", "Kr")
_VOWELS = ("a", "e", "o", "u")
_MIDDLES = ("d", "k", "m", "n", "p", "s", "t", "v", "z", "nd", "mb", "st", "nt", "rv", "lm", "rd", "nk")
_ENDS = ("a", "o", "en", "ar", "on", "us", "ek", "eo", "um", "et")

_NOUNS: dict[str, tuple[str, ...]] = {
    "product": ("Lamp", "Clock", "Speaker", "Radio", "Fan", "Camera", "Watch", "Tablet", "Drone", "Phone"),
    "place": ("Museum", "Park", "Tower", "Garden", "Castle", "Zoo", "Theater", "Harbor"),
    "shop": ("Books", "Bakery", "Cafe", "Market", "Toys", "Flowers", "Shoes", "Pizza"),
    "app": ("Notes", "Maps", "Music", "Chat", "Photos", "Travel", "Fitness", "Bank"),
    "town": ("Beach", "Bay", "Town", "Harbor", "Point", "Creek", "Heights", "Valley"),
}

# Entities of each category for every 100 pictures: so many that a fact stands in two to four of them.
_DENSITY = {"product": 10.0, "place": 4.6, "shop": 4.6, "app": 6.5, "town": 6.5}
_MIN_ENTITIES = 8
NUM_FIRST_WORDS = 400


@dataclass(frozen=True)
class Entity:
    category: str
    name: str


@dataclass(frozen=True)
class Fact:
    """`number` orders numeric facts (ratings in tenths, times in minutes after midnight); words have 0."""

    entity: Entity
    attribute: Attribute
    number: int
    word: str
    held: bool

    @cached_property
    def fact_id(self) -> str:
        name = self.entity.name.lower().replace(" ", "_")
        return f"{self.entity.category}:{name}:{self.attribute.key}"

    @cached_property
    def plain(self) -> str:
        """The value without its unit, as a chart prints it."""
        return plain_value(self.attribute, self.number, self.word)

    @cached_property
    def shown(self) -> str:
        """The value as a screen or an infographic prints it."""
        return UNITS[self.attribute.unit].shown.format(self.plain)

    @cached_property
    def spoken(self) -> tuple[str, ...]:
        """Every accepted way to say the value, the shown one first."""
        unit = UNITS[self.attribute.unit]
        ways = [self.shown, *(form.format(self.plain) for form in unit.accepted)]
        if self.attribute.unit == "time":
            hour, minute = divmod(self.number, 60)
            half = f"{(hour - 1) % 12 + 1}:{minute:02d} {'am' if hour < 12 else 'pm'}"
            ways += [half, f"{hour}:{minute:02d}"]
        return tuple(dict.fromkeys(ways))


@dataclass(frozen=True)
class World:
    entities: tuple[Entity, ...]
    facts: tuple[Fact, ...]


def plain_value(attribute: Attribute, number: int, word: str = "") -> str:
    """`number` in the attribute's own notation, without its unit."""
    if attribute.unit == "word":
        return word
    if attribute.unit == "time":
        return f"{number // 60:02d}:{number % 60:02d}"
    if attribute.unit == "rating":
        return f"{number // 10}.{number % 10}"
    return str(number)


def build_world(seed: int, num_pictures: int, reserved_names: frozenset[str] = frozenset()) -> World:
    """The world of `seed`, sized for `num_pictures`; deterministic, no name in `reserved_names` occurs in it.

    Worlds share their first words, their nouns and what can be said of a thing, but not the things.
    """
    rng = random.Random(f"world/{seed}")
    known = first_words()
    words = chain(rng.sample(known, len(known)), (word for word in _invent_words(rng) if word not in known))
    entities: list[Entity] = []
    facts: list[Fact] = []
    for category in CATEGORIES:
        count = max(_MIN_ENTITIES, round(_DENSITY[category] * num_pictures / 100))
        own = [Entity(category, name) for name in _names(category, count, words, reserved_names)]
        entities += own
        facts += _facts_of(own, rng)
    return World(tuple(entities), tuple(facts))


@cache
def first_words() -> tuple[str, ...]:
    """The words that names begin with, in every world: invented, no two with the same first three letters."""
    return tuple(islice(_invent_words(random.Random("first words")), NUM_FIRST_WORDS))


def nouns() -> list[str]:
    """The words that names end with."""
    return [noun for own in _NOUNS.values() for noun in own]


def _invent_words(rng: random.Random) -> Iterator[str]:
    """Endless invented words; no two share their first three letters while that is possible."""
    seen: set[str] = set()
    prefixes: set[str] = set()
    tries = 0
    while True:
        word = rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_MIDDLES) + rng.choice(_ENDS)
        tries += 1
        if word in seen or (word[:3] in prefixes and tries < 20_000):
            continue
        seen.add(word)
        prefixes.add(word[:3])
        yield word


def _names(category: str, count: int, words: Iterator[str], reserved: frozenset[str]) -> list[str]:
    """`count` names of a category, none of `reserved`: a first word each, and the category's nouns in turn."""
    names: list[str] = []
    while len(names) < count:
        nouns = _NOUNS[category]
        name = f"{next(words)} {nouns[len(names) % len(nouns)]}"
        if name not in reserved:
            names.append(name)
    return names


def _facts_of(entities: list[Entity], rng: random.Random) -> list[Fact]:
    """All facts of one category: numbers differ between entities, and half of the entities are mostly held."""
    facts: list[Fact] = []
    attributes = attributes_of(entities[0].category)
    mostly_held = {entity: i % 2 == 0 for i, entity in enumerate(rng.sample(entities, len(entities)))}
    months_held = {entity: rng.random() < (0.85 if mostly_held[entity] else 0.2) for entity in entities}
    for attribute in attributes:
        values = list(range(attribute.low, attribute.high + 1, attribute.step))
        numbers = rng.sample(values * (1 + len(entities) // len(values)), len(entities))
        for entity, number in zip(entities, numbers, strict=True):
            word = rng.choice(attribute.words) if attribute.words else ""
            held = rng.random() < (0.85 if mostly_held[entity] else 0.2)
            if attribute.key in MONTH_KEYS:
                held = months_held[entity]
            facts.append(Fact(entity, attribute, 0 if word else number, word, held))
    return facts
