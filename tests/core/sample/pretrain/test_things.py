"""What is said to stand somewhere does stand there."""

import io

import pytest
from PIL import Image

from r3pp_core.sample.draw import HUES
from r3pp_core.sample.drawings import draw
from r3pp_core.sample.looks import icon_order
from r3pp_core.sample.pretrain.other_worlds import build_group
from r3pp_core.sample.pretrain.things import OFF, ON, WORDS, things_on

PAGES = [page for number in range(5) for page in build_group(3, number).pages]


@pytest.fixture(scope="module")
def drawn():
    return [(page, drawing, things_on(page, drawing)) for page in PAGES for drawing in [draw(page)]]


def test_a_thing_has_its_colour_at_its_place(drawn):
    num_checked = 0
    for page, drawing, things in drawn:
        image = Image.open(io.BytesIO(drawing.png())).convert("RGB")
        for thing in things:
            for colour in set(thing.words) & set(HUES):
                pixel = image.getpixel((int(thing.x * image.width), int(thing.y * image.height)))
                assert "#{:02x}{:02x}{:02x}".format(*pixel) == HUES[colour], (page.layout, thing)
                num_checked += 1
    assert num_checked > 200


def test_every_icon_of_the_first_block_and_every_bar_is_there(drawn):
    for page, _, things in drawn:
        if page.kind == "chart":
            assert len(things) == len(page.blocks[0].rows)
        else:
            shapes = [
                word for thing in things for word in thing.words if word in {row.icon for row in page.blocks[0].rows}
            ]
            assert shapes == [row.icon for row in icon_order(page)]


def test_switches_say_whether_they_are_on(drawn):
    for page, _, things in drawn:
        said = [thing.words[0] for thing in things if thing.words[0] in (ON, OFF)]
        wanted = [ON if is_on else OFF for _, is_on in page.switches] if page.layout == "settings" else []
        assert said == wanted


def test_words_are_of_the_lesson(drawn):
    assert {word for _, _, things in drawn for thing in things for word in thing.words} <= set(WORDS)
