"""Dagster's own run launcher, which besides sees when a run's process is gone, and can end one whose server is gone.

Without it a run whose machine was restarted stays "started" for ever, keeps its place in the pools, and is not retried.
"""

import json
import os
import signal

import psutil
from dagster import DagsterEventType, DagsterRun, DefaultRunLauncher
from dagster._core.errors import DagsterUserCodeProcessError, DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}
STARTED = "Started process for run"
CLOCK_S = 2.0  # between the process's beginning and the event that it writes about itself, either clock's resolution


class WatchedRunLauncher(DefaultRunLauncher):
    """For runs on this machine, which `dagster dev` and a code server beside the daemon make."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """A run that was not started here, or said nothing yet, counts as running: nothing can be told of it."""
        found = self._started(run.run_id) if _is_here(run) else None
        if found is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        pid, started = found
        if _is_same(pid, started):
            return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=str(pid))
        return CheckRunHealthResult(WorkerStatus.FAILED, f"the run's process {pid} is gone", run_worker_id=str(pid))

    def terminate(self, run_id: str) -> bool:
        """As Dagster does; where the server that started the run is gone, its process gets the same interrupt."""
        try:
            if super().terminate(run_id):
                return True
            problem = None
        except (DagsterUserCodeUnreachableError, DagsterUserCodeProcessError) as error:
            problem = error
        run = self._instance.get_run_by_id(run_id)
        found = self._started(run_id) if run and not run.is_finished and _is_here(run) else None
        if found and _is_same(*found):
            os.kill(found[0], signal.SIGINT)
            return True
        if problem:
            raise problem
        return False

    def _started(self, run_id: str) -> tuple[int, float] | None:
        """Pid and time (seconds since 1970) that the run's newest process gave for itself."""
        for entry in reversed(self._instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT)):
            event = entry.dagster_event
            if event and (event.message or "").startswith(STARTED):
                return int(str(event.engine_event_data.metadata["pid"].value)), entry.timestamp
        return None


def _is_here(run: DagsterRun) -> bool:
    """Whether the code server that started it was on this machine."""
    server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
    return "socket" in server or server.get("host") in LOCAL_HOSTS


def _is_same(pid: int, started: float) -> bool:
    """A process that began after `started` has only got the same number."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= started + CLOCK_S
    except psutil.NoSuchProcess:
        return False
