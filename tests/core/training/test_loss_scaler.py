"""The scale of fp16 losses: halved by an overflow, doubled after long without one, and undone before the norm."""

import math

import pytest
import torch  # noqa: TID253 - what is tested here is torch

from r3pp_core.launch.failures import NonFiniteLossError
from r3pp_core.progress import silent
from r3pp_core.training.loss_scaler import FIRST_SCALE, GROWTH_INTERVAL, LossScaler
from r3pp_core.training.setup import set_up
from r3pp_core.training.step import train_step


@pytest.fixture
def run(small_run):
    run = set_up(small_run(fp16=True), silent)
    run.model.train()
    return run


def weights_of(run):
    return {name: parameter.detach().clone() for name, parameter in run.model.trainable().items()}


def have_moved(run, before):
    return [name for name, parameter in run.model.trainable().items() if not torch.equal(parameter, before[name])]


def backward(run, factor=1.0):
    """Gradients of a loss that is linear in every weight; returns their norm without the scale."""
    run.backend.zero_grad()
    torch.manual_seed(0)
    directions = {name: torch.randn_like(parameter) for name, parameter in run.model.trainable().items()}
    loss = sum((parameter * directions[name]).sum() for name, parameter in run.model.trainable().items())
    run.backend.backward(loss * factor, is_last=True)
    return factor * math.sqrt(sum(float(one.square().sum()) for one in directions.values()))


def batch_of(run, numbers):
    prepared = run.preparer.prepare([run.train_rows.row(number) for number in numbers], level=0.5)
    return run.batcher.step(prepared).batches[0]


def test_an_overflow_halves_the_scale_every_time():
    scaler = LossScaler()
    scaler.update(overflowed=True)
    scaler.update(overflowed=True)
    assert scaler.scale == FIRST_SCALE / 4


def test_the_scale_doubles_after_every_interval_without_overflow():
    scaler = LossScaler()
    scales = []
    for _ in range(2 * GROWTH_INTERVAL):
        scaler.update(overflowed=False)
        scales.append(scaler.scale)
    assert scales[GROWTH_INTERVAL - 2 : GROWTH_INTERVAL] == [FIRST_SCALE, 2 * FIRST_SCALE]
    assert scales[-2:] == [2 * FIRST_SCALE, 4 * FIRST_SCALE]


def test_an_overflow_starts_the_count_anew():
    scaler = LossScaler()
    for _ in range(GROWTH_INTERVAL - 1):
        scaler.update(overflowed=False)
    scaler.update(overflowed=True)
    for _ in range(GROWTH_INTERVAL - 1):
        scaler.update(overflowed=False)
    assert scaler.scale == FIRST_SCALE / 2
    scaler.update(overflowed=False)
    assert scaler.scale == FIRST_SCALE


def test_a_loaded_scaler_goes_on_where_the_saved_one_was():
    scaler, loaded = LossScaler(), LossScaler()
    scaler.update(overflowed=True)
    for _ in range(GROWTH_INTERVAL - 1):
        scaler.update(overflowed=False)
    loaded.load(scaler.state())
    assert loaded.state() == scaler.state() == {"scale": FIRST_SCALE / 2, "num_clean": GROWTH_INTERVAL - 1}
    loaded.update(overflowed=False)
    assert loaded.scale == FIRST_SCALE


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_gradient_that_is_not_finite_skips_the_step_and_halves_the_scale(run, value):
    backward(run)
    before = weights_of(run)
    next(iter(run.model.trainable().values())).grad.view(-1)[0] = value
    update = run.backend.update()
    assert not update.is_done
    assert not math.isfinite(update.grad_norm)
    assert run.backend.scaler.scale == FIRST_SCALE / 2
    assert have_moved(run, before) == []
    assert not run.backend.optimizer.state


def test_a_finite_gradient_moves_the_weights_and_its_norm_is_told_without_the_scale(run):
    wanted = backward(run)
    before = weights_of(run)
    update = run.backend.update()
    assert update.is_done
    assert update.grad_norm == pytest.approx(wanted, rel=1e-5)
    assert run.backend.scaler.scale == FIRST_SCALE
    assert have_moved(run, before) == list(before)


def test_what_the_optimizer_gets_is_clipped_after_the_scale_is_undone(run):
    """Clipping the scaled gradient would leave 65,536 times too little of it."""
    for factor in (1e-4, 10.0):
        norm = backward(run, factor)
        run.backend.update()
        kept = math.sqrt(sum(float(one.grad.square().sum()) for one in run.model.trainable().values()))
        assert kept == pytest.approx(min(norm, run.config.max_grad_norm), rel=1e-3)


def test_the_scale_does_not_change_the_step(small_run):
    """Powers of two only shift the exponent."""
    ends = []
    for scale in (1.0, FIRST_SCALE):
        run = set_up(small_run(fp16=True), silent)
        run.backend.scaler.scale = scale
        backward(run)
        run.backend.update()
        ends.append(weights_of(run))
    for name, wanted in ends[0].items():
        assert torch.equal(ends[1][name], wanted)


def test_a_whole_step_that_overflows_is_told_as_skipped_and_the_next_one_moves(run):
    before = weights_of(run)
    run.backend.scaler.scale = 2.0**100
    result = train_step(run.backend, [batch_of(run, [1, 2])], run.config, run.teacher)
    assert result.is_skipped
    assert math.isfinite(result.terms["loss"])
    assert have_moved(run, before) == []
    assert run.backend.scaler.scale == 2.0**99
    run.backend.scaler.scale = 2.0**8
    result = train_step(run.backend, [batch_of(run, [1, 2])], run.config, run.teacher)
    assert not result.is_skipped
    assert math.isfinite(result.grad_norm)
    assert have_moved(run, before)


def test_without_fp16_nothing_is_scaled_and_nothing_may_be_skipped(small_run):
    backend = set_up(small_run(), silent).backend
    assert backend.scaler is None
    assert backend.scaler_state() is None
    assert not backend.may_skip


def test_deepspeeds_scale_is_taken_without_a_count():
    scaler = LossScaler()
    scaler.load({"scale": 512.0})
    assert scaler.state() == {"scale": 512.0, "num_clean": 0}


def test_gradients_that_overflow_unscaled_end_the_run_instead_of_skipping_for_ever(run):
    run.backend.scaler.scale = 1.0
    next(iter(run.model.trainable().values())).register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(NonFiniteLossError, match="the gradient norm is nan in the rows"):
        train_step(run.backend, [batch_of(run, [1, 2])], run.config, run.teacher)
