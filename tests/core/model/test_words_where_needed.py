"""Evidence as words only where the own text is not trusted: by the truth in training, by the head elsewhere."""

from dataclasses import replace

import pytest
import torch  # noqa: TID253 - what is tested here is torch
from prepared_rows import prepared_row

from r3pp_core.model.collation import collate, evidence_batch
from r3pp_core.model.config import ARMS, PromptConfig
from r3pp_core.model.preparation import Preparation
from r3pp_core.training.batches import Batcher

C_TEXT = (0.2, 0.5, 0.9)


def rows_of(model):
    rows = [prepared_row(model.image_processor, number, pseudo_text="read") for number in range(len(C_TEXT))]
    return [replace(row, damaged=replace(row.damaged, c_text=c)) for row, c in zip(rows, C_TEXT, strict=True)]


@pytest.fixture(scope="module")
def trusting(new_model):
    return new_model(words_below=0.5)


def said(model, batch) -> list[bool]:
    """Whether each row's prompt holds its best evidence."""
    found = {row.row_id: row.evidence.text.texts[0] for row in rows_of(model)}
    texts = model.tokenizer.batch_decode(batch.input_ids)
    return [found[row_id] in text for row_id, text in zip(batch.row_ids, texts, strict=True)]


def batch_of(model, rows, arm="r3"):
    return collate(model.words_by_trust(rows, ARMS[arm]), model.tokenizer, model.config, arm=ARMS[arm])


def state(model, monkeypatch, c_text):
    """Let the head state these, whatever it sees."""
    stated = torch.tensor([[0.5, c] for c in c_text])
    monkeypatch.setattr(model.reconstruction, "stated_confidence", lambda evidence: stated)


def test_rows_whose_own_text_is_trusted_have_no_words(trusting, monkeypatch):
    state(trusting, monkeypatch, (0.9, 0.49, 0.5))
    assert said(trusting, batch_of(trusting, rows_of(trusting))) == [False, True, False]


def test_what_is_trusted_is_what_the_head_states_and_never_the_truth(trusting):
    rows = rows_of(trusting)
    others = [replace(row, damaged=replace(row.damaged, c_text=1 - row.damaged.c_text)) for row in rows]
    assert torch.equal(batch_of(trusting, rows).input_ids, batch_of(trusting, others).input_ids)


def test_by_default_and_without_confidence_all_rows_have_their_words(model, trusting, new_model, monkeypatch):
    for one, arm in ((model, "r3"), (trusting, "r3-no_confidence")):
        monkeypatch.setattr(one.reconstruction, "stated_confidence", None)
        assert said(one, batch_of(one, rows_of(one), arm)) == [True] * 3
    without = new_model(words_below=0.5, use_confidence=False)
    assert said(without, batch_of(without, rows_of(without))) == [True] * 3


def test_soft_tokens_are_there_with_and_without_words(trusting, monkeypatch):
    rows = rows_of(trusting)
    state(trusting, monkeypatch, (0.9, 0.9, 0.9))
    without = batch_of(trusting, rows)
    state(trusting, monkeypatch, (0.1, 0.1, 0.1))
    given = batch_of(trusting, rows)
    placeholders = [(one.input_ids == trusting.placeholder_id).sum(dim=1) for one in (without, given)]
    assert torch.equal(*placeholders)
    assert torch.equal(without.evidence.text_vectors, given.evidence.text_vectors)


def test_a_row_without_a_text_of_its_own_in_the_prompt_has_its_words(trusting, new_model, monkeypatch):
    """Nothing to trust: none was read, or none is shown."""
    unread = [replace(row, damaged=replace(row.damaged, pseudo_text=" ")) for row in rows_of(trusting)]
    state(trusting, monkeypatch, (0.9, 0.9, 0.9))
    assert said(trusting, batch_of(trusting, unread)) == [True] * 3
    unshown = new_model(words_below=0.5, prompt=PromptConfig(max_ocr_chars=0))
    state(unshown, monkeypatch, (0.9, 0.9, 0.9))
    assert said(unshown, batch_of(unshown, rows_of(unshown))) == [True] * 3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_head_states_before_the_prompt_what_it_states_beside_the_answer(new_model, dtype):
    model = new_model(dtype=dtype, words_below=0.5)
    model.reconstruction.to(getattr(torch, dtype))
    evidence = evidence_batch(rows_of(model), model.config, ARMS["r3"])
    with torch.no_grad():
        before = model.reconstruction.stated_confidence(evidence)
        assert torch.equal(before, model.reconstruction(evidence).confidence)


def test_training_goes_by_the_truth(trusting, new_model):
    def trained_with(model, **settings):
        step = Batcher(model, 3, 4096).step(Preparation(rows_of(model), []), **settings)
        found = dict(zip(step.batches[0].row_ids, said(model, step.batches[0]), strict=True))
        return [found[row.row_id] for row in rows_of(model)]

    assert trained_with(trusting) == [True, False, False]
    assert trained_with(trusting, all_words=True) == [True] * 3, "for a rehearsal, whose rows are to be the longest"
    assert trained_with(new_model()) == [True] * 3
    assert trained_with(new_model(words_below=0.5, use_confidence=False)) == [True] * 3
