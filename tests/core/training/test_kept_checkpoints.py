"""Which checkpoints stay: the newest, and the best by validation loss."""

import pytest

from r3pp_core.errors import R3Error
from r3pp_core.training import checkpoints, loop
from r3pp_core.training.export import find_checkpoint

LOSSES = {0: 9.0, 1: 5.0, 2: 1.0, 3: 1.0, 4: 2.0, 5: 3.0, 6: 4.0}


@pytest.fixture
def validated(monkeypatch):
    monkeypatch.setattr(loop, "validation_loss", lambda run: ({"val_loss": LOSSES[run.step], "val_rows": 1}, []))


def train_six(small_run, **fields):
    config = small_run(max_steps=6, save_every=1, keep=2, **fields)
    loop.train(config)
    return config.run_dir


@pytest.mark.usefixtures("validated")
def test_the_newest_and_the_best_stay(small_run):
    run_dir = train_six(small_run, eval_rows=2)
    assert [path.name for path in checkpoints.whole_checkpoints(run_dir)] == ["step_2", "step_5", "step_6"]
    assert checkpoints.best(run_dir).name == "step_2"
    assert find_checkpoint(run_dir, best=True).name == "step_2"
    assert find_checkpoint(run_dir).name == "step_6"


def test_without_validation_none_is_best(small_run):
    run_dir = train_six(small_run, eval_rows=0)
    assert [path.name for path in checkpoints.whole_checkpoints(run_dir)] == ["step_5", "step_6"]
    assert checkpoints.best(run_dir) is None
    with pytest.raises(R3Error, match="no validated checkpoint"):
        find_checkpoint(run_dir, best=True)
