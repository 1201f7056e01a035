"""One step: the answer loss over all micro-batches together, precision by capability, and stopping in time."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch  # noqa: TID253 - what is tested here is torch

from r3pp_core.launch.failures import NonFiniteLossError
from r3pp_core.model.evidence import RowEvidence, RowHits
from r3pp_core.model.preparation import Preparation
from r3pp_core.progress import silent
from r3pp_core.training.batches import Batcher
from r3pp_core.training.config import TrainConfig
from r3pp_core.training.optimizer import build_optimizer, lr_factor
from r3pp_core.training.precision import choose_precision
from r3pp_core.training.setup import set_up
from r3pp_core.training.step import train_step


@pytest.fixture
def run(small_run):
    fields = {"lora_dropout": 0.0, "use_aligner": False, "bottleneck": 8, "text_dim": 6, "image_dim": 5}
    return set_up(small_run(r3=fields, max_grad_norm=1e9), silent)


def batch_from(run, prepared):
    batcher = Batcher(run.model, len(prepared.rows), run.config.max_length, for_teacher=True)
    (batch,) = batcher.step(prepared).batches
    return batch


def batch_of(run, numbers):
    prepared = run.preparer.prepare([run.train_rows.row(number) for number in numbers], level=0.5)
    return batch_from(run, prepared)


class KeepGradients:
    """An optimizer that steps nowhere."""

    def zero_grad(self, set_to_none):
        pass

    def step(self):
        pass


def gradients(run, batches):
    run.model.zero_grad()
    run.backend.optimizer = KeepGradients()
    result = train_step(run.backend, batches, run.config, run.teacher)
    return result, {name: parameter.grad.clone() for name, parameter in run.model.trainable().items()}


def test_two_micro_batches_of_unequal_answers_give_the_gradients_of_one(run):
    """A mean of micro-batch means would weigh the tokens of the short answer more."""
    together, wanted = gradients(run, [batch_of(run, [1, 2, 3])])
    apart, found = gradients(run, [batch_of(run, [1]), batch_of(run, [2, 3])])
    assert len({batch_of(run, [number]).num_answer_tokens for number in (1, 2, 3)}) > 1
    assert apart.terms == pytest.approx(together.terms, rel=1e-4)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6)


def test_alignment_does_not_depend_on_how_a_step_is_cut(small_run):
    """In micro-batches of one row nothing could be told apart, and the loss would be zero."""
    run = set_up(small_run(r3={"lora_dropout": 0.0, "bottleneck": 8, "text_dim": 6, "image_dim": 5}), silent)
    draw = np.random.default_rng(0)

    def hits(dim):
        share = np.full(3, 1 / 3, np.float32)
        return RowHits(np.arange(3), share, share, np.ones(3, bool), draw.normal(size=(3, dim)).astype(np.float32), [])

    prepared = run.preparer.prepare([run.train_rows.row(number) for number in (1, 2, 3)], level=0.5)
    rows = [replace(row, evidence=RowEvidence(hits(6), hits(5), row.evidence.image_query)) for row in prepared.rows]
    parts = [[row] for row in rows]
    together, wanted = gradients(run, [batch_from(run, Preparation(rows, []))])
    apart, found = gradients(run, [batch_from(run, Preparation(part, [])) for part in parts])
    assert together.terms["align"] > 0.01
    assert apart.terms == pytest.approx(together.terms, rel=1e-4)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5)


def test_a_non_finite_loss_names_its_rows_and_leaves_the_weights_alone(run):
    with torch.no_grad():
        run.model.reconstruction.prefix.null.fill_(float("nan"))
        run.model.reconstruction.latents.null.fill_(float("nan"))
    before = {name: parameter.detach().clone() for name, parameter in run.model.trainable().items()}
    with pytest.raises(NonFiniteLossError, match="chartqa/train/4"):
        train_step(run.backend, [batch_of(run, [4])], run.config)
    for name, parameter in run.model.trainable().items():
        assert torch.equal(parameter.nan_to_num(7), before[name].nan_to_num(7))


@pytest.mark.parametrize(
    ("fields", "capability", "weights", "autocast", "scaled"),
    [
        ({"bf16": True, "use_lora": True}, (8, 0), "bfloat16", None, False),
        ({"bf16": True, "use_lora": True}, (7, 0), "float16", None, True),
        ({"bf16": True, "use_lora": False}, (9, 0), "float32", "bfloat16", False),
        ({"fp16": True, "use_lora": True}, (9, 0), "float16", None, True),
        ({"bf16": True, "use_lora": True}, None, "bfloat16", None, False),
        ({"use_lora": True}, (9, 0), "float32", None, False),
    ],
)
def test_precision_follows_the_compute_capability(fields, capability, weights, autocast, scaled):
    chosen = choose_precision(TrainConfig(**fields), "cuda", capability)
    assert (chosen.weights, chosen.autocast, chosen.loss_scaler) == (weights, autocast, scaled)
    assert (chosen.note is not None) is (capability == (7, 0))


def test_bf16_training_keeps_fp32_trainable_weights_and_moves_them(small_run):
    run = set_up(small_run(bf16=True), silent)
    assert {parameter.dtype for parameter in run.model.trainable().values()} == {torch.float32}
    before = {name: parameter.detach().clone() for name, parameter in run.model.trainable().items()}
    result = train_step(run.backend, [batch_of(run, [1, 2])], run.config)
    assert math.isfinite(result.terms["loss"])
    assert any(
        "lora_B" in name and not torch.equal(parameter, before[name])
        for name, parameter in run.model.trainable().items()
    )


def test_the_backbones_own_weights_have_a_rate_of_their_own_and_vectors_do_not_decay():
    parameters = {
        "backbone.layers.0.weight": torch.nn.Parameter(torch.zeros(2, 2)),
        "backbone.layers.0.lora_A.weight": torch.nn.Parameter(torch.zeros(2, 2)),
        "reconstruction.gate.bias": torch.nn.Parameter(torch.zeros(2)),
    }
    groups = build_optimizer(parameters, TrainConfig(lr=3e-4, full_lr=2e-5)).param_groups
    assert [(group["peak"], group["weight_decay"]) for group in groups] == [(2e-5, 0.01), (3e-4, 0.01), (3e-4, 0.0)]
    groups = build_optimizer(parameters, TrainConfig(lr=1e-2, lora_lr=3e-4, full_lr=2e-5)).param_groups
    assert [group["peak"] for group in groups] == [2e-5, 3e-4, 1e-2]


def test_the_rate_rises_to_its_peak_and_falls_to_zero_along_a_cosine():
    config = TrainConfig(warmup_steps=4, max_steps=24)
    assert [lr_factor(step, config) for step in (0, 3, 4, 14, 24)] == pytest.approx([0.25, 1.0, 1.0, 0.5, 0.0])
