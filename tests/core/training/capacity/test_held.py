"""The plan's bytes of weights, gradients, optimizer and teacher are those of the tensors, in every backend."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from r3pp_core.progress import silent
from r3pp_core.training.capacity.check import check_fit
from r3pp_core.training.rehearsal import rehearse

HERE = Path(__file__).parent
PRECISIONS = [{}, {"bf16": True}]


@pytest.mark.parametrize("precision", PRECISIONS, ids=["fp32", "bf16"])
@pytest.mark.parametrize("use_lora", [True, False], ids=["lora", "full"])
def test_one_process_holds_what_was_planned(small_run, backbone, use_lora, precision):
    config = small_run(model_name=str(backbone), use_lora=use_lora, **precision)
    found = rehearse(config, lambda kind, **fields: None, silent)
    planned = check_fit(config, config.resolved_r3(None, None), 1).demand
    assert found.held == planned.held
    assert found.checkpoint_bytes == pytest.approx(planned.checkpoint_bytes, rel=0.1, abs=200_000)


@pytest.mark.parametrize(("backend", "num_ranks"), [("fsdp", 2), ("fsdp", 3), ("deepspeed", 2)])
@pytest.mark.parametrize("use_lora", [True, False], ids=["lora", "full"])
def test_each_of_several_ranks_holds_what_was_planned(small_run, backbone, tmp_path, backend, num_ranks, use_lora):
    # Each model once a backend; three ranks once, for rows that do not divide by them.
    if use_lora != ("as_sampled" in str(backbone)) or (num_ranks == 3 and "deeper" not in str(backbone)):
        pytest.skip("another combination stands for this one")
    precision = {"bf16": True} if backend == "deepspeed" else {}
    config = small_run(model_name=str(backbone), backend=backend, use_lora=use_lora, num_threads=1, **precision)
    config.run_dir.mkdir(parents=True)
    (config.run_dir / "config.json").write_text(config.model_dump_json())
    torchrun = [str(Path(sys.executable).parent / "torchrun"), "--standalone", f"--nproc_per_node={num_ranks}"]
    command = [*torchrun, str(HERE / "held_ranks.py"), str(config.run_dir / "config.json"), str(tmp_path / "told.json")]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["held"] == told["planned"]
    assert all(told["held"].values())
