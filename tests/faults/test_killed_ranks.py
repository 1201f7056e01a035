"""A rank is killed at a random moment; what is run again goes on from what stands, as if nothing had been."""

import json
import os
import random
import signal
import time
from contextlib import contextmanager

import psutil
import pytest
from small_world import small_config, write_world

from r3pp_core.launch.failures import LaunchFailed
from r3pp_core.launch.interface import LaunchConfig
from r3pp_core.launch.local import LocalLauncher
from r3pp_core.progress import silent
from r3pp_core.retrieval.build import build_index
from r3pp_core.retrieval.config import IndexConfig
from r3pp_core.training.job import training_job

STEPS = 8
RANKS = 2
LAUNCH = LaunchConfig(num_processes=RANKS, poll_s=0.02, env={"OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"))


def launched(config, on_message=lambda message: None):
    return LocalLauncher(LAUNCH).run(training_job(config), on_message, silent)


def config_of(world, folder):
    """With dropout, so that the generators' states matter as well."""
    fields = {"max_steps": STEPS, "save_every": 2, "keep": 2, "grad_accum": 2, "num_threads": 1}
    return small_config(world, folder, backend="fsdp", **fields)


def losses_of(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if line["kind"] == "step"}


@pytest.fixture(scope="module")
def undisturbed(world, tmp_path_factory):
    config = config_of(world, tmp_path_factory.mktemp("undisturbed"))
    launched(config)
    return losses_of(config.run_dir)


def rank_processes(place):
    """The ranks of a run in whose command line `place` stands, by number."""
    ranks = {}
    for process in psutil.process_iter():
        try:
            if str(place) in " ".join(process.cmdline()) and "LOCAL_RANK" in process.environ():
                ranks[int(process.environ()["LOCAL_RANK"])] = process.pid
        except psutil.Error:
            continue
    return ranks


@contextmanager
def losing(victim, landed, stage, moment):
    """What is run here loses its rank `victim`, and says so; or it is at its end before the kill comes."""
    try:
        yield
    except LaunchFailed as error:
        assert error.kind == "lost_rank"
        assert f"rank {victim} was killed by SIGKILL" in str(error)
        landed[stage, f"rank {victim} {moment}"] += 1
    except (KeyError, ProcessLookupError):
        landed[stage, "all had ended"] += 1


def test_a_run_whose_rank_was_killed_goes_on_with_the_same_losses(world, undisturbed, tmp_path, round_number, landed):
    draw = random.Random(round_number)
    victim, at_step, wait_s = draw.randrange(RANKS), draw.randrange(1, STEPS), draw.uniform(0, 0.5)
    config = config_of(world, tmp_path)

    def kill(message):
        if message["kind"] == "step" and message["step"] == at_step:
            time.sleep(wait_s)
            os.kill(rank_processes(config.run_dir / "launch_config")[victim], signal.SIGKILL)

    with losing(victim, landed, "training", f"had done step {at_step}"):
        launched(config, kill)
    assert not rank_processes(config.run_dir / "launch_config")
    launched(config)
    assert losses_of(config.run_dir) == undisturbed


@pytest.fixture(scope="module")
def whole_index(world, tmp_path_factory):
    return built(world, tmp_path_factory.mktemp("whole"), None)


def built(world, folder, launch, progress=silent):
    config = IndexConfig(shard_entries=1, batch_size=1)
    place = (world / "train.jsonl", world / "data", folder, world / "models" / "clip")
    build_index("image", *place, config, progress, launch=launch)
    return {path.name: path.read_bytes() for path in (folder / "image").iterdir() if not path.name.startswith(".")}


def test_an_index_whose_rank_was_killed_is_built_on_to_the_same_bytes(
    world, whole_index, tmp_path, round_number, landed
):
    draw = random.Random(round_number)
    victim, num_shards = draw.randrange(RANKS), draw.randrange(1, 9)

    def kill(said):
        if "shards of rank 0" in said:
            while len(list(tmp_path.glob(".work-*/**/*.safetensors"))) < num_shards and rank_processes(tmp_path):
                time.sleep(0.001)
            os.kill(rank_processes(tmp_path)[victim], signal.SIGKILL)

    with losing(victim, landed, "index", f"when {num_shards} shards were there"):
        built(world, tmp_path, LAUNCH, kill)
    assert not rank_processes(tmp_path)
    assert built(world, tmp_path, LAUNCH) == whole_index
    assert list(tmp_path.glob(".work-*")) == []
