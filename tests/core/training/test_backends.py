"""The same run on one process, FSDP2 over two ranks and ZeRO-3 over two, really started; and going on from any."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_world import small_config, write_indices

from r3pp_core.errors import R3Error
from r3pp_core.training import checkpoints
from r3pp_core.training.loop import train
from r3pp_core.training.order import MixedOrder, RowFile

STEPS = 20
FIELDS = {"max_steps": STEPS, "save_every": 10, "keep": 5, "eval_every": 10, "eval_rows": 2, "num_threads": 1}
R3 = {"bottleneck": 8, "lora_dropout": 0.0, "k": 2, "prompt": {"max_ocr_chars": 40, "max_context_chars": 40}}
WHAT = {"single": ("single", 1), "fsdp": ("fsdp", 2), "deepspeed": ("deepspeed", 2)}


@pytest.fixture(scope="module")
def retrieval(world):
    return write_indices(world)


@pytest.fixture(scope="module")
def start(world, retrieval, tmp_path_factory):
    """`start(name, backend, num_ranks, **fields)` runs to its end and returns the run's folder.

    A step has four rows, whatever the number of ranks.
    """
    output_dir = tmp_path_factory.mktemp("runs")

    def run(name: str, backend: str, num_ranks: int, **fields) -> Path:
        fields = {**FIELDS, **retrieval, "r3": R3, "grad_accum": 4 // num_ranks, "run": name, **fields}
        config = small_config(world, output_dir, backend=backend, **fields)
        if backend == "single":
            train(config)
        else:
            launched(config, backend, num_ranks)
        return config.run_dir

    return run


def launched(config, backend, num_ranks):
    """As a user starts it: torchrun for FSDP2, deepspeed for ZeRO-3."""
    config.run_dir.mkdir(parents=True, exist_ok=True)
    path = config.run_dir / "launch_config.json"
    path.write_text(config.model_dump_json())
    scripts = Path(sys.executable).parent
    starter = {
        "fsdp": [scripts / "torchrun", "--standalone", f"--nproc_per_node={num_ranks}", "-m"],
        "deepspeed": [scripts / "deepspeed", "--num_accelerators", str(num_ranks), "--module"],
    }[backend]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PATH": f"{scripts}:{os.environ['PATH']}"}
    done = subprocess.run(
        [*starter, "r3pp_core.training", "--config", path], env=env, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.fixture(scope="module")
def undisturbed(start):
    return {name: start(name, *what) for name, what in WHAT.items()}


def steps_of(run_dir: Path, key="loss") -> dict[int, float]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[key] for line in lines if line["kind"] == "step"}


def copy_without_end(run_dir: Path, name: str) -> Path:
    """A copy that stopped at step 10."""
    copy = shutil.copytree(run_dir, run_dir.parent / name)
    shutil.rmtree(copy / f"step_{STEPS}")
    lines = (copy / "metrics.jsonl").read_text().splitlines(keepends=True)
    (copy / "metrics.jsonl").write_text("".join(line for line in lines if json.loads(line)["step"] <= STEPS // 2))
    return copy


@pytest.mark.parametrize("backend", ["fsdp", "deepspeed"])
@pytest.mark.parametrize("term", ["loss", "ce", "kl", "conf", "align", "grad_norm", "num_rows"])
def test_two_ranks_give_the_losses_of_one_process(undisturbed, backend, term):
    wanted, found = (steps_of(undisturbed[name], term) for name in ("single", backend))
    assert sorted(wanted) == sorted(found) == list(range(1, STEPS + 1))
    assert [found[step] for step in wanted] == pytest.approx(list(wanted.values()), rel=1e-3, abs=1e-6)
    assert any(value > 1e-4 for value in wanted.values())


@pytest.mark.parametrize("backend", WHAT)
def test_a_stopped_run_goes_on_with_the_losses_of_one_that_never_stopped(undisturbed, start, backend):
    copy = copy_without_end(undisturbed[backend], f"resumed-{backend}")
    start(copy.name, *WHAT[backend])
    wanted, found = steps_of(undisturbed[backend]), steps_of(copy)
    if backend == "deepspeed":
        assert found == pytest.approx(wanted, rel=1e-5)
    else:
        assert found == wanted


@pytest.mark.parametrize(("saved_by", "backend", "num_ranks"), [("fsdp", "fsdp", 1), ("deepspeed", "fsdp", 2)])
def test_a_run_goes_on_with_other_ranks_and_another_backend(undisturbed, start, saved_by, backend, num_ranks):
    copy = copy_without_end(undisturbed[saved_by], f"{saved_by}-on-{backend}-{num_ranks}")
    start(copy.name, backend, num_ranks)
    assert steps_of(copy) == pytest.approx(steps_of(undisturbed[saved_by]), rel=1e-4)


def test_in_bf16_too_a_run_goes_on_with_the_other_sharded_backend(start):
    """What is held differs, what is computed in does not; a compiler's lock that a killed run left is no obstacle."""
    from torch.utils.cpp_extension import _get_build_directory

    Path(_get_build_directory("deepspeed_shm_comm", verbose=False), "lock").touch()
    fields = {"use_lora": False, "bf16": True, "save_every": 2, "index_dir": None}
    for backend, last in (("deepspeed", 2), ("fsdp", 4), ("deepspeed", 6)):
        run_dir = start("bf16", backend, 2, max_steps=last, **fields)
    assert sorted(steps_of(run_dir)) == [1, 2, 3, 4, 5, 6]


def test_all_weights_may_be_trained_and_a_rank_without_a_row_runs_along(start, world, tmp_path):
    """Three rows of ten are too long for a prompt, so that in some steps a rank has none."""
    lines = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()]
    too_long = {1, 4, 7}
    for number in too_long:
        lines[number]["answer"] = "many " * 400
    table = tmp_path / "train.jsonl"
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = RowFile(table)
    order = MixedOrder(rows.codes, rows.names, 0.5, seed=0)
    of_ranks = [{order.at(position).row for position in (first, first + 1)} for first in range(0, 4 * STEPS, 2)]
    num_steps = 1 + next(number for number, drawn in enumerate(of_ranks) if drawn <= too_long) // 2

    fields = {"use_lora": False, "full_lr": 1e-3, "train_jsonl": str(table), "max_length": 400, "index_dir": None}
    fields["max_steps"] = num_steps
    runs = [start(f"full-{name}", name, num_ranks, **fields) for name, num_ranks in WHAT.values()]
    wanted, *others = [steps_of(run) for run in runs]
    assert len(wanted) == num_steps
    for found in others:
        assert found == pytest.approx(wanted, rel=1e-3)
    assert all((checkpoints.newest(run) / "model" / "backbone" / "model.safetensors").is_file() for run in runs)


def test_when_no_rank_has_a_usable_row_all_end_with_one_sentence(start, world, tmp_path):
    data = shutil.copytree(world / "data", tmp_path / "data")
    for path in data.rglob("*.png"):
        path.write_bytes(b"torn")
    with pytest.raises(AssertionError, match="none of 4 rows can be used"):
        start("unusable", "fsdp", 2, image_root=str(data), eval_rows=0)


def test_an_index_of_another_corpus_is_refused(world, retrieval, tmp_path):
    (tmp_path / "fewer.jsonl").write_text("".join((world / "train.jsonl").read_text().splitlines(keepends=True)[:6]))
    with pytest.raises(R3Error, match="was made from corpus"):
        train(small_config(world, tmp_path, **retrieval, r3=R3, train_jsonl=str(tmp_path / "fewer.jsonl")))
