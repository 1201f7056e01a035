"""Training through a real Slurm of two nodes: to its end, cancelled, past a lost launcher, a lost node and a limit."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from slurm_cluster import Cluster
from small_world import small_config, write_world

from r3pp_core.errors import R3Error
from r3pp_core.launch.failures import LaunchFailed
from r3pp_core.launch.interface import LaunchConfig
from r3pp_core.launch.registry import launcher_for
from r3pp_core.training import checkpoints
from r3pp_core.training.job import training_job

pytestmark = pytest.mark.system
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def slurm_world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("slurm_world"))


@pytest.fixture
def config(cluster, slurm_world, tmp_path):
    yield small_config(
        slurm_world, tmp_path / "checkpoints", backend="fsdp", num_threads=1, max_steps=12, save_every=4, grad_accum=1
    )
    for job in cluster.jobs():
        subprocess.run(["scancel", "--full", job], check=True)
    cluster.wait_for(lambda: not cluster.jobs(), "empty queue")


def launch_config(**slurm) -> LaunchConfig:
    env = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
    fields = {"nodes": 2, "poll_s": 1, "setup": ["echo the script is set up"], **slurm}
    return LaunchConfig(launcher="slurm", poll_s=0.1, env=env, slurm=fields)


class Watcher:
    """Collects messages; raises KeyboardInterrupt, or calls something, once `at` steps were done."""

    def __init__(self, at=None, then=None):
        self.seen, self.said, self.at, self.then = [], [], at, then

    def __call__(self, message):
        self.seen.append(message)
        if self.at and message["kind"] == "step" and message["step"] >= self.at:
            self.at = None
            if self.then is None:
                raise KeyboardInterrupt
            self.then()

    def steps(self):
        return [message["step"] for message in self.seen if message["kind"] == "step"]

    def run(self, config, **slurm):
        return launcher_for(launch_config(**slurm)).run(training_job(config), self, self.said.append)


def test_two_nodes_train_and_what_they_say_is_shown(config, capfd):
    watcher = Watcher()
    result = watcher.run(config)
    assert (result.exit_code, result.stopped) == (0, False)
    assert watcher.steps() == list(range(1, 13))
    assert checkpoints.newest(config.run_dir).name == "step_12"
    assert checkpoints.read_state(config.run_dir / "step_12")["num_ranks"] == 2
    assert any("is running on n[1-2]" in line for line in watcher.said)
    shown = capfd.readouterr().out
    assert "the script is set up" in shown
    assert "training: step 12 of 12" in shown


def test_cancelling_saves_leaves_no_job_and_the_next_run_goes_on(config, cluster):
    longer = config.model_copy(update={"max_steps": 2000})
    watcher = Watcher(at=6)
    with pytest.raises(KeyboardInterrupt):
        watcher.run(longer)
    assert watcher.said[-1].endswith("stopped cleanly")
    assert cluster.jobs() == []
    assert not ranks_of(config.run_dir)
    step = int(checkpoints.newest(config.run_dir).name.removeprefix("step_"))
    assert step >= 6
    again = Watcher()
    again.run(config.model_copy(update={"max_steps": step + 3}))
    assert again.steps() == [step + 1, step + 2, step + 3]


START = """
import sys
from pathlib import Path
from r3pp_core.training.config import TrainConfig
from test_slurm import Watcher
config = TrainConfig.model_validate_json(Path(sys.argv[1]).read_text())
Watcher().run(config)
"""


def test_a_launcher_that_was_killed_is_followed_by_one_that_finds_its_job(config, cluster, tmp_path):
    config = config.model_copy(update={"max_steps": 120})
    path = tmp_path / "config.json"
    path.write_text(config.model_dump_json())
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(Path(__file__).parent)])}
    first = subprocess.Popen([sys.executable, "-c", START, str(path)], env=env)
    cluster.wait_for(lambda: steps_in(config.run_dir), "first step")
    (job,) = cluster.jobs()
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert cluster.jobs() == [job]
    second = Watcher()
    result = second.run(config)
    assert any(f"found Slurm job {job} again" in line for line in second.said)
    assert json.loads((config.run_dir / "slurm.json").read_text())["job_id"] == job
    assert second.steps() == list(range(1, 121))
    assert result.exit_code == 0


def test_after_a_lost_node_the_job_goes_on_from_its_checkpoint(config, cluster):
    """Slurm queues it again where it sees the node go before the ranks of the other node fail; else a retry does."""
    config = config.model_copy(update={"max_steps": 60, "save_every": 2})

    def lose_node():
        cluster.kill_node("n2")
        time.sleep(1)
        cluster.start_node("n2")

    watcher = Watcher(at=5, then=lose_node)
    try:
        watcher.run(config)
    except LaunchFailed as failed:
        assert failed.kind == "lost_rank"
        watcher.run(config)
    steps = watcher.steps()
    assert sorted(set(steps)) == list(range(1, 61))
    (again,) = [number for number, (one, two) in enumerate(itertools.pairwise(steps)) if two <= one]
    assert steps[again + 1] >= 3  # from a checkpoint, not from the beginning
    assert cluster.jobs() == []


def test_before_the_time_limit_the_job_saves_and_the_failure_says_that_running_again_resumes(config):
    endless = config.model_copy(update={"max_steps": 100_000, "save_every": 50_000})
    with pytest.raises(LaunchFailed, match="time limit came; what it had is saved, run again to resume") as caught:
        Watcher().run(endless, time="0:01:00", warn_s=35)
    assert (caught.value.kind, caught.value.retry_helps) == ("time_limit", True)
    assert checkpoints.newest(config.run_dir) is not None


def test_a_job_that_was_cancelled_from_outside_is_not_started_again(config, cluster):
    def cancel():
        subprocess.run(["scancel", "--full", *cluster.jobs()], check=True)

    with pytest.raises(R3Error, match="was cancelled; run again to resume"):
        Watcher(at=2, then=cancel).run(config.model_copy(update={"max_steps": 100_000}))


def test_bad_input_in_the_job_is_the_same_sentence_as_on_this_machine(config):
    with pytest.raises(LaunchFailed, match="no model folder") as caught:
        Watcher().run(config.model_copy(update={"model_name": "./nowhere"}))
    assert caught.value.kind == "bad_input"


def test_what_slurm_refuses_is_told_in_its_own_words(config, cluster):
    with pytest.raises(R3Error, match=r"sbatch refused the job: .*partition"):
        Watcher().run(config, partition="none_such")
    assert cluster.jobs() == []


def steps_in(run_dir: Path) -> int:
    path = run_dir / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.is_file() else 0


def ranks_of(run_dir: Path) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(run_dir) in word for word in process.info["cmdline"] or [])
    ]
