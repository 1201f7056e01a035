"""A stage that was killed at any moment is finished by the next run, with the bytes of one that nobody disturbed."""

import random
import shutil
import subprocess
import sys
import time

import killed_pool
import psutil
import pytest
from killed_stages import GONE_S, RANKS, STAGES, Run, Workshop, contents

ATTEMPTS = 20
KEPT = {".ocr_cache"}
# What others leave in the folder for temporary files: onnxruntime an identifier, torchrun (also undisturbed) its logs.
FOREIGN = (".ses", "torchelastic_")


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        is_soak = metafunc.config.getoption("rounds", default=1) > 1
        metafunc.parametrize("name", (*STAGES, RANKS) if is_soak else STAGES)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


def test_a_killed_stage_that_runs_again_leaves_the_bytes_of_an_undisturbed_run(
    workshop, name, round_number, tmp_path, landed
):
    """Two kills, one of the parent alone and one of all processes, then a run to the end."""
    stage, windows = workshop.stage(name), workshop.windows(name)
    draw = random.Random(f"{name} {round_number}")
    moments: list[str] = []
    for _ in range(ATTEMPTS):
        folder = stage.fresh(tmp_path / "out")
        for victim in draw.sample(["parent", "tree"], 2):
            moment = Run.of(stage, folder).kill(windows, victim, draw)
            moments += [moment] if moment else []
        if moments:
            break
    assert moments, "no run lived long enough to be killed"
    landed.update((name, moment) for moment in moments)

    run = Run.of(stage, folder)
    assert "Traceback" not in run.finish()
    run.wait_until_gone()
    assert contents(folder) == contents(workshop.whole(name)), moments
    assert {path.name for path in folder.glob(".*") if not path.name.startswith(".lock-")} <= KEPT
    assert [path.name for path in run.scratch.iterdir() if not path.name.startswith(FOREIGN)] == []
    shutil.rmtree(folder)  # many rounds would fill the disk


def test_a_worker_whose_parent_is_killed_while_it_starts_ends(tmp_path):
    parent = subprocess.Popen([sys.executable, killed_pool.__file__, tmp_path / "pid"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + GONE_S
    while not (tmp_path / "pid").exists():
        assert parent.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    worker = psutil.Process(int((tmp_path / "pid").read_text()))
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs([worker], timeout=GONE_S)
    outlived = any(process.status() != psutil.STATUS_ZOMBIE for process in alive)
    for process in alive:
        process.kill()
    assert not outlived
