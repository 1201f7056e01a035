"""The teacher: an average that follows the weights, sees the clean row alone, and leaves the run as it found it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch  # noqa: TID253 - what is tested here is torch

from r3pp_core.model.evidence import RowEvidence, RowHits
from r3pp_core.model.losses import kl_sum
from r3pp_core.model.preparation import Preparation
from r3pp_core.progress import silent
from r3pp_core.retrieval.metadata import IndexEntry
from r3pp_core.training.batches import Batcher
from r3pp_core.training.optimizer import BACKBONE_PREFIX
from r3pp_core.training.setup import set_up
from r3pp_core.training.step import train_step
from r3pp_core.training.teacher import decay

SIZES = {"bottleneck": 8, "text_dim": 6, "image_dim": 5, "lora_dropout": 0.0, "prompt": {"max_ocr_chars": 40}}
NO_SOFT_TOKENS = {"use_prefix": False, "use_visual_memory": False, "use_latents": False}
ADAPTERS = [{"use_lora": True}, {"use_lora": False}]


@pytest.fixture
def new_run(small_run):
    """`new_run(r3={...}, **fields)`: set up, in training mode."""

    def make(r3=None, **fields):
        run = set_up(small_run(r3={**SIZES, **(r3 or {})}, **fields), silent)
        run.model.train()
        return run

    return make


def prepared(run, number, level):
    return run.preparer.prepare([run.train_rows.row(number)], level)


def batch_of(run, number=1, level=0.8):
    return batch_from(run, prepared(run, number, level))


def batch_from(run, preparation):
    batcher = Batcher(run.model, len(preparation.rows), run.config.max_length, for_teacher=True)
    return batcher.step(preparation).batches[0]


def with_a_text_hit(preparation):
    """Its words alone: without soft tokens no module reads the vectors."""
    (row,) = preparation.rows
    one, zero = np.array([1, 0, 0], np.float32), np.zeros((3, 6), np.float32)
    entries = [IndexEntry("x.png", "sha", "chartqa", "Sales of year 1990 were 12 units")]
    hits = RowHits(np.array([0, -1, -1]), one, one, one > 0, zero, entries)
    evidence = RowEvidence(hits, row.evidence.image, row.evidence.image_query)
    return Preparation([replace(row, evidence=evidence)], [])


def scramble(run, seed=7):
    """Give every trainable weight a value that no fresh model has."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in run.model.trainable().values():
            parameter.add_(torch.randn_like(parameter) * 0.05)


def weights_of(run):
    return copied(run.model.trainable())


def copied(tensors):
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def assert_equal(found, wanted):
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def kl_of(run, batch):
    (teacher,) = run.teacher.logits([batch])
    return float(run.model(batch, None, teacher).kl_sum.detach())


@pytest.mark.parametrize(
    ("step", "wanted"), [(0, 0.1), (1, 2 / 11), (8, 0.5), (8989, 8990 / 8999), (8990, 0.999), (10**6, 0.999)]
)
def test_the_average_follows_quickly_at_first_and_slowly_later(step, wanted):
    assert decay(step) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("fields", ADAPTERS, ids=["lora", "full"])
def test_the_teacher_starts_as_a_copy_of_what_is_trained_of_the_backbone(new_run, fields):
    run = new_run(**fields)
    wanted = {name: one for name, one in weights_of(run).items() if name.startswith(BACKBONE_PREFIX)}
    assert wanted
    assert_equal(run.teacher.averages, wanted)
    scramble(run)
    assert_equal(run.teacher.averages, wanted)


@pytest.mark.parametrize("step", [0, 30])
def test_an_update_moves_each_average_to_its_weighted_mean_with_the_weight(new_run, step):
    run = new_run()
    old = copied(run.teacher.averages)
    scramble(run)
    new = weights_of(run)
    run.teacher.update(step)
    share = (1 + step) / (10 + step)
    for name, average in run.teacher.averages.items():
        torch.testing.assert_close(average, share * old[name] + (1 - share) * new[name], rtol=1e-5, atol=1e-7)
        assert not torch.equal(average, old[name])
    assert_equal(weights_of(run), new)


@pytest.mark.parametrize("fields", ADAPTERS, ids=["lora", "full"])
def test_swapped_weights_and_averages_are_back_bit_for_bit_afterwards(new_run, fields):
    run = new_run(**fields)
    scramble(run)
    weights, averages = weights_of(run), copied(run.teacher.averages)
    with run.backend.swapped(run.teacher.averages):
        assert_equal(weights_of(run), {**weights, **averages})
        assert_equal(run.teacher.averages, {name: weights[name] for name in averages})
    assert_equal(weights_of(run), weights)
    assert_equal(run.teacher.averages, averages)


def test_swapped_weights_are_back_also_when_the_block_raises(new_run):
    run = new_run()
    scramble(run)
    weights, averages = weights_of(run), copied(run.teacher.averages)
    with pytest.raises(ZeroDivisionError), run.backend.swapped(run.teacher.averages):
        _ = 1 / 0
    assert_equal(weights_of(run), weights)
    assert_equal(run.teacher.averages, averages)


def test_a_forward_that_fails_leaves_the_weights_and_training_mode(new_run):
    run = new_run()
    scramble(run)
    weights = weights_of(run)
    with pytest.raises(AssertionError, match="for a teacher"):
        run.teacher.logits([replace(batch_of(run), clean=None)])
    assert_equal(weights_of(run), weights)
    assert run.model.training


@pytest.mark.parametrize("fields", ADAPTERS, ids=["lora", "full"])
def test_a_student_that_sees_and_is_what_the_teacher_is_has_no_divergence(new_run, fields):
    run = new_run(NO_SOFT_TOKENS, **fields)
    assert abs(kl_of(run, batch_of(run, level=0.0))) < 1e-6


def test_damage_to_the_row_makes_a_divergence(new_run):
    run = new_run(NO_SOFT_TOKENS)
    assert kl_of(run, batch_of(run, level=0.8)) > 1e-6


def test_soft_tokens_make_a_divergence(new_run):
    run = new_run()
    assert kl_of(run, batch_of(run, level=0.0)) > 1e-6


def test_evidence_in_words_makes_a_divergence(new_run):
    run = new_run(NO_SOFT_TOKENS)
    assert kl_of(run, batch_from(run, with_a_text_hit(prepared(run, 1, 0.0)))) > 1e-6


def test_weights_that_have_moved_make_a_divergence_until_the_average_has_followed(new_run):
    run = new_run(NO_SOFT_TOKENS)
    batch = batch_of(run, level=0.0)
    scramble(run)
    first = kl_of(run, batch)
    for _ in range(20):
        run.teacher.update(0)
    assert first > 1e-4
    assert abs(kl_of(run, batch)) < 1e-6


def test_dropout_is_the_students_alone(new_run):
    run = new_run({**NO_SOFT_TOKENS, "lora_dropout": 0.5})
    scramble(run)
    for _ in range(20):
        run.teacher.update(0)
    batch = batch_of(run, level=0.0)
    (one,), (other,) = run.teacher.logits([batch]), run.teacher.logits([batch])
    assert torch.equal(one, other)
    assert kl_of(run, batch) > 1e-6


def test_the_teachers_forward_does_not_disturb_the_students_dropout(new_run):
    run = new_run({"lora_dropout": 0.5})
    batch, before = batch_of(run), torch.get_rng_state()
    run.teacher.logits([batch])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_divergence_enters_the_loss_with_its_weight(new_run):
    off = {"conf": 0, "entropy": 0, "align": 0, "router": 0}
    run = new_run(losses={"kl": 0.25, **off})
    terms = train_step(run.backend, [batch_of(run, 1), batch_of(run, 2)], run.config, run.teacher).terms
    assert terms["kl"] > 1e-6
    assert terms["loss"] == pytest.approx(terms["ce"] + 0.25 * terms["kl"], rel=1e-6)


def test_the_divergence_is_a_mean_over_the_answer_tokens_of_the_step(new_run):
    run = new_run()
    batches = [batch_of(run, 1), batch_of(run, 2)]
    wanted = sum(kl_of(run, batch) for batch in batches) / sum(batch.num_answer_tokens for batch in batches)
    assert train_step(run.backend, batches, run.config, run.teacher).terms["kl"] == pytest.approx(wanted, rel=1e-5)


def test_divergence_from_teacher_to_student_by_hand():
    """[1/2, 1/4, 1/4] against thirds, and [1/3, 1/3, 1/3] against [0.6, 0.3, 0.1]; logits may be shifted."""
    teacher = torch.log(torch.tensor([[2.0, 1.0, 1.0], [1.0, 1.0, 1.0]])) + 5
    student = torch.log(torch.tensor([[1.0, 1.0, 1.0], [6.0, 3.0, 1.0]])) - 2
    wanted = (math.log(1.5) + math.log(0.75)) / 2 - (math.log(1.8) + math.log(0.9) + math.log(0.3)) / 3
    assert float(kl_sum(student, teacher)) == pytest.approx(wanted, rel=1e-5)


def test_the_gradient_of_the_divergence_is_that_of_finite_differences():
    teacher = torch.tensor([[0.3, -1.2, 2.0], [1.5, 0.2, -0.7]])
    student = torch.tensor([[-0.4, 0.9, 1.1], [0.6, -1.8, 0.5]], requires_grad=True)
    kl_sum(student, teacher).backward()
    h = 0.01
    for row in range(2):
        for token in range(3):
            moved = torch.zeros(2, 3)
            moved[row, token] = h
            ahead, behind = (float(kl_sum(student.detach() + sign * moved, teacher)) for sign in (1, -1))
            assert float(student.grad[row, token]) == pytest.approx((ahead - behind) / (2 * h), abs=2e-4)


def test_what_the_teacher_says_of_a_row_does_not_depend_on_its_damage(new_run):
    run = new_run()
    undamaged, damaged = batch_of(run, 2, level=0.0), batch_of(run, 2)
    assert not torch.equal(undamaged.pixel_values, damaged.pixel_values)
    (wanted,), (found,) = run.teacher.logits([undamaged]), run.teacher.logits([damaged])
    assert torch.equal(found, wanted)
    assert len(found) == damaged.num_answer_tokens


def test_what_the_teacher_says_of_a_row_does_not_depend_on_its_evidence(new_run):
    run = new_run()
    row = prepared(run, 2, 0.0)
    one, other = batch_from(run, row), batch_from(run, with_a_text_hit(row))
    assert one.input_ids.shape != other.input_ids.shape
    assert torch.equal(run.teacher.logits([one])[0], run.teacher.logits([other])[0])


def test_the_teachers_forward_leaves_no_gradient_and_training_mode(new_run):
    run = new_run(use_lora=False)
    (logits,) = run.teacher.logits([batch_of(run)])
    assert not logits.requires_grad
    assert all(parameter.grad is None for parameter in run.model.parameters())
    assert all(module.training for module in run.model.modules())


def test_without_a_weight_there_is_no_teacher_and_no_clean_view(new_run):
    run = new_run(losses={"kl": 0})
    assert run.teacher is None
    found = prepared(run, 1, 0.8)
    assert found.rows[0].damaged.clean is None
    (batch,) = run.batcher.step(found).batches
    assert batch.clean is None
    assert train_step(run.backend, [batch], run.config, run.teacher).terms["kl"] == 0.0


def test_a_row_whose_clean_view_is_too_long_is_left_out_once(new_run):
    run = new_run({"prompt": {"max_ocr_chars": 2000}})
    row = {**run.train_rows.row(1), "pseudo_text": "many words " * 40}
    (one,) = run.preparer.prepare([row], 0.0).rows
    blanked = replace(one, damaged=replace(one.damaged, pseudo_text=""))
    preparation = Preparation([blanked, *prepared(run, 2, 0.0).rows], [])
    part = Batcher(run.model, 2, 300, for_teacher=True).step(preparation)
    assert [one.row_id for one in part.rejected] == [row["id"]]
    assert [batch.row_ids for batch in part.batches] == [[run.train_rows.row(2)["id"]]]
    assert part.batches[0].clean.row_ids == part.batches[0].row_ids
