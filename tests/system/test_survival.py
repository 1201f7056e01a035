"""Training in the UI's own processes, and what is killed around it: no rank stays, and the run goes on by itself."""

import json
import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from conftest import start_ui, stop_ui
from driven_ui import CANCEL, DrivenUi

from r3pp_core.workspace import Workspace

pytestmark = pytest.mark.system

SAVE_EVERY, KILLED_AT = 5, 12


class Ui(DrivenUi):
    """A workspace of its own with its UI, which can be started again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run_dir = Workspace(root).checkpoint_dir(None)
        self.process, address = start_ui(root)
        super().__init__(address)

    def restart(self) -> None:
        self.process, self.address = start_ui(self.root)

    def train(self, max_steps: int) -> str:
        """Launch a run of checkpoint/r3 alone, which is another run than the last for the trainer; the run's id."""
        overrides = {"save_every": SAVE_EVERY, "eval_rows": 0, "seed": time.monotonic_ns() % 10**6}
        asset = {"config": {"max_steps": max_steps, "overrides": overrides}}
        return self.launch("train", ["checkpoint/r3"], {"checkpoint__r3": asset})

    def retry_of(self, run: str) -> str | None:
        return next((found["runId"] for found in self.runs() if found["parentRunId"] == run), None)

    def steps(self) -> list[int]:
        path = self.run_dir / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.is_file() else []
        return [line["step"] for line in map(json.loads, lines) if line["kind"] == "step"]

    def train_until(self, step: int, max_steps: int = 30) -> str:
        self.wait_for(lambda: not self.trainers(), "end of the last trainer")
        shutil.rmtree(self.run_dir, ignore_errors=True)
        run = self.train(max_steps)
        self.wait_for(lambda: step in self.steps(), f"step {step}")
        return run

    def trainers(self) -> list[psutil.Process]:
        """torchrun and the ranks that write into this workspace."""
        return [process for process in psutil.process_iter() if str(self.run_dir) in _arguments(process)]

    def servers(self) -> list[psutil.Process]:
        """Dagster's processes of this UI that hold the code."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        return [process for process in family if "code-server" in _words(process) or "grpc" in _words(process)]

    def workers(self) -> list[psutil.Process]:
        """The processes of runs, found as the parents of torchrun."""
        trainers = self.trainers()
        return [process.parent() for process in trainers if process.ppid() not in {one.pid for one in trainers}]

    def told(self) -> str:
        return f"{self.runs()} {(self.root / 'ui.log').read_text()[-3000:]}"


@pytest.fixture(scope="module")
def ui(finished_demo, tmp_path_factory):
    root = tmp_path_factory.mktemp("survival") / "workspace"
    shutil.copytree(finished_demo.root, root)
    ui = Ui(root)
    yield ui
    stop_ui(ui.process)


def test_cancel_in_the_ui_saves_and_leaves_no_process(ui):
    run = ui.train_until(KILLED_AT, max_steps=10_000)
    ui.ask(CANCEL, run=run)
    ui.wait_for(lambda: ui.status(run) == "CANCELED", "cancelled run")
    assert not ui.trainers()
    newest = max(int(path.name.removeprefix("step_")) for path in ui.run_dir.glob("step_*"))
    assert newest >= KILLED_AT


def test_a_run_whose_process_is_killed_is_retried_from_its_newest_checkpoint(ui):
    run = ui.train_until(KILLED_AT)
    (worker,) = ui.workers()
    worker.kill()
    assert_the_retry_resumes(ui, run)


def test_a_run_goes_on_without_the_server_that_started_it_and_can_still_be_cancelled(ui):
    run = ui.train_until(KILLED_AT, max_steps=10_000)
    killed = ui.servers()
    assert killed
    for process in killed:
        process.kill()
    step = ui.steps()[-1]
    ui.wait_for(lambda: ui.steps()[-1] > step + 5, "further steps")
    ui.wait_for(lambda: _answers(ui), "answer of the new server")
    time.sleep(40)  # run monitoring has looked at it meanwhile
    assert ui.status(run) == "STARTED"
    ui.ask(CANCEL, run=run)
    ui.wait_for(lambda: ui.status(run) == "CANCELED", "cancelled run")
    assert not ui.trainers()


def test_after_a_restart_of_the_machine_the_run_is_retried_from_its_newest_checkpoint(ui):
    """All of its processes end in one moment; later the UI is started again."""
    run = ui.train_until(KILLED_AT)
    family = psutil.Process(ui.process.pid).children(recursive=True)
    lost = {process.pid: process for process in [psutil.Process(ui.process.pid), *family, *ui.trainers()]}
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in lost:
            with suppress(ProcessLookupError):  # a helper that had just ended
                os.kill(pid, number)
    ui.process.wait()
    ui.restart()
    assert_the_retry_resumes(ui, run)


def assert_the_retry_resumes(ui: Ui, run: str) -> None:
    ui.wait_for(lambda: ui.status(run) == "FAILURE", "failed run")
    ui.wait_for(lambda: ui.retry_of(run), "retry")
    retry = ui.retry_of(run)
    ui.wait_for(lambda: ui.status(retry) in ("SUCCESS", "FAILURE"), "end of the retry")
    assert ui.status(retry) == "SUCCESS"
    steps = ui.steps()
    assert sorted(set(steps)) == list(range(1, 31))
    twice = [step for step in steps if steps.count(step) > 1]
    assert not twice or min(twice) > KILLED_AT - SAVE_EVERY  # not from the beginning


def _answers(ui: Ui) -> bool:
    found = ui.ask("query { repositoriesOrError { __typename } }")
    return found["repositoriesOrError"]["__typename"] == "RepositoryConnection"


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _arguments(process: psutil.Process) -> str:
    return " ".join(_words(process))
