"""The stream shows other worlds: nothing that the sample asks for ever occurs in it."""

import random

import pytest

from r3pp_core.sample.config import SampleConfig
from r3pp_core.sample.drawings import draw
from r3pp_core.sample.looks import ORDINALS
from r3pp_core.sample.plan import COLOURS, ICONS, build_plan
from r3pp_core.sample.pretrain import train
from r3pp_core.sample.pretrain.config import PretrainConfig
from r3pp_core.sample.pretrain.examples import ALONE, MODES, Example, make_example
from r3pp_core.sample.pretrain.lists import list_example
from r3pp_core.sample.pretrain.other_worlds import build_group, sample_names
from r3pp_core.sample.pretrain.printed import in_reading_order, printed_lines
from r3pp_core.sample.pretrain.things import things_on


def test_no_name_of_the_sample_occurs_in_another_world():
    names = {entity.name for entity in build_plan(SampleConfig()).world.entities}
    assert names == sample_names()
    for number in range(300):
        assert not names & {entity.name for entity in build_group(1, number).world.entities}


def told(example: Example | None) -> str:
    """All that an example says, on one line, in lower case."""
    asked = [part for one in example.asked for part in (one.text, one.answer)] if example else []
    return " | ".join([*(example.context if example else ()), *asked]).lower()


def names_of_the_sample_in(read: str) -> list[str]:
    return [name for name in sample_names() if name.lower() in read]


def test_no_name_of_the_sample_occurs_in_what_the_tokenizer_reads(monkeypatch):
    monkeypatch.setattr(train, "_NUM_TOKENIZER_GROUPS", 130)
    assert names_of_the_sample_in(" ".join(train.tokenizer_texts(1)).lower()) == []


def test_no_name_of_the_sample_occurs_in_the_first_lesson():
    """The very lists of the packaged backbone."""
    config = PretrainConfig()
    for step in range(config.list_steps):
        rng = random.Random(f"{config.seed}/list/{step}")
        for _ in range(config.pages):
            assert names_of_the_sample_in(told(list_example(rng))) == []


@pytest.mark.parametrize("mode", MODES)
def test_no_name_of_the_sample_occurs_on_a_page(mode):
    rng, num_read = random.Random(5), 0
    for number in range(10**9, 10**9 + 40):
        group = build_group(1, number)
        lines = [printed_lines(rng, page) for page in group.pages]
        for page in range(len(group.pages)):
            read = told(make_example(rng, group, lines, page, mode, None))
            num_read += bool(read)
            assert names_of_the_sample_in(read) == []
    assert num_read > 300


def test_a_group_depends_on_seed_and_number_alone():
    assert build_group(1, 5) == build_group(1, 5)
    assert build_group(1, 5) != build_group(1, 6)
    assert build_group(1, 5) != build_group(2, 5)


def test_pages_of_a_group_say_the_same_of_the_same_things():
    group = build_group(1, 0)
    said: dict[str, set[str]] = {}
    for page in group.pages:
        for fact in page.facts:
            said.setdefault(fact.fact_id, set()).add(fact.shown)
    assert all(len(values) == 1 for values in said.values())
    assert len(said) < sum(len(page.facts) for page in group.pages)


@pytest.mark.parametrize("kind", ["screen", "infographic"])
def test_lines_without_a_drawing_are_those_of_the_drawing(kind):
    pages = [page for number in range(3) for page in build_group(1, number).pages if page.kind == kind]
    for page in pages[:6]:
        assert printed_lines(random.Random(0), page) == in_reading_order(draw(page).printed())


def test_the_lines_of_a_chart_say_what_its_drawing_says():
    pages = [page for number in range(6) for page in build_group(1, number).pages if page.kind == "chart"]
    for page in {page.layout: page for page in pages}.values():
        lines, drawn = printed_lines(random.Random(0), page), in_reading_order(draw(page).printed())
        wanted = {text for fact in page.facts for text in (fact.entity.name, fact.plain)}
        if page.layout == "line":
            wanted = {fact.plain for fact in page.facts}
        assert wanted <= set(lines)
        assert wanted <= set(drawn)
        assert abs(len(lines) - len(drawn)) <= 4


@pytest.mark.parametrize("mode", MODES)
def test_what_is_asked_stands_in_what_is_shown(mode):
    rng, num_asked = random.Random(3), 0
    for number in range(20):
        group = build_group(1, number)
        lines = [printed_lines(rng, page) for page in group.pages]
        example = make_example(rng, group, lines, number % 12, mode, b"png" if mode in (*ALONE, "both") else None)
        for asked in example.asked if example else ():
            num_asked += 1
            assert (asked.kind == "look") <= (mode in (*ALONE, "both"))
            if asked.kind in ("name", "value"):
                shown = " ".join(example.context).replace(" ", "").lower()
                assert asked.answer.split()[0].lower() in shown
    assert num_asked > 50


def test_a_picture_of_words_holds_every_word_that_it_is_asked_for():
    rng, num_asked = random.Random(4), 0
    for number in range(3):
        group = build_group(1, number)
        for page, picture in enumerate(group.pages):
            things = tuple(things_on(picture, draw(picture)))
            example = make_example(rng, group, [[]] * len(group.pages), page, "words", b"png", things)
            said = {word for thing in things for word in thing.words}
            for asked in example.asked if example else ():
                if asked.answer in (*COLOURS, *ICONS, *ORDINALS):
                    num_asked += 1
                    assert asked.answer in said, (picture.layout, asked)
    assert num_asked > 100


def test_a_list_says_every_answer_that_it_is_asked_for():
    for number in range(50):
        example = list_example(random.Random(number))
        said = " ".join(example.context)
        assert example.png is None
        assert all(asked.answer in said for asked in example.asked)
        assert {asked.kind for asked in example.asked} <= {"value", "name"}
        names = [asked.answer for asked in example.asked if asked.kind == "name"]
        assert len(names) == len(set(names))
