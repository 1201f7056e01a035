"""Slurm's own commands, run here or on a host that submits, and what they say of a job."""

import shlex
import subprocess
from typing import NamedTuple

from r3pp_core.errors import R3Error
from r3pp_core.launch.failures import REMEDIES, LaunchFailed
from r3pp_core.launch.interface import SlurmConfig

COMMAND_TIMEOUT_S = 60
# From these no job comes back by itself. Slurm has many more states, and new ones: a job in any of them still counts.
FINAL = {
    "GONE",
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "BOOT_FAIL",
    "DEADLINE",
    "OUT_OF_MEMORY",
    "SPECIAL_EXIT",
    "REVOKED",
}
UNKNOWN = "UNKNOWN"
ITS_OWN = {"RUNNING", "COMPLETING"}  # in these, an exit code that lies there is of this start of the job


class State(NamedTuple):
    """A job's state as Slurm says it; also "GONE" where it has forgotten the job, UNKNOWN where it does not answer."""

    state: str
    reason: str
    nodes: str

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    @property
    def is_unknown(self) -> bool:
        return self.state == UNKNOWN

    def __str__(self) -> str:
        more = f" on {self.nodes}" if self.state == "RUNNING" else f" ({self.reason})" if self.reason != "None" else ""
        return f"{self.state.lower()}{more}"


class SlurmCommands:
    """sbatch, scontrol, squeue and scancel, behind the config's `submit_prefix` where it has one."""

    def __init__(self, config: SlurmConfig) -> None:
        self.prefix = config.submit_prefix

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """One command; 1 where it does not end in time. ssh gives its words to a shell, so they are quoted.

        Raises R3Error where there is no such command.
        """
        over_ssh = bool(self.prefix) and self.prefix[0].rsplit("/", 1)[-1] == "ssh"
        words = [*self.prefix, *(map(shlex.quote, arguments) if over_ssh else arguments)]
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

    def state(self, job_id: str) -> State:
        done = self.run("scontrol", "--oneliner", "show", "job", job_id)
        if done.returncode != 0:
            is_gone = "Invalid job id" in done.stderr
            return State("GONE" if is_gone else UNKNOWN, done.stderr.strip(), "")
        fields = dict(part.split("=", 1) for part in done.stdout.split() if "=" in part)
        return State(fields.get("JobState", UNKNOWN), fields.get("Reason", ""), fields.get("NodeList", ""))

    def known_state(self, job_id: str) -> State:
        """Raises LaunchFailed where Slurm does not say: a second job must not begin beside one that may run."""
        state = self.state(job_id)
        if state.is_unknown:
            raise silent_slurm(f"whether job {job_id} still runs", state.reason)
        return state

    def waiting_or_running(self, name: str) -> str | None:
        """The id of the job of that name, if Slurm has one that has not ended. Raises LaunchFailed as known_state."""
        done = self.run("squeue", "--noheader", f"--name={name}", "--format=%A")
        if done.returncode != 0:
            raise silent_slurm(f"whether a job {name} runs", done.stderr.strip())
        return next(iter(done.stdout.split()), None)


def silent_slurm(what: str, answer: str) -> LaunchFailed:
    sentence = f"Slurm does not say {what} ({answer}); {REMEDIES['no_slurm']}"
    return LaunchFailed(sentence, "no_slurm", 1, None)
