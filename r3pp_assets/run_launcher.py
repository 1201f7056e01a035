"""Dagster's own run launcher, which besides sees when a run's process is gone, and can end one whose server is gone.

Without it a run whose machine was restarted stays "started" for ever, keeps its place in the pools, and is not retried.
"""

import json
import os
import platform
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from dagster import DagsterEventType, DagsterRun, DefaultRunLauncher
from dagster._core.errors import DagsterUserCodeProcessError, DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG, HIDDEN_TAG_PREFIX

LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}
STARTED = "Started process for run"
LAUNCHED_TAG = f"{HIDDEN_TAG_PREFIX}r3pp_launched"
# Between a process's beginning and the event that it writes about itself, and what the clock may be set meanwhile.
CLOCK_S = 60.0


@dataclass(frozen=True)
class Launched:
    """Where and when a run was launched. `since_boot_s` goes on whatever the wall clock is set to."""

    machine: str
    boot: str
    pid_namespace: str
    unix_s: float
    since_boot_s: float

    @property
    def place(self) -> tuple[str, str, str]:
        """Where process numbers mean the same."""
        return self.machine, self.boot, self.pid_namespace

    @classmethod
    def now(cls) -> "Launched":
        return cls(
            machine=f"{platform.node()} {_read('/etc/machine-id')}",
            boot=_read("/proc/sys/kernel/random/boot_id"),
            pid_namespace=str(Path("/proc/self/ns/pid").readlink()),
            unix_s=time.time(),
            since_boot_s=time.clock_gettime(time.CLOCK_BOOTTIME),
        )


class WatchedRunLauncher(DefaultRunLauncher):
    """For runs on this machine, which `dagster dev` and a code server beside the daemon make."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """As Dagster does, with a tag that says on which machine."""
        self._instance.add_run_tags(context.dagster_run.run_id, {LAUNCHED_TAG: json.dumps(asdict(Launched.now()))})
        super().launch_run(context)

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """A run of another machine, or one that said nothing yet, counts as running: nothing can be told of it."""
        launched, here = _launched(run), Launched.now()
        if launched is None or launched.machine != here.machine:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if launched.boot != here.boot:
            return CheckRunHealthResult(WorkerStatus.FAILED, "the machine was restarted since the run began")
        started = self._started(run)
        if started is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        pid, latest = started
        if _is_same(pid, latest):
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
        started = self._started(run) if run and not run.is_finished else None
        if started and _is_same(*started):
            os.kill(started[0], signal.SIGINT)
            return True
        if problem:
            raise problem
        return False

    def _started(self, run: DagsterRun) -> tuple[int, float] | None:
        """Pid of the run's newest process, and by when (seconds since boot) it had begun; None where it is of another
        machine, or of other numbers than this process sees.
        """
        launched, here = _launched(run), Launched.now()
        if launched is None or launched.place != here.place:
            return None
        for entry in reversed(self._instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)):
            event = entry.dagster_event
            if event and (event.message or "").startswith(STARTED):
                later_s = max(0.0, entry.timestamp - launched.unix_s)
                return int(str(event.engine_event_data.metadata["pid"].value)), launched.since_boot_s + later_s
        return None


def _launched(run: DagsterRun) -> Launched | None:
    """None where the code server is not beside the launcher, or another run launcher launched it."""
    server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
    if LAUNCHED_TAG not in run.tags or not ("socket" in server or server.get("host") in LOCAL_HOSTS):
        return None
    return Launched(**json.loads(run.tags[LAUNCHED_TAG]))


def _is_same(pid: int, latest: float) -> bool:
    """A process that began after `latest`, in seconds since boot, has only got the same number."""
    try:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return False
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (psutil.NoSuchProcess, OSError):
        return False
    began = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22 of proc(5), which counts from before the name
    return began <= latest + CLOCK_S


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
