"""Each text operator by itself, and the text that carries its marks."""

from itertools import pairwise

import numpy as np
import pytest

from r3pp_core.corruption.draws import generator
from r3pp_core.corruption.text import LOOK_ALIKES, TEXT_OPERATORS, damage_text
from r3pp_core.corruption.words import DamagedText
from r3pp_core.errors import UsageError

LEVELS = (0.01, 0.2, 0.4, 0.6, 0.8, 1.0)
CLEAN = "\n".join(f"Total revenue of region {i} was {i * 37} million euro in 201{i}" for i in range(8))


def damaged(name: str, clean: str, level: float, key: str = "row") -> DamagedText:
    text = DamagedText(clean)
    damage_text(name, text, level, generator(0, key, 0, name))
    return text


@pytest.mark.parametrize("name", TEXT_OPERATORS)
def test_words_lost_at_a_level_are_lost_at_every_higher_level_and_more_are(name):
    for key in ("a", "b", "c"):
        lost = [damaged(name, CLEAN, level, key).touched() for level in LEVELS]
        for lower, higher in pairwise(lost):
            assert (higher | ~lower).all()
        assert lost[0].any()
        assert lost[-1].sum() > 2 * lost[0].sum()


@pytest.mark.parametrize("name", TEXT_OPERATORS)
@pytest.mark.parametrize("clean", ["x", "1", "Yes", "of", "How many?", "123 456", "--- !!!", "Ünïcode 東京"])
def test_even_a_short_text_is_always_damaged(name, clean):
    for key in "abcdefgh":
        assert damaged(name, clean, 0.01, key).render() != clean


@pytest.mark.parametrize("name", TEXT_OPERATORS)
@pytest.mark.parametrize("clean", ["", "  \n "])
def test_a_text_without_words_stays_as_it_is(name, clean):
    text = damaged(name, clean, 1.0)
    assert text.render() == clean
    assert text.intact_share() == 1.0


def test_truncation_keeps_a_beginning_of_the_text():
    words = damaged("truncation", CLEAN, 0.5).render().split()
    assert words == CLEAN.split()[: len(words)]
    assert 0 < len(words) < len(CLEAN.split())


def test_token_drop_keeps_order_and_invents_nothing():
    rest = iter(CLEAN.split())
    assert all(word in rest for word in damaged("token_drop", CLEAN, 0.5).render().split())


def test_ocr_confusion_only_puts_look_alikes():
    clean = "O0O0 l1l1 S5B8"
    confused = damaged("ocr_confusion", clean, 1.0).render()
    for before, after in zip(clean.replace(" ", ""), confused.replace(" ", ""), strict=True):
        assert after in (before, LOOK_ALIKES[before])


def test_a_text_without_marks_renders_byte_for_byte():
    odd = "  two  spaces\t tab\r\n\n\nblank lines \n"
    assert DamagedText(odd).render() == odd


def test_the_share_of_intact_words_agrees_with_a_comparison_of_the_texts():
    for name in ("token_drop", "truncation"):
        text = damaged(name, CLEAN, 0.6)
        assert text.intact_share() == pytest.approx(len(text.render().split()) / len(CLEAN.split()))
    confused = damaged("ocr_confusion", CLEAN, 0.3)
    pairs = list(zip(CLEAN.split(), confused.render().split(), strict=True))
    assert confused.intact_share() == pytest.approx(np.mean([a == b for a, b in pairs]))


def test_an_unknown_operator_is_refused_by_name():
    with pytest.raises(UsageError, match="unknown text operator 'typo'"):
        damaged("typo", CLEAN, 0.5)
