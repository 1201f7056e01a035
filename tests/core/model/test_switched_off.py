"""Parts of a trained model that are switched off: what remains is what the model would be without them."""

from dataclasses import replace

import pytest
import torch  # noqa: TID253 - what is tested here is torch
from prepared_rows import prepared_row

from r3pp_core.model.collation import collate
from r3pp_core.model.config import ARMS, PARTS

HITS = ((3, 3), (0, 2), (3, 0))


def rows_for(model):
    return [
        prepared_row(model.image_processor, number, hits=hits, pseudo_text="read") for number, hits in enumerate(HITS)
    ]


@pytest.fixture(scope="module")
def batch(model):
    return collate(rows_for(model), model.tokenizer, model.config)


def made(model, batch, *parts):
    with torch.no_grad():
        return model.reconstruction(batch.evidence, off=frozenset(parts))


@pytest.mark.parametrize("part", ["prefix", "visual_memory", "latents"])
def test_a_group_of_tokens_is_masked_and_the_others_stay(model, batch, part):
    config = model.config
    sizes = [config.num_text_tokens, config.num_image_tokens, config.num_latent_tokens]
    own = ["prefix", "visual_memory", "latents"].index(part)
    first = sum(sizes[:own])
    whole, without = made(model, batch), made(model, batch, part)
    expected = whole.token_mask.clone()
    assert expected[:, first : first + sizes[own]].any()
    expected[:, first : first + sizes[own]] = False
    assert torch.equal(without.token_mask, expected)
    assert torch.equal(without.tokens, whole.tokens)
    assert torch.equal(without.gate, whole.gate)


def test_a_group_of_little_weight_is_masked_row_by_row(new_model, batch):
    """Its tokens would be little but the null, which a backbone that reads has no use for either."""
    whole = made(new_model(), batch)
    weights = torch.stack([whole.gate[:, 0], whole.gate[:, 1], 1 - whole.confidence[:, 0]], dim=1)
    threshold = float(weights[0].sort().values[1]) + 1e-4  # above two of the first row's three
    masked = made(new_model(tokens_from=threshold), batch)
    config = new_model().config
    sizes = torch.tensor([config.num_text_tokens, config.num_image_tokens, config.num_latent_tokens])
    enough = (weights >= threshold).repeat_interleave(sizes, dim=1)
    assert enough[0].any()
    assert not enough.all()
    assert torch.equal(masked.token_mask, whole.token_mask & enough)
    assert torch.equal(masked.gate, whole.gate)


def test_without_the_gate_evidence_has_its_full_weight(model, batch):
    whole, without = made(model, batch), made(model, batch, "gate")
    evidence, reconstruction = batch.evidence, model.reconstruction
    with torch.no_grad():
        full = reconstruction.prefix(
            evidence.text_vectors, evidence.text_weights, torch.ones(len(HITS)), reconstruction.token_norm
        )
    assert without.gate is None
    torch.testing.assert_close(without.tokens[:, : model.config.num_text_tokens], full)
    assert torch.equal(without.confidence, whole.confidence)


def test_without_confidence_the_gate_and_the_latents_take_it_for_unknown(model, batch):
    whole, without = made(model, batch), made(model, batch, "confidence")
    assert without.confidence is None
    assert not torch.equal(without.gate, whole.gate)
    with torch.no_grad():
        half = model.reconstruction.latents(torch.full((len(HITS),), 0.5), model.reconstruction.token_norm)
    torch.testing.assert_close(without.tokens[:, -model.config.num_latent_tokens :], half)


def test_without_words_the_prompt_holds_no_evidence_and_the_tokens_stay(model, batch):
    arm = ARMS["r3-no_words"]
    without = collate(rows_for(model), model.tokenizer, model.config, arm=arm)
    evidence = rows_for(model)[0].evidence.text.texts[0]
    said, unsaid = (model.tokenizer.decode(one.input_ids[0]) for one in (batch, without))
    assert evidence in said
    assert evidence not in unsaid
    assert torch.equal(made(model, without, *arm.off).tokens, made(model, batch).tokens)


def test_each_part_has_an_arm_and_an_answer_says_what_was_on(model, batch):
    assert {part for arm in ARMS.values() for part in arm.off} == set(PARTS)
    answers = model.generate(replace(batch, off=ARMS["r3-no_gate"].off), max_new_tokens=2)
    assert [(answer.gate, answer.confidence is None) for answer in answers] == [(None, False)] * len(HITS)
    answers = model.generate(replace(batch, off=ARMS["r3-no_confidence"].off), max_new_tokens=2)
    assert [(answer.gate is None, answer.confidence) for answer in answers] == [(False, None)] * len(HITS)


def test_a_router_works_without_the_gate_whose_entropy_it_reads(new_model, batch):
    model = new_model(use_router=True)
    whole, without = made(model, batch), made(model, batch, "gate")
    assert without.gate is None
    assert torch.equal(without.router_log_odds, whole.router_log_odds)
