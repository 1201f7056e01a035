"""The first lesson: a list of names with one attribute, as on a bar chart, and every question that it answers."""

import random

from r3pp_core.datasets.registry import DATASETS as SPECS
from r3pp_core.model.prompt import context_blocks
from r3pp_core.sample.attributes import ATTRIBUTES, UNITS
from r3pp_core.sample.pretrain.examples import PROMPT, Asked, Example
from r3pp_core.sample.pretrain.other_worlds import sample_names
from r3pp_core.sample.world import first_words, nouns, plain_value

MAX_ITEMS, MAX_QUESTIONS = 14, 36


def list_example(rng: random.Random) -> Example:
    """Two items to fourteen, each asked for in both wordings, and by its value if that is its own."""
    attribute = rng.choice(ATTRIBUTES)
    names = [_name(rng, word) for word in rng.sample(first_words(), rng.randint(2, MAX_ITEMS))]
    if attribute.words:
        values = [rng.choice(attribute.words) for _ in names]
    else:
        numbers = range(attribute.low, attribute.high + 1, attribute.step)
        unit = UNITS[attribute.unit].shown
        values = [unit.format(plain_value(attribute, rng.choice(numbers))) for _ in names]
    lines = [attribute.label, *(line for pair in zip(names, values, strict=True) for line in pair)]
    blocks = context_blocks("\n".join(lines), [], PROMPT)
    asked = []
    for name, value in zip(names, values, strict=True):
        if f"{name} | {value} |" not in f"{blocks[0]} |":
            continue  # a prompt has room for so much
        asked += [Asked(ask.format(name=name), value, "value") for ask in attribute.asks]
        if values.count(value) == 1:
            asked.append(Asked(attribute.reverse.format(x=value), name, "name"))
    rng.shuffle(asked)
    instruction = rng.choice(list(SPECS.values())).prompt
    return Example(None, tuple(blocks), instruction, tuple(asked[:MAX_QUESTIONS]))


def _name(rng: random.Random, word: str) -> str:
    """With a noun that gives no name of the sample's world."""
    while (name := f"{word} {rng.choice(nouns())}") in sample_names():
        pass
    return name
