"""The services of deploy/systemd as an operator relies on them: closed to other machines, safe to look at, on time."""

import shutil
import subprocess
import time
import urllib.error
from contextlib import suppress

import dagster as dg
import psutil
import pytest
from conftest import free_port
from deployment import SERVICES, Deployment
from driven_ui import CODE, LAUNCH, WAIT_S, DrivenUi

pytestmark = pytest.mark.system

TWO_WEEKS_S = 14 * 24 * 3600
TURN_ON = """
mutation ($selector: ScheduleSelector!) { startSchedule(scheduleSelector: $selector) { __typename
  ... on ScheduleStateResult { scheduleState { status } } ... on PythonError { message } } }
"""
TICKS = """
query ($selector: ScheduleSelector!) { scheduleOrError(scheduleSelector: $selector) {
  ... on Schedule { scheduleState { ticks(limit: 10) { status timestamp skipReason error { message } } } } } }
"""


@pytest.fixture(scope="module")
def deployed(finished_demo, tmp_path_factory):
    root = tmp_path_factory.mktemp("services") / "workspace"
    shutil.copytree(finished_demo.root, root, symlinks=True)
    deployment = Deployment(root, R3PP_PROFILE="smoke", R3PP_SOURCE=str(finished_demo.source))
    yield deployment
    deployment.stop()


def listeners(process):
    """The addresses that a process or one below it listens on, those of IPv4 as such."""
    return {
        connection.laddr.ip.removeprefix("::ffff:")
        for one in (process, *process.children(recursive=True))
        for connection in one.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }


def test_no_service_listens_to_another_machine(deployed):
    heard = {service: listeners(psutil.Process(deployed.processes[service].pid)) for service in SERVICES}
    assert heard == {"code": {"127.0.0.1"}, "webserver": {"127.0.0.1"}, "daemon": set()}


@pytest.fixture
def read_only_view(deployed):
    """The webserver's command with the flags that docs/operate.md gives to those who may only look."""
    port = free_port()
    command = [*deployed.commands["webserver"][:-1], str(port), "--read-only"]
    with (deployed.root / "view.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=deployed.env, start_new_session=True)
    view = DrivenUi(f"http://127.0.0.1:{port}")

    def answers():
        assert process.poll() is None, (deployed.root / "view.log").read_text()[-2000:]
        with suppress(urllib.error.URLError):
            return view.runs()

    view.told = deployed.told
    view.wait_for(answers, "answer of the read-only view")
    yield view
    process.terminate()
    process.wait(timeout=30)


def test_a_read_only_view_shows_the_runs_and_starts_none(deployed, read_only_view):
    runs = {run["runId"] for run in deployed.runs()}
    assert {run["runId"] for run in read_only_view.runs()} == runs != set()
    params = {"selector": {**CODE, "jobName": "evaluate"}, "runConfigData": "{}"}
    refused = read_only_view.ask(LAUNCH, params=params)["launchRun"]
    assert refused["__typename"] == "UnauthorizedError"
    assert {run["runId"] for run in deployed.runs()} == runs


def test_a_week_that_the_machine_slept_through_is_made_up_by_the_daemon_and_skips_with_its_reason(
    deployed, monkeypatch
):
    selector = {**CODE, "scheduleName": "weekly_retraining"}
    runs = {run["runId"] for run in deployed.runs()}
    assert deployed.ask(TURN_ON, selector=selector)["startSchedule"]["__typename"] == "ScheduleStateResult"
    # As if it had been turned on two weeks ago, and no daemon had been there since.
    monkeypatch.setenv("R3PP_STORAGE", deployed.env["R3PP_STORAGE"])
    with dg.DagsterInstance.from_config(deployed.env["DAGSTER_HOME"]) as instance:
        (state,) = [one for one in instance.all_instigator_state() if one.name == "weekly_retraining"]
        began = state.instigator_data._replace(start_timestamp=time.time() - TWO_WEEKS_S, last_iteration_timestamp=None)
        deployed.kill("daemon", with_runs=False)  # it remembers besides when it looked last
        instance.update_instigator_state(state.with_data(began))

    def ticks():
        found = deployed.ask(TICKS, selector=selector)["scheduleOrError"]["scheduleState"]["ticks"]
        return [tick for tick in found if tick["status"] != "STARTED"]

    deployed.wait_for(ticks, "tick of the schedule", WAIT_S)
    mondays = {time.strftime("%A %H:%M", time.gmtime(tick["timestamp"])) for tick in ticks()}
    assert mondays == {"Monday 03:00"}
    for tick in ticks():
        assert tick["status"] == "SKIPPED", tick
        assert tick["skipReason"].startswith("no new data or code since run "), tick
    assert {run["runId"] for run in deployed.runs()} == runs
