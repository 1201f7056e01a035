"""An evaluation that was killed goes on with the next run: what was answered stays, the bytes are the same."""

import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest
from small_world import write_world_with_r3

NUM_SHARDS, SHARD_ROWS = 5, 2  # of ten rows; a kill lands within a shard
MADE = ("r3", "base", "report")
LIMIT_S = 300


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world_with_r3(tmp_path_factory.mktemp("world"))


def command(world, out_dir, *flags):
    """Of ten rows at two levels."""
    paths = {
        "checkpoint_dir": world / "models" / "r3",
        "val_jsonl": world / "train.jsonl",
        "image_root": world / "data",
        "index_dir": world / "indices",
        "model_name": world / "models" / "backbone",
        "text_encoder": world / "models" / "minilm",
        "image_encoder": world / "models" / "clip",
        "out_dir": out_dir,
    }
    given = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    sizes = ["--levels", "0", "0.8", "--batch_size", "1", "--shard_rows", str(SHARD_ROWS), "--max_new_tokens", "4"]
    return [sys.executable, "-m", "r3pp_core.cli", "evaluate", *given, *sizes, *flags]


def started(world, out_dir, *flags):
    words = command(world, out_dir, *flags)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(words, env=env, start_new_session=True, **pipes)


def finished(process):
    said, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, said
    return said


def bytes_of(out_dir):
    return {
        path.relative_to(out_dir): path.read_bytes()
        for name in MADE
        for path in sorted((out_dir / name).rglob("*"))
        if path.is_file() and path.name != "environment.json" and not path.name.startswith(".lock-")
    }


@pytest.fixture(scope="module")
def undisturbed(world, tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("whole")
    finished(started(world, out_dir))
    return bytes_of(out_dir)


def answered_shards(out_dir, name):
    return len(list((out_dir / name / ".work").glob("*/[0-9]*.jsonl")))


def test_a_killed_evaluation_goes_on_with_what_was_answered_to_the_same_bytes(
    world, undisturbed, tmp_path, round_number, landed
):
    """The command alone or with all that it started, asking by itself or by two ranks."""
    draw = random.Random(round_number)
    name, num_shards = draw.choice(MADE[:2]), draw.randrange(NUM_SHARDS)
    ranks = ("--num_processes", "2") if round_number % 2 else ()
    process = started(world, tmp_path, *ranks)
    deadline = time.monotonic() + LIMIT_S
    while answered_shards(tmp_path, name) < num_shards and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for victim in tree if draw.random() < 0.5 else tree[:1]:
        os.kill(victim.pid, signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(tree, timeout=60)
    assert not alive, "a rank outlived its launcher"
    kept = answered_shards(tmp_path, name)
    assert num_shards <= kept <= NUM_SHARDS, "it was over before the kill came"
    landed[f"evaluation/{name}", f"{num_shards} shards were answered"] += 1
    said = finished(started(world, tmp_path, *ranks))
    if kept and not ranks:
        assert f"evaluation/{name}: {NUM_SHARDS} shards, {kept} answered before" in said
    assert bytes_of(tmp_path) == undisturbed
    assert not list(tmp_path.glob("*/.work"))
