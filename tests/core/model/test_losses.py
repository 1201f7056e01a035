"""Every loss term against a value worked out by hand, and gradients where METHOD 5 and 6 want them."""

import math

import pytest
import torch  # noqa: TID253 - what is tested here is torch
from prepared_rows import prepared_row

from r3pp_core.model import losses
from r3pp_core.model.collation import collate
from r3pp_core.model.config import LossWeights
from r3pp_core.model.modules import AdaptiveGate, EvidenceTokens, mix
from r3pp_core.model.reconstruction import Reconstruction, step_means

ALL = torch.ones(1, 3, dtype=torch.bool)


def test_the_gate_target_is_the_normalised_distrust_and_trust():
    target = losses.gate_target(torch.tensor([0.25]), torch.tensor([0.5]), ALL)
    assert target[0].tolist() == pytest.approx([0.5 / 1.5, 0.75 / 1.5, 0.25 / 1.5])


def test_the_gate_target_gives_nothing_to_evidence_that_is_not_there():
    none = torch.tensor([[False, False, True]])
    assert losses.gate_target(torch.tensor([0.0]), torch.tensor([0.5]), none)[0].tolist() == [0, 0, 1]


def test_the_loss_of_the_gate_is_its_divergence_from_the_target():
    target = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    gate = torch.tensor([[0.25, 0.25, 0.5], [0.0, 0.0, 1.0]])
    assert float(losses.gate_loss(gate, target)) == pytest.approx(math.log(2) / 2)


def test_the_loss_of_confidence_is_zero_at_the_truth_and_its_divergence_elsewhere():
    c_vis, c_text = torch.tensor([1.0, 0.25]), torch.tensor([0.0, 0.5])
    truth = torch.stack([c_vis, c_text], dim=1)
    assert float(losses.confidence_loss(truth.logit(eps=1e-6), c_vis, c_text)) == pytest.approx(0, abs=1e-4)
    even = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    stated = torch.zeros(2, 2)
    assert float(losses.confidence_loss(stated, c_vis, c_text)) == pytest.approx((2 * math.log(2) + even) / 4)


def test_a_certainty_that_is_wrong_is_unlearned():
    """Squared errors of a sigmoid or softmax have no slope there: a head that was once certain stayed so."""
    certain = torch.tensor([[12.0, 12.0]], requires_grad=True)
    losses.confidence_loss(certain, torch.tensor([0.5]), torch.tensor([0.1])).backward()
    assert certain.grad[0].tolist() == pytest.approx([0.25, 0.45], abs=1e-3)
    logits = torch.tensor([[0.0, 0.0, 12.0]], requires_grad=True)
    losses.gate_loss(logits.softmax(dim=-1), torch.tensor([[0.5, 0.3, 0.2]])).backward()
    assert logits.grad[0].tolist() == pytest.approx([-0.5, -0.3, 0.8], abs=1e-3)


def test_cross_entropy_is_summed_over_answer_tokens():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    assert float(losses.cross_entropy_sum(logits, torch.tensor([0, 2]))) == pytest.approx(-math.log(0.5 * 0.8))


def test_negative_entropy_of_an_even_and_of_a_certain_gate():
    gate = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [0.0, 1.0, 0.0]], requires_grad=True)
    value = losses.negative_entropy(gate)
    value.backward()
    assert float(value) == pytest.approx(-math.log(3) / 2, abs=1e-6)
    assert torch.isfinite(gate.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_certain_gate_has_no_entropy_in_half_precision(dtype):
    certain = torch.tensor([[0.0, 0.0, 1.0]], dtype=dtype)
    assert float(losses.entropy(certain)) == 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_hit_without_weight_has_no_influence_in_half_precision(dtype):
    torch.manual_seed(0)
    tokens = EvidenceTokens(6, 8, 2, 10).to(dtype)
    vectors = torch.randn(1, 3, 6).to(dtype)
    weights = torch.tensor([[0.5, 0.5, 0.0]], dtype=dtype)
    other = vectors.clone()
    other[:, 2] = 50.0
    g, norm = torch.ones(1, dtype=dtype), torch.ones((), dtype=dtype)
    assert torch.equal(tokens(vectors, weights, g, norm), tokens(other, weights, g, norm))


def test_the_router_is_asked_for_as_much_as_is_lost():
    """1 - 0.5 x 0.8 = 0.6 against 0.5, and 1 - 1 x 1 = 0 against 0.5."""
    log_odds, c_vis, c_text = torch.zeros(2), torch.tensor([0.5, 1.0]), torch.tensor([0.8, 1.0])
    of_the_first = 0.6 * math.log(0.6 / 0.5) + 0.4 * math.log(0.4 / 0.5)
    assert float(losses.router_loss(log_odds, c_vis, c_text)) == pytest.approx((of_the_first + math.log(2)) / 2)


def test_alignment_of_orthogonal_pairs_and_of_swapped_ones():
    text = torch.eye(2)
    aligned, num_pairs = losses.align_loss(text, text, torch.tensor([True, True]))
    swapped, _ = losses.align_loss(text, text.flip(0), torch.tensor([True, True]))
    assert num_pairs == 2
    assert float(aligned) == pytest.approx(math.log(1 + math.exp(-1 / 0.07)), abs=1e-6)
    assert float(swapped) == pytest.approx(1 / 0.07, abs=1e-4)


def test_alignment_is_off_with_a_single_pair():
    loss, num_pairs = losses.align_loss(torch.eye(2), torch.eye(2), torch.tensor([True, False]))
    assert (float(loss), num_pairs) == (0.0, 1)


def test_the_gate_is_one_softmax_whose_losses_reach_its_weights():
    """Softmax twice could never exceed e / (e + 2) = 0.58; detached it would get no gradient."""
    torch.manual_seed(0)
    gate, features = AdaptiveGate(4, 8), torch.randn(1, 4)
    optimizer = torch.optim.Adam(gate.parameters(), lr=0.05)
    target = torch.tensor([[0.95, 0.04, 0.01]])
    for _ in range(200):
        optimizer.zero_grad()
        losses.gate_loss(gate(features, ALL), target).backward()
        optimizer.step()
    assert float(gate(features, ALL)[0, 0]) > 0.9


def test_the_gate_gives_exactly_nothing_to_what_is_not_available():
    weights = AdaptiveGate(4, 8)(torch.randn(1, 4), torch.tensor([[True, False, True]]))[0]
    assert float(weights[1]) == 0.0
    assert float(weights.sum()) == pytest.approx(1)


def test_a_mixed_token_is_its_null_at_zero_and_itself_at_one_with_equal_norms():
    tokens, null, norm = torch.randn(1, 2, 8) * 50, torch.randn(2, 8), torch.tensor(3.0)
    at_zero, at_one = (mix(tokens, null, torch.tensor([g]), norm) for g in (0.0, 1.0))
    torch.testing.assert_close(at_zero[0] / 3, torch.nn.functional.normalize(null, dim=-1))
    torch.testing.assert_close(at_one / 3, torch.nn.functional.normalize(tokens, dim=-1))


MODULES = ("prefix", "visual", "latents", "aligner", "gate", "confidence")


def total_loss(model, rows):
    batch = collate(rows, model.tokenizer, model.config, with_answers=True, padding_side="right")
    return model(batch, step_means([batch.evidence])).total(LossWeights(), 1 / batch.num_answer_tokens, 1.0, 1.0)


def test_every_module_and_adapter_gets_a_gradient(new_model):
    model = new_model(lora_dropout=0.0, use_router=True)
    for name, parameter in model.trainable().items():
        if "lora_B" in name:  # zero at the start, which would stop lora_A's gradient
            torch.nn.init.normal_(parameter, std=0.02)
    total_loss(model, [prepared_row(model.image_processor, number) for number in range(3)]).backward()
    without = [name for name, parameter in model.trainable().items() if not (parameter.grad.abs().sum() > 0)]
    assert without == []


@pytest.mark.parametrize(
    ("switch", "module"),
    [
        ("use_prefix", "prefix"),
        ("use_visual_memory", "visual"),
        ("use_latents", "latents"),
        ("use_aligner", "aligner"),
        ("use_gate", "gate"),
        ("use_confidence", "confidence"),
    ],
)
def test_a_module_that_is_off_has_no_parameters_and_the_rest_still_trains(new_model, switch, module):
    model = new_model(**{switch: False})
    assert not hasattr(model.reconstruction, module)
    loss = total_loss(model, [prepared_row(model.image_processor, number) for number in range(2)])
    assert torch.isfinite(loss)


def test_the_modules_stay_under_25_million_parameters_at_hidden_size_4096():
    from r3pp_core.model.config import R3Config

    modules = Reconstruction(R3Config(), 4096, 1.0)
    assert sum(parameter.numel() for parameter in modules.parameters()) < 25_000_000


def test_the_simulators_truth_is_a_target_and_never_an_input(model):
    from dataclasses import replace

    evidence = collate([prepared_row(model.image_processor, 1)], model.tokenizer, model.config).evidence
    other = replace(evidence, c_vis=evidence.c_vis * 0, c_text=evidence.c_text * 0)
    assert torch.equal(model.reconstruction(evidence).tokens, model.reconstruction(other).tokens)
