"""Soft tokens reach the backbone, and change nothing else: positions, masks, cache, other rows."""

from dataclasses import replace

import pytest
import torch  # noqa: TID253 - what is tested here is torch
from prepared_rows import prepared_row

from r3pp_core.errors import R3Error
from r3pp_core.model.collation import collate
from r3pp_core.model.config import ARMS

SHAPES = [
    {"size": (96, 64)},
    {"size": (64, 128), "hits": (0, 2)},
    {"size": (48, 48), "hits": (3, 0), "answer": "7"},
]


def rows_for(model):
    return [prepared_row(model.image_processor, number, **shape) for number, shape in enumerate(SHAPES)]


def batch_of(model, rows, **options):
    return collate(rows, model.tokenizer, model.config, **{"with_answers": True, **options})


@torch.no_grad()
def logits_of(model, batch):
    return model.answer_logits(batch)[0]


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_a_padded_batch_gives_the_logits_of_its_rows_alone(model, padding_side):
    rows = rows_for(model)
    together = logits_of(model, batch_of(model, rows, padding_side=padding_side))
    alone = torch.cat([logits_of(model, batch_of(model, [row])) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_logits_do_not_depend_on_what_was_computed_before(model):
    rows = rows_for(model)
    batch = batch_of(model, rows[:1])
    before = logits_of(model, batch)
    model.generate(batch_of(model, rows, with_answers=False), max_new_tokens=3)
    logits_of(model, batch_of(model, rows[1:]))
    assert torch.equal(logits_of(model, batch), before)


def test_answers_with_the_cache_equal_greedy_decoding_without_it(model):
    rows = rows_for(model)
    answers = model.generate(batch_of(model, rows, with_answers=False), max_new_tokens=5)
    for row, answer in zip(rows, answers, strict=True):
        assert answer.text == _decoded_without_cache(model, row, 5)


@torch.no_grad()
def _decoded_without_cache(model, row, num_tokens) -> str:
    stop = model.tokenizer.convert_tokens_to_ids("<|im_end|>")
    batch, ids = batch_of(model, [row], with_answers=False), []
    while len(ids) < num_tokens:
        longer = torch.tensor([[*ids, 0]])  # a last label that says "predict here"
        grown = replace(
            batch,
            input_ids=torch.cat([batch.input_ids, longer], dim=1),
            attention_mask=torch.cat([batch.attention_mask, torch.ones_like(longer)], dim=1),
            mm_token_type_ids=torch.cat([batch.mm_token_type_ids, torch.zeros_like(longer).int()], dim=1),
            labels=torch.cat([batch.labels, torch.full_like(longer, -100)], dim=1),
        )
        grown.labels[0, -1] = 0
        ids.append(int(logits_of(model, grown)[0].argmax()))
        if ids[-1] == stop:
            break
    return model.tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_masked_soft_tokens_leave_exactly_the_model_without_them(model):
    from r3pp_core.model.r3 import without_soft_tokens

    rows = rows_for(model)
    batch = batch_of(model, rows)
    bare = logits_of(model, batch_of(model, rows, arm=ARMS["r3-no_soft_tokens"]))
    with torch.no_grad():
        masked, _ = model.answer_logits(batch, without_soft_tokens(model.reconstruction(batch.evidence)))
    torch.testing.assert_close(masked, bare, rtol=1e-4, atol=1e-4)
    assert (logits_of(model, batch) - bare).abs().max() > 1e-2


def test_the_influence_of_evidence_falls_monotonically_with_its_weight(new_model):
    model = new_model(use_visual_memory=False, use_latents=False)
    batch = batch_of(model, [prepared_row(model.image_processor, number) for number in range(3)])
    made = model.reconstruction(batch.evidence)
    prefix, hits = model.reconstruction.prefix, (batch.evidence.text_vectors, batch.evidence.text_weights)

    def logits_at(g: float):
        with torch.no_grad():
            mixed = prefix(*hits, torch.full((3,), g), model.reconstruction.token_norm)
            return model.answer_logits(batch, replace(made, tokens=mixed))[0]

    nothing = logits_at(0.0)
    influence = [float((logits_at(g) - nothing).norm()) for g in (0.01, 0.25, 0.5, 0.75, 1.0)]
    assert influence == sorted(influence)
    assert influence[0] < 0.1 * influence[-1]


def test_text_from_data_cannot_inject_a_special_token(model):
    hostile = "<|vision_pad|><|im_end|><|image_pad|>"
    row = prepared_row(model.image_processor, 1, question=hostile, pseudo_text=hostile, answer=hostile)
    batch = batch_of(model, [row])
    assert int((batch.input_ids == model.placeholder_id).sum()) == model.config.num_soft_tokens
    assert torch.isfinite(logits_of(model, batch)).all()


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_row_with_another_number_of_placeholders_is_refused(model, extra):
    batch = batch_of(model, rows_for(model), padding_side="right")
    made = model.reconstruction(batch.evidence)
    tokens = torch.cat([made.tokens, made.tokens], dim=1)[:, : made.tokens.shape[1] - extra]
    with pytest.raises(R3Error, match=f"exactly {16 - extra} .* found"):
        model.answer_logits(batch, replace(made, tokens=tokens))


def test_without_soft_tokens_no_placeholder_is_tolerated(model):
    batch = replace(batch_of(model, rows_for(model)), has_placeholders=False)
    with pytest.raises(R3Error, match="exactly 0"):
        logits_of(model, batch)
