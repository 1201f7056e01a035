"""A picture of words says what stands in each cell, and the language model can be given it instead of a picture."""

import pytest

from r3pp_core.sample.pretrain.first_weights import COMMON, COMMON_SIZE
from r3pp_core.sample.pretrain.naming import Words
from r3pp_core.sample.pretrain.packing import NOT_KNOWN
from r3pp_core.sample.pretrain.things import WORDS, Thing, words_in_cells

THINGS = [Thing(("red", "circle", "first"), 0.1, 0.2), Thing(("blue",), 0.999, 0.999), Thing(("second",), 1.0, 1.0)]


@pytest.fixture(scope="module")
def words(random_backbone):
    return Words(random_backbone.model, random_backbone.tokenizer)


@pytest.fixture(scope="module")
def cells():
    import torch

    return torch.from_numpy(words_in_cells(THINGS, rows=2, columns=3))


def test_words_stand_in_the_cell_of_their_thing(cells):
    assert cells.shape == (6, len(WORDS))
    said = [{word for word, is_there in zip(WORDS, cell.tolist(), strict=True) if is_there} for cell in cells]
    assert said == [{"red", "circle", "first"}, set(), set(), set(), set(), {"blue", "second"}]


def test_a_picture_of_words_is_the_sum_of_their_embeddings(words, cells):
    import torch

    pictured = words.pictured(cells)
    others = [i for i in range(pictured.shape[1]) if i != COMMON]
    wanted = words.embeddings[[WORDS.index(word) for word in ("red", "circle", "first")]].sum(dim=0)
    torch.testing.assert_close(pictured[0, others], wanted[others])
    assert not pictured[1, others].any()
    assert pictured[:, COMMON].tolist() == pytest.approx([COMMON_SIZE] * 6)


def test_only_what_words_need_counts_as_distance(words, cells):
    import torch

    pictured = words.pictured(cells)
    assert float(words.distance(pictured, cells)) == pytest.approx(0, abs=1e-9)
    basis = torch.linalg.qr(words.embeddings.T)[0]
    other = torch.randn(6, pictured.shape[1], generator=torch.Generator().manual_seed(0))
    assert float(words.distance(pictured + other - other @ basis @ basis.T, cells)) == pytest.approx(0, abs=1e-6)
    unknown = torch.where(torch.arange(6)[:, None] == 1, torch.tensor(NOT_KNOWN), cells)
    unknown_given = pictured + 5 * (torch.arange(6)[:, None] == 1)
    assert float(words.distance(unknown_given, unknown)) == pytest.approx(0, abs=1e-9)
    lacking = cells.clone()
    lacking[0, WORDS.index("red")] = 0
    assert float(words.distance(words.pictured(lacking), cells)) > 1e-3
