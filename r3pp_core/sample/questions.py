"""Questions about a picture, with every accepted answer and the facts that each one needs.

A train picture is asked about free facts only, a val or test picture about held ones that a train picture shows too;
questions that the pixels alone answer (colours, icons, switches, positions) need no fact.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from r3pp_core.sample.attributes import UNITS
from r3pp_core.sample.looks import questions_about_looks
from r3pp_core.sample.plan import Block, Picture, Row, SamplePlan
from r3pp_core.sample.world import Fact, plain_value

NO_ANSWER = "<no answer>"
YES, NO = ("Yes",), ("No",)
_NUM_QUESTIONS = {"train": 14, "val": 17, "test": 17}
_MIN_EVIDENCED = 4

# Things no picture of the world ever says, so that neither the screen nor any evidence answers.
_NEVER_SAID = (
    "What is the phone number of {name}?",
    "Who owns {name}?",
    "What is the email address of {name}?",
    "In which year did {name} start?",
    "Who recommended {name}?",
    "What is the discount code for {name}?",
)


@dataclass(frozen=True)
class Question:
    """`reasoning` marks comparisons and arithmetic over what is shown; `looks` what only the pixels answer."""

    text: str
    answers: tuple[str, ...]
    fact_ids: tuple[str, ...] = ()
    reasoning: bool = False
    looks: bool = False

    @property
    def answerable(self) -> bool:
        return self.answers != (NO_ANSWER,)


def ask_about(plan: SamplePlan) -> Iterator[tuple[Picture, tuple[Question, ...]]]:
    """Each picture of the plan with its questions; deterministic from the pictures' own seeds."""
    evidenced = {fact.fact_id for p in plan.pictures if p.split == "train" for fact in p.facts}
    for picture in plan.pictures:
        yield picture, _choose_questions(picture, _askable(picture, evidenced))


def _askable(picture: Picture, evidenced: set[str]) -> set[str]:
    """The facts that questions of this picture may need."""
    if picture.split == "train":
        return {fact.fact_id for fact in picture.facts if not fact.held}
    known = {fact.fact_id for fact in picture.facts if fact.fact_id in evidenced}
    return known if len(known) >= _MIN_EVIDENCED else {fact.fact_id for fact in picture.facts}


def _choose_questions(picture: Picture, askable: set[str]) -> tuple[Question, ...]:
    """A mix: each fact asked once, some reasoning, some looks, the rest other ways to ask for the same facts."""
    rng = random.Random(f"questions/{picture.seed}")
    pools = every_question(rng, picture, askable)
    chosen = pools.direct[:8] + pools.reasoning[:4] + pools.looks[:3] + pools.unanswerable
    rest = pools.other + pools.looks[3:]
    chosen += rest[: max(0, _NUM_QUESTIONS[picture.split] - len(chosen))]
    rng.shuffle(chosen)
    return tuple({question.text: question for question in chosen}.values())


@dataclass(frozen=True)
class Pools:
    """Everything that can be asked about a picture, each pool in random order."""

    direct: list[Question]
    other: list[Question]
    reasoning: list[Question]
    looks: list[Question]
    unanswerable: list[Question]


def every_question(rng: random.Random, picture: Picture, askable: set[str]) -> Pools:
    """The questions about `picture` whose facts are all in `askable`; wordings and limits are drawn."""
    rows = [row for block in picture.blocks for row in block.rows if row.fact.fact_id in askable]
    direct = [_ask_value(rng, picture, row.fact) for row in rows]
    other = [q for row in rows for q in _ask_otherwise(rng, picture, row, direct)]
    reasoning = [q for block in picture.blocks for q in _ask_reasoning(rng, picture, block, askable)]
    looks = [Question(text, answers, looks=True) for text, answers in questions_about_looks(rng, picture)]
    for pool in (direct, other, reasoning, looks):
        rng.shuffle(pool)
    never = []
    if picture.kind == "screen":
        name = rng.choice(picture.facts).entity.name
        never = [Question(rng.choice(_NEVER_SAID).format(name=name), (NO_ANSWER,))]
    return Pools(direct, other, reasoning, looks, never)


def _say(picture: Picture, fact: Fact) -> tuple[str, ...]:
    """The accepted answers for a value; a chart's first one is the bare number that it prints."""
    ways = (fact.plain, *fact.spoken) if picture.kind == "chart" else fact.spoken
    return tuple(dict.fromkeys(ways))


def _ask_value(rng: random.Random, picture: Picture, fact: Fact) -> Question:
    text = rng.choice(fact.attribute.asks).format(name=fact.entity.name)
    return Question(text, _say(picture, fact), (fact.fact_id,))


def _ask_otherwise(rng: random.Random, picture: Picture, row: Row, asked: list[Question]) -> list[Question]:
    """The other wording, a yes/no question, and the name for a value where the picture shows that value once."""
    fact = row.fact
    known = {question.text for question in asked}
    texts = [ask.format(name=fact.entity.name) for ask in fact.attribute.asks]
    found = [Question(text, _say(picture, fact), (fact.fact_id,)) for text in texts if text not in known]
    found.append(_ask_yes_no(rng, fact))
    same = [f for f in picture.facts if f.attribute == fact.attribute]
    if len(same) > 1 and sum(f.shown == fact.shown for f in same) == 1:
        text = fact.attribute.reverse.format(x=fact.shown)
        found.append(Question(text, (fact.entity.name,), (fact.fact_id,)))
    return found


def _ask_yes_no(rng: random.Random, fact: Fact) -> Question:
    attribute = fact.attribute
    if attribute.words:
        yes = rng.random() < 0.5
        word = fact.word if yes else rng.choice([w for w in attribute.words if w != fact.word])
        return Question(attribute.over.format(name=fact.entity.name, x=word), YES if yes else NO, (fact.fact_id,))
    span = max(
        attribute.step,
        round((attribute.high - attribute.low) * rng.uniform(0.08, 0.25) / attribute.step) * attribute.step,
    )
    yes = rng.random() < 0.5
    limit = fact.number - span if yes else fact.number + span
    top = {"rating": 50, "percent": 100}.get(attribute.unit, 2 * attribute.high)
    if not 0 < limit < top:
        yes = not yes
        limit = fact.number - span if yes else fact.number + span
    shown = UNITS[attribute.unit].shown.format(plain_value(attribute, limit))
    return Question(attribute.over.format(name=fact.entity.name, x=shown), YES if yes else NO, (fact.fact_id,))


def _ask_reasoning(rng: random.Random, picture: Picture, block: Block, askable: set[str]) -> list[Question]:
    """Comparisons, extremes and differences over the rows of a block whose facts may all be asked."""
    found: list[Question] = []
    if block.rule.pattern == "detail":
        return _ask_months(rng, block, askable) if picture.layout == "line" else []
    for key in block.rule.keys:
        facts = [row.fact for row in block.rows if row.fact.attribute.key == key]
        free = [fact for fact in facts if fact.fact_id in askable]
        if not facts[0].attribute.versus:
            continue
        if len(free) > 1:
            a, b = rng.sample(free, 2)
            found += _compare(a, b)
        if len(free) == len(facts) > 2:
            found += _extremes(facts)
    if picture.layout == "cart" and all(row.fact.fact_id in askable for row in block.rows):
        total = str(sum(row.fact.number for row in block.rows))
        ids = tuple(row.fact.fact_id for row in block.rows)
        found.append(Question("What is the total of the cart?", (f"${total}", f"{total} dollars", total), ids, True))
    return found


def _compare(a: Fact, b: Fact) -> list[Question]:
    if a.number == b.number:
        return []
    attribute, ids = a.attribute, (a.fact_id, b.fact_id)
    larger = max(a, b, key=lambda fact: fact.number)
    gap = plain_value(attribute, abs(a.number - b.number))
    text = f"What is the difference in {attribute.label.lower()} between {a.entity.name} and {b.entity.name}?"
    if " in " in attribute.label:
        noun, month = attribute.label.lower().split(" in ")
        text = f"What is the difference in {noun} between {a.entity.name} and {b.entity.name} in {month.capitalize()}?"
    answers = (gap, UNITS[attribute.unit].shown.format(gap))
    return [
        Question(attribute.versus.format(a=a.entity.name, b=b.entity.name), (larger.entity.name,), ids, True),
        Question(text, tuple(dict.fromkeys(answers)), ids, True),
    ]


def _extremes(facts: list[Fact]) -> list[Question]:
    ids = tuple(fact.fact_id for fact in facts)
    choices: tuple[tuple[Callable[..., Fact], str], ...] = (
        (max, facts[0].attribute.most),
        (min, facts[0].attribute.least),
    )
    found = []
    for choose, text in choices:
        best = choose(facts, key=lambda fact: fact.number)
        if sum(fact.number == best.number for fact in facts) == 1:
            found.append(Question(text, (best.entity.name,), ids, True))
    return found


def _ask_months(rng: random.Random, block: Block, askable: set[str]) -> list[Question]:
    """Extremes and one comparison over the months of one thing's line."""
    facts = [row.fact for row in block.rows]
    if (
        any(fact.fact_id not in askable for fact in facts)
        or len({fact.number for fact in facts}) < len(facts)
        or len(facts) < 2
    ):
        return []
    name = facts[0].entity.name
    noun = facts[0].attribute.label.split()[0].lower()
    months = {fact.fact_id: fact.attribute.label.split()[-1] for fact in facts}
    ids = tuple(fact.fact_id for fact in facts)
    high, low = max(facts, key=lambda f: f.number), min(facts, key=lambda f: f.number)
    a, b = rng.sample(facts, 2)
    more = max(a, b, key=lambda fact: fact.number)
    pair = f"{months[a.fact_id]} or {months[b.fact_id]}"
    return [
        Question(f"In which month did {name} have the most {noun}?", _month(months[high.fact_id]), ids, True),
        Question(f"In which month did {name} have the fewest {noun}?", _month(months[low.fact_id]), ids, True),
        Question(f"Did {name} have more {noun} in {pair}?", _month(months[more.fact_id]), (a.fact_id, b.fact_id), True),
    ]


def _month(name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((name, name[:3])))
