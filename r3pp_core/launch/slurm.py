"""SlurmLauncher: the same torchrun on a cluster's nodes, found again by whoever comes after a lost launcher."""

import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

from r3pp_core.errors import R3Error, UsageError
from r3pp_core.launch.failures import LaunchFailed, launch_failed
from r3pp_core.launch.interface import Job, JobResult, LaunchConfig, OnMessage
from r3pp_core.launch.messages import MessageReader
from r3pp_core.launch.run_dir import clear_stop, refuse_if_held, request_stop, stop_file
from r3pp_core.launch.slurm_commands import ITS_OWN, SlurmCommands, State
from r3pp_core.launch.slurm_job import (
    TIME_LIMIT,
    Record,
    exit_file,
    job_script,
    output_file,
    read_record,
    sbatch_options,
    write_record,
)
from r3pp_core.launch.watching import Relay, sigterm_raises
from r3pp_core.progress import Progress

CANCEL_WAIT_S = 120.0
CANCEL_POLL_S = 2.0
SETTLE_S = 60.0  # for a file of another host to be seen here (NFS keeps names that long), and for Slurm to queue again
SETTLE_POLL_S = 1.0


class SlurmLauncher:
    """Submits a job with `sbatch`, watches it through the run's shared folder, and asks Slurm itself seldom.

    The job runs on where the launcher dies. A later launch into the same folder finds it by the id that was written
    there, and goes on watching instead of starting a second.
    """

    def __init__(self, config: LaunchConfig) -> None:
        if config.starter != "torchrun":
            raise UsageError("--starter deepspeed is for one machine; on Slurm torchrun starts DeepSpeed jobs as well")
        if config.gpus is not None:
            raise UsageError("--use_gpus is for this machine; on Slurm ask for them with slurm.gres")
        self.config = config
        self.slurm = SlurmCommands(config.slurm)

    def run(self, job: Job, on_message: OnMessage, progress: Progress) -> JobResult:
        """See Launcher.run. An interrupt stops the job; a launcher that is killed leaves it to the next one."""
        job = Job(job.module, job.args, job.run_dir.resolve(), job.name)
        job.run_dir.mkdir(parents=True, exist_ok=True)
        self._require_shared(job.run_dir)
        start = time.monotonic()
        with sigterm_raises():
            record = self._running(job)
            if record:
                progress(f"{job.name}: found Slurm job {record.job_id} again, which was started before")
                relay = Relay(MessageReader(job.run_dir, record.launch_id), on_message)
            else:
                refuse_if_held(job.run_dir)
                clear_stop(job.run_dir)
                record = Record(uuid.uuid4().hex, None, [job.module, *job.args])
                relay = Relay(MessageReader(job.run_dir, record.launch_id), on_message)
                relay.skip_existing()
            watch = _Watch(self, job, record, relay, progress)
            try:
                if record.job_id is None:
                    watch.record = self._submit(job, record)
                    progress(f"{job.name}: submitted Slurm job {watch.record.job_id}")
                exit_code = watch.until_end(None)
            except BaseException as error:
                self._stop(watch, error)
                raise
        relay.finish(job.name, progress)
        if watch.ending:
            raise watch.ending
        if relay.stopped and exit_code == 0 and TIME_LIMIT in _text(stop_file(job.run_dir)):
            sentence = f"{job.name}: Slurm's time limit came; what it had is saved, run again to resume"
            raise LaunchFailed(sentence, "time_limit", 1, None)
        return relay.result(job.name, record.launch_id, exit_code, time.monotonic() - start)

    def _stop(self, watch: "_Watch", error: BaseException) -> None:
        """Ask for a clean end, give it its time, then cancel what is left and see it gone."""
        name, relay, progress = watch.job.name, watch.relay, watch.progress
        if watch.record.job_id is None:  # it may have been submitted all the same
            with suppress(R3Error):  # without Slurm's commands: the error that is on its way says so
                self.slurm.run("scancel", f"--name={watch.record.name}")
            return
        try:
            request_stop(watch.job.run_dir, f"the launcher was interrupted by {type(error).__name__}")
            grace_s = relay.stop_grace_s(self.config)
            progress(f"{name}: stop requested ({type(error).__name__}), waiting up to {grace_s:g} s for a clean end")
            if self.slurm.state(watch.record.job_id).state in ("RUNNING", "UNKNOWN"):
                watch.until_end(time.monotonic() + grace_s)
            relay.finish(name, progress)
            progress(f"{name}: {'stopped cleanly' if relay.stopped else 'did not report a clean stop'}")
        finally:
            self._cancel(watch)

    def _cancel(self, watch: "_Watch") -> None:
        """Until Slurm itself says that the job has ended."""
        job_id = str(watch.record.job_id)
        deadline = time.monotonic() + CANCEL_WAIT_S
        while not (state := self.slurm.state(job_id)).is_final:
            self.slurm.run("scancel", "--full", job_id)
            if time.monotonic() > deadline:
                what = "does not say whether it" if state.is_unknown else "says that it"
                watch.progress(
                    f"{watch.job.name}: Slurm was told to cancel job {job_id} and {what} still runs ({state}); look "
                    f"with `squeue -j {job_id}`, end it with `scancel --full {job_id}`"
                )
                return
            time.sleep(CANCEL_POLL_S)

    def _submit(self, job: Job, record: Record) -> Record:
        """The record with the job's id. Raises R3Error with Slurm's own words where it does not take the job."""
        for ended in job.run_dir.glob("slurm-*.exit"):
            ended.unlink()  # of a job whose number a new controller may give again
        path = job.run_dir / "slurm.sh"
        path.write_text(job_script(self.config, job, record), encoding="utf-8")
        write_record(job.run_dir, record)  # before it is submitted: a launcher that is lost here is found by name
        done = self.slurm.run("sbatch", *sbatch_options(self.config, job, record), str(path))
        # A submission whose answer was lost (a timeout, a connection) may have been taken.
        job_id = done.stdout.strip().split(";")[0] if done.returncode == 0 else self._taken(record)
        if job_id is None:
            raise R3Error(f"{job.name}: sbatch refused the job: {done.stderr.strip()}")
        record = record._replace(job_id=job_id)
        write_record(job.run_dir, record)
        return record

    def _taken(self, record: Record) -> str | None:
        try:
            return self.slurm.waiting_or_running(record.name)
        except LaunchFailed:
            return None  # sbatch's own words say more; whatever was submitted is cancelled by its name

    def _require_shared(self, run_dir: Path) -> None:
        """Where commands go to another host, that host must see the same folder."""
        if not self.slurm.prefix:
            return
        token, probe = uuid.uuid4().hex, run_dir / ".slurm_probe"
        probe.write_text(token, encoding="utf-8")
        try:
            done = self.slurm.run("cat", str(probe))
        finally:
            probe.unlink(missing_ok=True)
        if done.returncode != 0 or done.stdout.strip() != token:
            host = " ".join(self.slurm.prefix)
            raise R3Error(
                f"{run_dir} is not the same folder behind `{host}` ({done.stderr.strip() or 'another content'}); "
                "put the workspace on a shared file system"
            )

    def _running(self, job: Job) -> Record | None:
        """The job that an earlier launcher submitted for this folder, while Slurm still has it.

        Raises R3Error where that job is of another config, LaunchFailed where Slurm does not answer.
        """
        record = read_record(job.run_dir)
        if record is None:
            return None
        if record.job_id is None:
            job_id = self.slurm.waiting_or_running(record.name)
            if job_id is None:
                return None
            record = record._replace(job_id=job_id)
            write_record(job.run_dir, record)
        state = self.slurm.known_state(str(record.job_id))
        # With an exit code the script is through, while Slurm may count the job as running for a moment longer; one
        # that is queued again has yet to remove the code.
        if state.is_final or (state.state in ITS_OWN and _text(exit_file(job.run_dir, record))):
            return None
        if record.command != [job.module, *job.args]:
            raise R3Error(
                f"{job.name}: Slurm job {record.job_id}, which was started with another config, is still in "
                f"{job.run_dir}; wait for it, or end it with `scancel {record.job_id}`"
            )
        return record


class _Watch:
    """One launcher's look at one job."""

    def __init__(self, launcher: SlurmLauncher, job: Job, record: Record, relay: Relay, progress: Progress) -> None:
        self.launcher, self.job, self.record, self.relay, self.progress = launcher, job, record, relay, progress
        self._shown = 0
        self._told = ""
        self._asked = self._queued_again = -float("inf")
        self.ending: R3Error | None = None

    def until_end(self, deadline: float | None) -> int:
        """The job's exit code; 1 where `deadline` passes before, or where Slurm ended it: `ending` says how."""
        while deadline is None or time.monotonic() < deadline:
            self._look()
            code = self._exit_code()
            if code == "0" or (code and self._is_due(self._queued_again) and self._stays_ended()):
                self._look()
                return int(code)
            if self._is_due(self._asked):
                state = self._ask()
                if state.is_final:
                    return self._ended_as(state)
            time.sleep(self.launcher.config.poll_s)
        return 1

    def _is_due(self, last: float) -> bool:
        return time.monotonic() - last >= self.launcher.config.slurm.poll_s

    def _look(self) -> None:
        self.relay.poll()
        self._show_output()

    def _exit_code(self) -> str:
        return _text(exit_file(self.job.run_dir, self.record)).strip()

    def _ask(self) -> State:
        self._asked = time.monotonic()
        state = self.launcher.slurm.state(str(self.record.job_id))
        if str(state) != self._told:
            self._told = str(state)
            self.progress(f"{self.job.name}: Slurm job {self.record.job_id} is {state}")
        return state

    def _stays_ended(self) -> bool:
        """Whether a job whose ranks failed is over, and not about to be queued again (preempted, a node lost)."""
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            state = self._ask()
            if state.is_final:
                return True
            if not state.is_unknown and state.state not in ITS_OWN:
                self._queued_again = time.monotonic()
                return False
            time.sleep(SETTLE_POLL_S)
        return bool(self._exit_code())

    def _ended_as(self, state: State) -> int:
        """The exit code of a job that Slurm says has ended. A script that ran to its end left one, perhaps on a disk
        that shows it here later.
        """
        deadline = time.monotonic() + (SETTLE_S if state.state in ("COMPLETED", "FAILED") else 0)
        while not (code := self._exit_code()) and time.monotonic() < deadline:
            time.sleep(SETTLE_POLL_S)
        self._look()
        if code:
            return int(code)
        self.ending = self._how_it_ended(state)
        return 0 if state.state == "COMPLETED" else 1

    def _how_it_ended(self, state: State) -> R3Error | None:
        """Of a job whose script could not say it."""
        name, job_id = self.job.name, self.record.job_id
        if state.state == "CANCELLED":
            return R3Error(f"{name}: Slurm job {job_id} was cancelled; run again to resume")
        if state.state == "TIMEOUT":
            return LaunchFailed(
                f"{name}: Slurm's time limit ended job {job_id}; run again to resume, or give slurm.time and "
                "slurm.warn_s more",
                "time_limit",
                1,
                None,
            )
        if state.state == "OUT_OF_MEMORY":
            lost = {"error_type": "MemoryError", "message": "Slurm ended the job out of memory", "user_error": False}
            return launch_failed(name, 1, [{**lost, "exit_code": 1, "rank": 0}], self.relay.plan)
        if state.state != "COMPLETED" and not self.relay.failures:
            output = output_file(self.job.run_dir, self.record)
            sentence = f"{name}: Slurm job {job_id} ended as {state}; look at {output}, then run again to resume"
            return LaunchFailed(sentence, "lost_rank", 1, None)
        return None

    def _show_output(self) -> None:
        """What all ranks wrote, on this process's own output, where the terminal or the UI has it."""
        try:
            with output_file(self.job.run_dir, self.record).open("rb") as file:
                file.seek(self._shown)
                fresh = file.read()
        except OSError:
            return
        self._shown += len(fresh)
        sys.stdout.write(fresh.decode(errors="replace"))
        sys.stdout.flush()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
