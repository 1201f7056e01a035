"""What the backbone is shown of a page and what it is asked: context, questions, answers.

Six modes: `lookup` (no picture; names and values alone are asked), `text` (everything), `look` (the picture alone),
`words` (the same, but the picture is one of words: `naming`), `both`, and `evidence` (other pages of the group stand
beside what was read, which is badly damaged, or at times whole).
Only what the context answers is asked.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from r3pp_core.corruption.text import LOOK_ALIKES
from r3pp_core.datasets.registry import DATASETS as SPECS
from r3pp_core.model.config import PromptConfig
from r3pp_core.model.prompt import context_blocks
from r3pp_core.sample.looks import HEADER, TOP_BAR, questions_about_looks
from r3pp_core.sample.plan import Picture
from r3pp_core.sample.pretrain.other_worlds import Group
from r3pp_core.sample.pretrain.things import Thing
from r3pp_core.sample.questions import Question, every_question
from r3pp_core.sample.write import DATASETS

MODES = ("lookup", "text", "look", "words", "both", "evidence")
ALONE = ("look", "words")  # the picture without any text
MAX_QUESTIONS = 24
_LOOK_ROUNDS = 5  # each asks about one icon, one bar
_UNDAMAGED_SHARE = 0.35  # of pages with evidence: what is not needed must not distract
PROMPT = PromptConfig(max_ocr_chars=300, max_context_chars=600)
_JUNK = ("Q", "三", "■", ">", "_", "0", "=", "O")


@dataclass(frozen=True)
class Asked:
    """`kind` is what is measured by: value, name, yes_no, compare, difference, look, unanswerable."""

    text: str
    answer: str
    kind: str


@dataclass(frozen=True)
class Example:
    """`png` None: no picture is shown; else `things` are what stands on it. `context` are the prompt's blocks before
    the question."""

    png: bytes | None
    context: tuple[str, ...]
    instruction: str
    asked: tuple[Asked, ...]
    things: tuple[Thing, ...] = ()


def make_example(
    rng: random.Random,
    group: Group,
    lines_of: Mapping[int, Sequence[str]] | Sequence[Sequence[str]],
    number: int,
    mode: str,
    png: bytes | None,
    things: tuple[Thing, ...] = (),
) -> Example | None:
    """Page `number` of `group` in `mode`; None where nothing can be asked of it. `lines_of`: each page's lines."""
    picture, lines, evidence = group.pages[number], list(lines_of[number]), []
    is_damaged = mode == "evidence" and rng.random() >= _UNDAMAGED_SHARE
    if mode == "evidence":
        evidence = ["\n".join(lines_of[n]) for n in _related(rng, group, number)]
    if is_damaged:
        lose = rng.uniform(0.2, 1.0)
        lines = [line for line in lines if rng.random() > lose]
    text = None if mode in ALONE else "\n".join(_misread(rng, lines, harder=is_damaged))
    blocks = context_blocks(text, evidence, PROMPT)
    asked = _questions(rng, picture, mode, " | ".join(blocks).lower(), is_shown=png is not None)
    instruction = SPECS[DATASETS[picture.kind]].prompt
    return Example(png, tuple(blocks), instruction, tuple(asked[:MAX_QUESTIONS]), things) if asked else None


def _related(rng: random.Random, group: Group, number: int) -> list[int]:
    """One to three other pages, those that share most facts more likely, in any order."""
    others = rng.sample([n for n in range(len(group.pages)) if n != number], 6)
    own = {fact.fact_id for fact in group.pages[number].facts}
    others.sort(key=lambda n: -len(own & {fact.fact_id for fact in group.pages[n].facts}))
    chosen = others[: rng.randint(1, 3)]
    rng.shuffle(chosen)
    return chosen


def _questions(rng: random.Random, picture: Picture, mode: str, said: str, *, is_shown: bool) -> list[Asked]:
    pools = every_question(rng, picture, {fact.fact_id for fact in picture.facts})
    if mode in ALONE:
        found = _about_looks(rng, picture)
        if mode == "words":  # in which no word stands for what fills the top of the page
            found = [question for question in found if question.text not in (HEADER, TOP_BAR)]
    else:
        facts = {fact.fact_id: fact for fact in picture.facts}

        def is_said(question: Question) -> bool:
            return all(
                facts[key].plain.lower() in said and facts[key].entity.name.split()[0].lower() in said
                for key in question.fact_ids
            )

        found = [question for question in pools.direct + pools.other + pools.reasoning if is_said(question)]
        if mode == "lookup":
            found = [question for question in found if _kind(question) in ("value", "name")]
        elif mode != "evidence":
            found += pools.unanswerable if rng.random() < 0.4 else []
        if is_shown:
            found += pools.looks
    found = [question for question in found if "difference" not in question.text or rng.random() < 0.2]
    rng.shuffle(found)
    return [Asked(question.text, question.answers[0], _kind(question)) for question in found]


def _about_looks(rng: random.Random, picture: Picture) -> list[Question]:
    rounds = [
        Question(text, answers, looks=True)
        for _ in range(_LOOK_ROUNDS)
        for text, answers in questions_about_looks(rng, picture)
    ]
    return list({question.text: question for question in rounds}.values())


def _kind(question: Question) -> str:
    if not question.answerable:
        return "unanswerable"
    if question.looks:
        return "look"
    if question.answers[0] in ("Yes", "No"):
        return "yes_no"
    if "difference" in question.text or "total" in question.text:
        return "difference"
    if question.reasoning:
        return "compare"
    return "name" if question.text.startswith(("Which", "In which", "Where")) else "value"


def _misread(rng: random.Random, lines: list[str], *, harder: bool) -> list[str]:
    """What an OCR engine makes of clean lines now and then: lost spaces, look-alikes, junk for icons."""
    rate = rng.choice((0.0, 0.02, 0.1)) if harder else rng.choice((0.0, 0.0, 0.02))
    found = []
    for line in lines:
        if rng.random() < 0.03:
            line = line.replace(" ", "")
        if rate:
            line = "".join(
                LOOK_ALIKES.get(letter, "") if rng.random() < rate * (letter.isalpha() or harder) else letter
                for letter in line
            )
        found.append(line)
        if rng.random() < 0.04:
            found.append(rng.choice(_JUNK))
    return found
