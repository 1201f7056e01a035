"""Numbers, first words and answers are what the small backbone can copy."""

import pytest

from r3pp_core.sample.tokenizer import train_tokenizer
from r3pp_core.sample.world import first_words


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["What is the price of a lamp?", "It costs 36 dollars."])


def test_a_first_word_is_one_token(tokenizer):
    assert {len(tokenizer(word)["input_ids"]) for word in first_words()} == {1}


@pytest.mark.parametrize("number", ["0", "7", "07", "36", "45", "001", "213", "999"])
def test_a_number_of_up_to_three_digits_is_one_token_besides_its_space(tokenizer, number):
    assert tokenizer.convert_ids_to_tokens(tokenizer(number)["input_ids"]) == ["Ġ", number]


def test_an_answer_has_the_tokens_that_stand_in_a_text(tokenizer):
    word = first_words()[3]
    for answer in (f"{word} lamp", "$36", "07:45"):
        text, alone = tokenizer(f"price | {answer} | more")["input_ids"], tokenizer(answer)["input_ids"]
        assert any(text[i : i + len(alone)] == alone for i in range(len(text)))
        assert tokenizer.decode(alone) == answer
