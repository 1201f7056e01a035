"""Which checkpoints stay: the newest few, and the one of the lowest validation loss."""

import math

import pytest

from r3pp_core.errors import R3Error
from r3pp_core.training import checkpoints
from r3pp_core.training.loop import train


@pytest.fixture
def run_with(small_run, monkeypatch):
    """`run_with(losses, **fields)`: a checkpoint at every step, whose validation losses are these; the run's folder."""

    def run(losses, **fields):
        monkeypatch.setattr(
            "r3pp_core.training.loop.validation_loss",
            lambda run: ({"val_loss": losses[run.step - 1] if run.step else 9.0, "val_rows": 2}, []),
        )
        config = small_run(**{"max_steps": len(losses), "save_every": 1, "eval_rows": 2, "grad_accum": 1, **fields})
        train(config)
        return config.run_dir

    return run


def names(run_dir):
    found = [path.name for path in checkpoints.whole_checkpoints(run_dir)]
    assert sorted(found) == sorted(path.name for path in run_dir.glob("*step_*"))
    return found


@pytest.mark.parametrize(
    ("losses", "keep", "kept", "best"),
    [
        ([4.0, 1.0, 3.0, 2.0], 1, ["step_2", "step_4"], "step_2"),
        ([4.0, 1.0, 3.0, 2.0], 2, ["step_2", "step_3", "step_4"], "step_2"),
        ([4.0, 3.0, 2.0, 1.0], 2, ["step_3", "step_4"], "step_4"),
        ([1.0, 2.0, 3.0, 4.0], 2, ["step_1", "step_3", "step_4"], "step_1"),
        ([4.0, 2.0, 3.0, 1.0], 1, ["step_4"], "step_4"),
        ([1.0, 2.0, 3.0], 5, ["step_1", "step_2", "step_3"], "step_1"),
    ],
)
def test_the_newest_and_the_best_stay(run_with, losses, keep, kept, best):
    run_dir = run_with(losses, keep=keep)
    assert names(run_dir) == kept
    assert checkpoints.best(run_dir).name == best
    assert checkpoints.newest(run_dir).name == f"step_{len(losses)}"


def test_of_equal_losses_the_earlier_is_the_best(run_with):
    run_dir = run_with([3.0, 1.0, 1.0, 1.0], keep=1)
    assert checkpoints.best(run_dir).name == "step_2"
    assert names(run_dir) == ["step_2", "step_4"]


def test_step_ten_is_newer_than_step_nine(run_with):
    """By name it would be older."""
    losses = [float(20 - number) for number in range(11)]
    assert names(run_with(losses, keep=3)) == ["step_9", "step_10", "step_11"]


def test_without_validation_none_is_the_best_and_only_the_newest_stay(run_with):
    run_dir = run_with([1.0, 2.0, 3.0], keep=1, eval_rows=0)
    assert checkpoints.best(run_dir) is None
    assert names(run_dir) == ["step_3"]


def test_a_folder_without_checkpoints_has_none(tmp_path):
    assert checkpoints.best(tmp_path) is None
    assert checkpoints.newest(tmp_path) is None
    assert checkpoints.whole_checkpoints(tmp_path) == []


def test_the_best_stays_over_a_resume(run_with):
    run_with([1.0, 2.0], keep=1)
    run_dir = run_with([1.0, 2.0, 4.0, 3.0], keep=1)
    assert names(run_dir) == ["step_1", "step_4"]
    assert checkpoints.best(run_dir).name == "step_1"


def test_a_torn_checkpoint_is_not_the_best(run_with):
    run_dir = run_with([2.0, 1.0, 3.0], keep=3)
    (run_dir / "step_2" / "optimizer.safetensors").unlink()
    assert checkpoints.best(run_dir).name == "step_1"


def test_a_checkpoint_that_was_not_validated_is_never_the_best_and_goes_when_it_is_old(run_with, small_run):
    def fail_at_first(kind, **fields):
        if kind == "step":
            raise R3Error("the disk of the messages is full")

    with pytest.raises(R3Error, match="messages"):
        train(small_run(save_every=100, eval_rows=2, grad_accum=1), send=fail_at_first)
    run_dir = small_run().run_dir
    assert names(run_dir) == ["step_1"]
    assert checkpoints.best(run_dir) is None
    run_with([0.0, 5.0, 6.0], keep=1)
    assert names(run_dir) == ["step_2", "step_3"]
    assert checkpoints.best(run_dir).name == "step_2"


def test_validation_may_start_when_a_run_goes_on(run_with):
    """`eval_rows` is among what may differ on a resume."""
    run_with([1.0], eval_rows=0, keep=1)
    run_dir = run_with([1.0, 3.0, 4.0], keep=1)
    assert names(run_dir) == ["step_2", "step_3"]


def test_a_loss_that_is_not_a_number_is_never_the_best(run_with):
    run_dir = run_with([math.nan, 2.0, 3.0], keep=1)
    assert checkpoints.best(run_dir).name == "step_2"
    assert names(run_dir) == ["step_2", "step_3"]
