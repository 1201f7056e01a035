"""float16 gradients: an overflow skips the step and lowers the scale, on the gradient's global norm."""

import pytest
import torch  # noqa: TID253 - what is tested here is torch

from r3pp_core.progress import silent
from r3pp_core.training.loss_scaler import FIRST_SCALE, GROWTH_INTERVAL, LossScaler
from r3pp_core.training.setup import set_up


def test_an_overflow_halves_the_scale_and_many_steps_without_one_double_it():
    scaler = LossScaler()
    scaler.update(overflowed=True)
    assert scaler.scale == FIRST_SCALE / 2
    for _ in range(GROWTH_INTERVAL - 1):
        scaler.update(overflowed=False)
    other = LossScaler()
    other.load(scaler.state())
    assert other.scale == FIRST_SCALE / 2
    other.update(overflowed=False)
    assert other.scale == FIRST_SCALE


def test_an_overflow_starts_the_count_anew():
    scaler = LossScaler()
    for overflowed in [*[False] * (GROWTH_INTERVAL - 1), True, False]:
        scaler.update(overflowed=overflowed)
    assert scaler.scale == FIRST_SCALE / 2


@pytest.mark.parametrize("gradient", [0.5, float("inf"), float("nan")])
def test_a_step_is_taken_only_with_a_finite_gradient_whose_norm_is_told_unscaled(small_run, gradient):
    backend = set_up(small_run(fp16=True, max_grad_norm=1e9), silent).backend
    trainable = backend.model.trainable()
    before = {name: parameter.detach().clone() for name, parameter in trainable.items()}
    for parameter in trainable.values():
        parameter.grad = torch.zeros_like(parameter)
    name, parameter = next(iter(trainable.items()))
    parameter.grad.view(-1)[0] = gradient * FIRST_SCALE
    update = backend.update()
    moved = [n for n, parameter in trainable.items() if not torch.equal(parameter, before[n])]
    if gradient == 0.5:
        assert update == (pytest.approx(0.5), True)
        assert name in moved
        assert backend.scaler.scale == FIRST_SCALE
    else:
        assert not update.is_done
        assert not moved
        assert backend.scaler.scale == FIRST_SCALE / 2
