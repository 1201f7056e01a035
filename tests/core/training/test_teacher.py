"""The teacher: an average of the backbone's trained weights that sees the clean row, and what its divergence is."""

import pytest
import torch  # noqa: TID253 - what is tested here is torch

from r3pp_core.model.losses import kl_sum
from r3pp_core.progress import silent
from r3pp_core.training.batches import Batcher
from r3pp_core.training.setup import set_up
from r3pp_core.training.step import train_step
from r3pp_core.training.teacher import decay

BARE = {
    "lora_dropout": 0.0,
    "text_dim": 6,
    "image_dim": 5,
    "use_prefix": False,
    "use_visual_memory": False,
    "use_latents": False,
}


@pytest.fixture
def run(small_run):
    return set_up(small_run(), silent)


def batch_at(run, level, rows=(1, 2)):
    prepared = run.preparer.prepare([run.train_rows.row(number) for number in rows], level=level)
    (batch,) = Batcher(run.model, len(rows), 2048, for_teacher=True).step([prepared]).batches
    return batch


def scramble(parameters):
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(torch.randn_like(parameter))


def test_the_average_follows_quickly_at_first_and_slowly_later():
    assert [decay(0), decay(8), decay(10**6)] == pytest.approx([0.1, 0.5, 0.999])


def test_an_update_moves_the_averages_towards_the_weights(run):
    old = {name: average.clone() for name, average in run.teacher.averages.items()}
    trainable = run.model.trainable()
    scramble(trainable.values())
    run.teacher.update(8)
    assert set(old) == {name for name in trainable if name.startswith("backbone.")}
    for name, average in run.teacher.averages.items():
        torch.testing.assert_close(average, 0.5 * old[name] + 0.5 * trainable[name].detach())


def test_swapping_restores_both_sides_bit_for_bit_even_after_an_error(run):
    trainable, averages = run.model.trainable(), run.teacher.averages
    scramble(trainable.values())
    before = {name: (trainable[name].detach().clone(), average.clone()) for name, average in averages.items()}
    with pytest.raises(ValueError, match="inside"), run.backend.swapped(averages):
        assert all(torch.equal(trainable[name], before[name][1]) for name in averages)
        raise ValueError("inside")
    for name, (weight, average) in before.items():
        assert torch.equal(trainable[name], weight)
        assert torch.equal(averages[name], average)


def test_the_teacher_sees_no_damage_takes_no_gradient_and_leaves_the_model_training(run):
    run.model.train()
    clean, damaged = (run.teacher.logits([batch_at(run, level)])[0] for level in (0.0, 0.8))
    assert torch.equal(clean, damaged)
    assert not clean.requires_grad
    assert run.model.training
    assert all(parameter.grad is None for parameter in run.model.trainable().values())


@pytest.mark.parametrize(("level", "is_zero"), [(0.0, True), (0.8, False)])
def test_the_divergence_is_zero_where_both_see_the_same(small_run, level, is_zero):
    run = set_up(small_run(r3=BARE), silent)
    result = train_step(run.backend, [batch_at(run, level)], run.config, run.teacher)
    assert (result.terms["kl"] < 1e-6) is is_zero


def test_without_its_weight_there_is_no_teacher(small_run):
    run = set_up(small_run(losses={"kl": 0.0}), silent)
    prepared = run.preparer.prepare([run.train_rows.row(1)], level=0.5)
    assert run.teacher is None
    assert prepared.rows[0].damaged.clean is None
    assert run.batcher.step([prepared]).batches[0].clean is None


def test_the_divergence_by_hand_and_its_gradient():
    teacher = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], dtype=torch.float64).log()
    student = torch.tensor([[0.25, 0.5, 0.25], [0.2, 0.2, 0.6]], dtype=torch.float64).log().requires_grad_()
    by_hand = 0.5 * torch.tensor(2.0).log() - 0.25 * torch.tensor(2.0).log()
    assert float(kl_sum(student, teacher)) == pytest.approx(float(by_hand), rel=1e-6)
    kl_sum(student, teacher).backward()
    wanted = student.detach().softmax(-1) - teacher.softmax(-1)
    torch.testing.assert_close(student.grad, wanted, rtol=1e-5, atol=1e-6)
