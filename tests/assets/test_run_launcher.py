"""What the run launcher says of a run's process: gone only where that is sure."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import dagster as dg
import pytest
from dagster import DagsterEvent, DagsterEventType
from dagster._core.events import EngineEventData
from dagster._core.events.log import EventLogEntry
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.storage.tags import GRPC_INFO_TAG

import r3pp_assets.run_launcher
from r3pp_assets.run_launcher import LAUNCHED_TAG, Launched, WatchedRunLauncher

LOCAL = {"host": "localhost", "socket": "/tmp/s"}


@pytest.fixture
def process():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield child
    child.kill()
    child.wait()


def health(pid: int, launched: Launched | None, server: dict = LOCAL, said_after_s: float = 1.0) -> WorkerStatus:
    """Of a run whose process said its pid so many seconds after the launch."""
    tags = {GRPC_INFO_TAG: json.dumps(server)}
    if launched:
        tags[LAUNCHED_TAG] = json.dumps(asdict(launched))
    with dg.DagsterInstance.ephemeral() as instance:
        launcher = WatchedRunLauncher()
        launcher.register_instance(instance)
        run = instance.add_run(DagsterRun(job_name="job", tags=tags))
        message = f"Started process for run (pid: {pid})."
        data = EngineEventData(metadata={"pid": str(pid)})
        event = DagsterEvent(DagsterEventType.ENGINE_EVENT.value, "job", message=message, event_specific_data=data)
        said = (launched or Launched.now()).unix_s + said_after_s
        instance.store_event(EventLogEntry(None, 10, "", run.run_id, said, job_name="job", dagster_event=event))
        return launcher.check_run_worker_health(run).status


def test_a_run_is_healthy_while_its_process_lives_and_failed_once_it_is_gone(process):
    launched = Launched.now()
    assert health(process.pid, launched) == WorkerStatus.RUNNING
    process.kill()
    process.wait()
    assert health(process.pid, launched) == WorkerStatus.FAILED


def test_another_process_with_the_same_number_is_not_the_run():
    earlier = replace(Launched.now(), since_boot_s=Launched.now().since_boot_s - 1e5)
    assert health(os.getpid(), earlier) == WorkerStatus.FAILED


def test_a_clock_that_is_set_forward_or_back_does_not_end_a_run(process):
    now = Launched.now()
    for step_s in (-7200, 7200):
        assert health(process.pid, replace(now, unix_s=now.unix_s + step_s)) == WorkerStatus.RUNNING


def test_a_run_from_before_a_restart_of_the_machine_is_gone_whatever_has_its_number(process):
    assert health(process.pid, replace(Launched.now(), boot="another")) == WorkerStatus.FAILED


@pytest.mark.parametrize("field", ["machine", "pid_namespace"])
def test_nothing_is_said_of_a_run_whose_processes_cannot_be_seen_from_here(field):
    assert health(2**22 + 1, replace(Launched.now(), **{field: "another"})) == WorkerStatus.RUNNING


def test_nothing_is_said_of_a_run_of_a_code_server_elsewhere_or_of_another_launcher():
    assert health(2**22 + 1, Launched.now(), {"host": "gpu7", "port": 4000}) == WorkerStatus.RUNNING
    assert health(2**22 + 1, None) == WorkerStatus.RUNNING


def test_launching_leaves_the_machine_on_the_run(monkeypatch):
    seen = []
    monkeypatch.setattr(r3pp_assets.run_launcher.DefaultRunLauncher, "launch_run", lambda self, context: seen.append(1))
    with dg.DagsterInstance.ephemeral() as instance:
        launcher = WatchedRunLauncher()
        launcher.register_instance(instance)
        run = instance.add_run(DagsterRun(job_name="job"))
        launcher.launch_run(type("Context", (), {"dagster_run": run})())
        tags = instance.get_run_by_id(run.run_id).tags
    assert seen == [1]
    assert json.loads(tags[LAUNCHED_TAG])["boot"] == Launched.now().boot
