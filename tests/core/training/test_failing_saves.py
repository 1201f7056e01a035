"""A disk that takes no more: one clear error on every rank, the checkpoint before it stays, nobody waits forever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from r3pp_core.errors import R3Error
from r3pp_core.training import checkpoints
from r3pp_core.training.loop import train

HERE = Path(__file__).parent


@pytest.fixture
def failing(monkeypatch):
    """`failing(stem, error)`: the file of that name cannot be written. Returns how often it was tried."""

    def fail(stem, error):
        tried, write = [], checkpoints.write_tensors

        def refuse(folder, name, *arguments):
            if name != stem:
                return write(folder, name, *arguments)
            tried.append(1)
            monkeypatch.setattr("safetensors.torch.save_file", _raiser(error))
            try:
                return write(folder, name, *arguments)
            finally:
                monkeypatch.undo()
                monkeypatch.setattr(checkpoints, "write_tensors", refuse)

        monkeypatch.setattr(checkpoints, "write_tensors", refuse)
        return tried

    return fail


def _raiser(error):
    def save_file(*arguments, **options):
        raise error

    return save_file


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("I/O error: No space left on device")]
)
def test_a_full_disk_is_one_error_and_leaves_the_checkpoint_before_it(small_run, failing, error):
    config = small_run(save_every=1, max_steps=2)
    train(config)
    tried = failing("optimizer", error)
    with pytest.raises(R3Error, match=r"cannot write .*No space left on device.*free some space"):
        train(config.model_copy(update={"max_steps": 4}))
    assert len(tried) == 1
    assert checkpoints.newest(config.run_dir).name == "step_2"


@pytest.mark.parametrize("where", ["first_description", "second_tensors", "first_state"])
def test_no_rank_waits_for_one_whose_disk_is_full(small_run, where):
    config = small_run(backend="fsdp", max_steps=2, save_every=1, num_threads=1, use_lora=False)
    config.run_dir.mkdir(parents=True)
    path = config.run_dir / "config.json"
    path.write_text(config.model_dump_json())
    torchrun = [str(Path(sys.executable).parent / "torchrun"), "--standalone", "--nproc_per_node=2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "FAILING_SAVE": where}
    done = subprocess.run(
        [*torchrun, str(HERE / "failing_save.py"), str(path)], env=env, capture_output=True, text=True, timeout=120
    )
    told = [line for line in done.stdout.splitlines() if line.startswith("rank ")]
    assert len(told) == 2, done.stderr[-3000:]
    assert all("cannot write" in line and "No space left" in line for line in told)
    assert not list(config.run_dir.glob("step_*"))
