"""LocalLauncher: torchrun or deepspeed on this machine, watched from start to end, with nothing left behind."""

import os
import subprocess
import time
import uuid

from r3pp_core.launch.gpus import chosen_gpus
from r3pp_core.launch.interface import Job, JobResult, LaunchConfig, OnMessage
from r3pp_core.launch.messages import LAUNCH_ID_VARIABLE, MessageReader
from r3pp_core.launch.orphans import PARENT_VARIABLE
from r3pp_core.launch.run_dir import clear_stop, refuse_if_held, request_stop
from r3pp_core.launch.starters import starter_command
from r3pp_core.launch.tree import ProcessTree
from r3pp_core.launch.watching import Relay, sigterm_raises
from r3pp_core.progress import Progress

TERM_GRACE_S = 5.0


class LocalLauncher:
    """Starts a job with torchrun (or deepspeed, where the config says so), for one process too, so that there is one
    way to start, watch and stop. torchrun serves DeepSpeed jobs as well, and says which rank was lost.
    """

    def __init__(self, config: LaunchConfig) -> None:
        self.config = config

    def command(self, job: Job) -> list[str]:
        """Raises UsageError for GPUs that are not there."""
        return starter_command(self.config, job, chosen_gpus(self.config))

    def environment(self, launch_id: str) -> dict[str, str]:
        threads = max(1, len(os.sched_getaffinity(0)) // self.config.num_processes)
        defaults = {"OMP_NUM_THREADS": str(threads), "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": f"{TERM_GRACE_S:.0f}"}
        ours = {"PYTHONUNBUFFERED": "1", LAUNCH_ID_VARIABLE: launch_id, PARENT_VARIABLE: str(os.getpid())}
        gpus = {} if self.config.gpus is None else {"CUDA_VISIBLE_DEVICES": ",".join(chosen_gpus(self.config))}
        return {**defaults, **os.environ, **gpus, **self.config.env, **ours}

    def run(self, job: Job, on_message: OnMessage, progress: Progress) -> JobResult:
        """See Launcher.run. Must be called from a thread that lives until it returns: torchrun dies with it."""
        command = self.command(job)
        job.run_dir.mkdir(parents=True, exist_ok=True)
        refuse_if_held(job.run_dir)
        clear_stop(job.run_dir)
        launch_id = uuid.uuid4().hex
        relay = Relay(MessageReader(job.run_dir, launch_id), on_message)
        relay.skip_existing()
        tree = ProcessTree(launch_id)
        start = time.monotonic()
        with sigterm_raises():
            try:
                process = subprocess.Popen(
                    command, env=self.environment(launch_id), stdin=subprocess.DEVNULL, start_new_session=True
                )
                started = f"started {self.config.num_processes} processes under {self.config.starter}"
                progress(f"{job.name}: {started}, pid {process.pid}")
                try:
                    self._watch(process, tree, relay, deadline=None)
                except BaseException as error:
                    self._stop(process, tree, relay, job, error, progress)
                    raise
            finally:
                _leave_nothing(tree, job, progress)
            exit_code = process.wait()
        relay.finish(job.name, progress)
        return relay.result(job.name, launch_id, exit_code, time.monotonic() - start)

    def _watch(
        self, process: "subprocess.Popen[bytes]", tree: ProcessTree, relay: Relay, deadline: float | None
    ) -> None:
        """Until the process ends or `deadline` passes: remember its descendants and pass its messages on."""
        while deadline is None or time.monotonic() < deadline:
            tree.remember(process.pid)
            relay.poll()
            try:
                process.wait(timeout=self.config.poll_s)
                return
            except subprocess.TimeoutExpired:
                continue

    def _stop(
        self,
        process: "subprocess.Popen[bytes]",
        tree: ProcessTree,
        relay: Relay,
        job: Job,
        error: BaseException,
        progress: Progress,
    ) -> None:
        """Ask for a clean end and give it its time; a second interrupt ends the wait."""
        request_stop(job.run_dir, f"the launcher was interrupted by {type(error).__name__}")
        grace_s = relay.stop_grace_s(self.config)
        progress(f"{job.name}: stop requested ({type(error).__name__}), waiting up to {grace_s:g} s for a clean end")
        self._watch(process, tree, relay, deadline=time.monotonic() + grace_s)
        relay.finish(job.name, progress)
        ended = "stopped cleanly" if relay.stopped else "did not report a clean stop"
        progress(f"{job.name}: {ended}")


def _leave_nothing(tree: ProcessTree, job: Job, progress: Progress) -> None:
    killed, survivors = tree.end(TERM_GRACE_S)
    if killed:
        progress(f"{job.name}: killed {killed} processes that did not end by themselves")
    if survivors:
        progress(f"{job.name}: processes {survivors} survive even SIGKILL (stuck in the kernel); look at the machine")
