"""SlurmLauncher: the same torchrun on a cluster's nodes, found again by whoever comes after a lost launcher."""

import json
import shlex
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import NamedTuple

from r3pp_core.errors import R3Error, UsageError
from r3pp_core.launch.failures import LaunchFailed, launch_failed
from r3pp_core.launch.interface import Job, JobResult, LaunchConfig, OnMessage
from r3pp_core.launch.messages import LAUNCH_ID_VARIABLE, MessageReader
from r3pp_core.launch.orphans import PARENT_VARIABLE
from r3pp_core.launch.run_dir import clear_stop, refuse_if_held, request_stop, stop_file
from r3pp_core.launch.watching import Relay, sigterm_raises
from r3pp_core.progress import Progress

ACTIVE = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "RESIZING"}
TIME_LIMIT = "the time limit of the job is near"
COMMAND_TIMEOUT_S = 60
CANCEL_WAIT_S = 120.0
CANCEL_POLL_S = 2.0
PORTS = range(20_000, 60_000)


class Record(NamedTuple):
    """Of the job that was submitted for a run's folder; `job_id` None: its submission was not heard of to its end."""

    launch_id: str
    job_id: str | None
    command: list[str]

    @property
    def name(self) -> str:
        return f"r3pp-{self.launch_id}"


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
        self.slurm = config.slurm

    def run(self, job: Job, on_message: OnMessage, progress: Progress) -> JobResult:
        """See Launcher.run. An interrupt stops the job; a launcher that is killed leaves it to the next one."""
        job = Job(job.module, job.args, job.run_dir.resolve(), job.name)
        job.run_dir.mkdir(parents=True, exist_ok=True)
        self._require_shared(job.run_dir)
        start = time.monotonic()
        with sigterm_raises():
            record = self._running(job.run_dir)
            if record and record.command != [job.module, *job.args]:
                raise R3Error(
                    f"{job.name}: Slurm job {record.job_id}, which was started with another config, is still in "
                    f"{job.run_dir}; wait for it, or end it with `scancel {record.job_id}`"
                )
            if record:
                progress(f"{job.name}: found Slurm job {record.job_id} again, which was started before")
                relay = Relay(MessageReader(job.run_dir, record.launch_id), on_message)
            else:
                refuse_if_held(job.run_dir)
                clear_stop(job.run_dir)
                record, relay = self._submit(job, on_message)
                progress(f"{job.name}: submitted Slurm job {record.job_id}")
            watch = _Watch(self, job, record, relay, progress)
            try:
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
        request_stop(watch.job.run_dir, f"the launcher was interrupted by {type(error).__name__}")
        grace_s = relay.stop_grace_s(self.config)
        progress(f"{name}: stop requested ({type(error).__name__}), waiting up to {grace_s:g} s for a clean end")
        try:
            if self.state(watch.record).state == "RUNNING":
                watch.until_end(time.monotonic() + grace_s)
            relay.finish(name, progress)
            progress(f"{name}: {'stopped cleanly' if relay.stopped else 'did not report a clean stop'}")
        finally:
            self._cancel(watch)

    def _cancel(self, watch: "_Watch") -> None:
        job_id = str(watch.record.job_id)
        deadline = time.monotonic() + CANCEL_WAIT_S
        while self.state(watch.record).state in ACTIVE:
            self.command("scancel", "--full", job_id)
            if time.monotonic() > deadline:
                watch.progress(f"{watch.job.name}: Slurm job {job_id} is still there; look with `squeue -j {job_id}`")
                return
            time.sleep(CANCEL_POLL_S)

    def _submit(self, job: Job, on_message: OnMessage) -> tuple[Record, Relay]:
        record = Record(uuid.uuid4().hex, None, [job.module, *job.args])
        for ended in job.run_dir.glob("slurm-*.exit"):
            ended.unlink()  # of a job whose number a new controller may give again
        relay = Relay(MessageReader(job.run_dir, record.launch_id), on_message)
        relay.skip_existing()
        path = job.run_dir / "slurm.sh"
        path.write_text(self.script(job, record), encoding="utf-8")
        _write_record(job.run_dir, record)  # before it is submitted: a launcher that is lost here is found by name
        done = self.command("sbatch", *self.options(job, record), str(path))
        if done.returncode != 0:
            raise R3Error(f"{job.name}: sbatch refused the job: {done.stderr.strip()}")
        record = record._replace(job_id=done.stdout.strip().split(";")[0])
        _write_record(job.run_dir, record)
        return record, relay

    def options(self, job: Job, record: Record) -> list[str]:
        """Of sbatch. Given as arguments and not in the script, where a folder's name may be cut at its spaces."""
        slurm = self.slurm
        output = str(job.run_dir / "slurm-").replace("%", "%%") + "%j.out"
        wanted = {
            "job-name": record.name,
            "nodes": slurm.nodes,
            "ntasks-per-node": 1,
            "output": output,
            "open-mode": "append",
            "signal": f"B:USR1@{slurm.warn_s}",
            "account": slurm.account,
            "partition": slurm.partition,
            "qos": slurm.qos,
            "gres": slurm.gres,
            "constraint": slurm.constraint,
            "cpus-per-task": slurm.cpus_per_task,
            "mem": slurm.mem,
            "time": slurm.time,
        }
        given = [f"--{name}={value}" for name, value in wanted.items() if value is not None]
        return ["--parsable", "--requeue", *given, *slurm.options]

    def script(self, job: Job, record: Record) -> str:
        """What Slurm runs on the first node; `srun` starts one torchrun on each."""
        slurm, run_dir = self.slurm, shlex.quote(str(job.run_dir))
        python = slurm.python or sys.executable
        ranks = ["--nnodes", str(slurm.nodes), "--nproc-per-node", str(self.config.num_processes)]
        starter = [python, "-m", "r3pp_core.launch.torchrun_starter", str(job.run_dir), *ranks]
        variables = {**self.config.env, LAUNCH_ID_VARIABLE: record.launch_id, "PYTHONUNBUFFERED": "1"}
        return "\n".join(
            [
                "#!/bin/bash",
                f"unset {PARENT_VARIABLE}",
                *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
                *slurm.setup,
                f'ended={run_dir}/slurm-"$SLURM_JOB_ID".exit',
                'rm -f "$ended"',
                f"stop={shlex.quote(str(stop_file(job.run_dir)))}",
                f'trap \'echo "$(date): {TIME_LIMIT}" > "$stop"\' USR1',
                f"port=$(({PORTS.start} + SLURM_JOB_ID % {len(PORTS)}))",
                f"srun --kill-on-bad-exit=1 {shlex.join(starter)} --rdzv-backend c10d \\",
                '  --rdzv-endpoint "$(hostname):$port" --rdzv-id "$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}" \\',
                f"  --module {shlex.join([job.module, *job.args])} &",
                "ranks=$!",
                "wait $ranks; code=$?",
                "while kill -0 $ranks 2>/dev/null; do wait $ranks; code=$?; done  # a signal ends a wait early",
                'echo $code > "$ended.tmp" && mv "$ended.tmp" "$ended"',
                "exit $code",
                "",
            ]
        )

    def _require_shared(self, run_dir: Path) -> None:
        """Where commands go to another host, that host must see the same folder."""
        if not self.slurm.submit_prefix:
            return
        token, probe = uuid.uuid4().hex, run_dir / ".slurm_probe"
        probe.write_text(token, encoding="utf-8")
        try:
            done = self.command("cat", str(probe))
        finally:
            probe.unlink(missing_ok=True)
        if done.returncode != 0 or done.stdout.strip() != token:
            host = " ".join(self.slurm.submit_prefix)
            raise R3Error(
                f"{run_dir} is not the same folder behind `{host}` ({done.stderr.strip() or 'another content'}); "
                "put the workspace on a shared file system"
            )

    def _running(self, run_dir: Path) -> Record | None:
        """The job that an earlier launcher submitted for this folder, while Slurm still has it."""
        try:
            record = Record(**json.loads((run_dir / "slurm.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        if record.job_id is None:
            done = self.command("squeue", "--noheader", f"--name={record.name}", "--format=%A")
            job_ids = done.stdout.split()
            if done.returncode != 0 or not job_ids:
                return None
            record = record._replace(job_id=job_ids[0])
            _write_record(run_dir, record)
        if _text(exit_file(run_dir, record)):  # Slurm may still count it as completing
            return None
        return record if self.state(record).state in ACTIVE else None

    def state(self, record: Record) -> "State":
        """As Slurm says now. "UNKNOWN" while it does not answer, "GONE" when it has forgotten the job."""
        done = self.command("scontrol", "--oneliner", "show", "job", str(record.job_id))
        if done.returncode != 0:
            is_gone = "Invalid job id" in done.stderr
            return State("GONE" if is_gone else "UNKNOWN", done.stderr.strip(), "")
        fields = dict(part.split("=", 1) for part in done.stdout.split() if "=" in part)
        return State(fields.get("JobState", "UNKNOWN"), fields.get("Reason", ""), fields.get("NodeList", ""))

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run one, here or behind `submit_prefix`. ssh gives its words to a shell, so they are quoted."""
        prefix = self.slurm.submit_prefix
        over_ssh = bool(prefix) and Path(prefix[0]).name == "ssh"
        words = [*prefix, *(map(shlex.quote, arguments) if over_ssh else arguments)]
        try:
            return subprocess.run(
                words, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, stdin=subprocess.DEVNULL
            )
        except FileNotFoundError as error:
            raise R3Error(
                f"{error.filename} is not here; run this on a host that submits to Slurm, or name one in "
                'slurm.submit_prefix, for example ["ssh", "login1"]'
            ) from error
        except subprocess.TimeoutExpired as error:
            return subprocess.CompletedProcess(words, 1, "", f"no answer within {error.timeout:.0f} s")


class State(NamedTuple):
    state: str
    reason: str
    nodes: str

    def __str__(self) -> str:
        more = f" on {self.nodes}" if self.state == "RUNNING" else f" ({self.reason})" if self.reason != "None" else ""
        return f"{self.state.lower()}{more}"


class _Watch:
    """One launcher's look at one job."""

    def __init__(self, launcher: SlurmLauncher, job: Job, record: Record, relay: Relay, progress: Progress) -> None:
        self.launcher, self.job, self.record, self.relay, self.progress = launcher, job, record, relay, progress
        self._output = job.run_dir / f"slurm-{record.job_id}.out"
        self._shown = 0
        self._told = ""
        self._asked = -float("inf")
        self.ending: R3Error | None = None

    def until_end(self, deadline: float | None) -> int:
        """The job's exit code; 1 where `deadline` passes before, or where Slurm ended it: `ending` says how."""
        ended = exit_file(self.job.run_dir, self.record)
        while deadline is None or time.monotonic() < deadline:
            self.relay.poll()
            self._show_output()
            if code := _text(ended).strip():
                return int(code)
            if time.monotonic() - self._asked >= self.launcher.slurm.poll_s:
                self._asked = time.monotonic()
                state = self.launcher.state(self.record)
                self._tell(state)
                if state.state not in ACTIVE and state.state != "UNKNOWN" and not _text(ended):
                    self._show_output()
                    self.relay.poll()
                    self.ending = self._ended_as(state)
                    return 0 if state.state == "COMPLETED" else 1
            time.sleep(self.launcher.config.poll_s)
        return 1

    def _ended_as(self, state: State) -> R3Error | None:
        """Of a job whose script could not say how it ended."""
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
            sentence = f"{name}: Slurm job {job_id} ended as {state}; look at {self._output}, then run again to resume"
            return LaunchFailed(sentence, "lost_rank", 1, None)
        return None

    def _tell(self, state: State) -> None:
        if str(state) != self._told:
            self._told = str(state)
            self.progress(f"{self.job.name}: Slurm job {self.record.job_id} is {state}")

    def _show_output(self) -> None:
        """What all ranks wrote, on this process's own output, where the terminal or the UI has it."""
        try:
            with self._output.open("rb") as file:
                file.seek(self._shown)
                fresh = file.read()
        except OSError:
            return
        self._shown += len(fresh)
        sys.stdout.write(fresh.decode(errors="replace"))
        sys.stdout.flush()


def exit_file(run_dir: Path, record: Record) -> Path:
    """Where the job's script leaves its exit code; removed when Slurm starts it again."""
    return run_dir / f"slurm-{record.job_id}.exit"


def _write_record(run_dir: Path, record: Record) -> None:
    path = run_dir / "slurm.json"
    staging = path.with_suffix(".tmp")
    staging.write_text(json.dumps(record._asdict()) + "\n", encoding="utf-8")
    staging.replace(path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
