"""What every launcher takes and gives: callers know these types and never which launcher runs."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from r3pp_core.progress import Progress

Message = dict[str, Any]
OnMessage = Callable[[Message], None]


class SlurmConfig(BaseModel):
    """A job as Slurm is asked for it. What is empty is left to the cluster's own defaults.

    `setup`: lines of the job's script before the ranks start (modules, an environment). `submit_prefix`: put before
    every command, for example ["ssh", "login1"]; the run's folder must then be the same on both sides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    nodes: int = Field(default=1, ge=1)
    account: str | None = None
    partition: str | None = None
    qos: str | None = None
    gres: str | None = None
    constraint: str | None = None
    cpus_per_task: int | None = Field(default=None, ge=1)
    mem: str | None = None
    time: str | None = Field(default=None, description="limit as Slurm writes it, for example 12:00:00")
    warn_s: int = Field(default=120, ge=1, description="seconds before the limit at which the job saves and ends")
    setup: list[str] = []
    options: list[str] = Field(default=[], description="further options of sbatch, each with its dashes")
    submit_prefix: list[str] = []
    python: str | None = Field(default=None, description="interpreter on the nodes; empty: this one")
    poll_s: float = Field(default=30, gt=0, description="seconds between two questions to Slurm")


class LaunchConfig(BaseModel):
    """How a job is started; what it computes is in the job's own config.

    `stop_grace_s` is the time that the job has for a clean end (saving a checkpoint) after a stop request; None: what
    the job's own plan says. `gpus`: indices of those that may be used; None: all that are visible. `env` is added to
    the job's environment and wins over what the launcher sets by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    launcher: Literal["local", "slurm"] = "local"
    starter: Literal["torchrun", "deepspeed"] = "torchrun"
    num_processes: int = Field(default=1, ge=1, description="on each machine")
    gpus: tuple[int, ...] | None = None
    stop_grace_s: float | None = Field(default=None, ge=0)
    poll_s: float = Field(default=0.5, gt=0)
    env: dict[str, str] = {}
    slurm: SlurmConfig = SlurmConfig()

    @property
    def num_ranks(self) -> int:
        return self.num_processes * (self.slurm.nodes if self.launcher == "slurm" else 1)


@dataclass(frozen=True)
class Job:
    """A Python module to run in every process. `run_dir` holds its messages, its lock and its stop request."""

    module: str
    args: list[str]
    run_dir: Path
    name: str = "training"


def written_for_ranks(values: BaseModel, run_dir: Path, name: str) -> Path:
    """A file of `run_dir` that ranks read. It is named by what it says: a job that runs, or is queued again, keeps its
    own, and another command line is another job.
    """
    text = values.model_dump_json(indent=1) + "\n"
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / f"{name}.{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    path.write_text(text, encoding="utf-8")
    return path


@dataclass(frozen=True)
class JobResult:
    """A job that ended by itself with exit code 0; `stopped` says that it did so because it was asked to."""

    launch_id: str
    exit_code: int
    wall_s: float
    num_messages: int
    last_message: Message | None
    stopped: bool


class Launcher(Protocol):
    def run(self, job: Job, on_message: OnMessage, progress: Progress) -> JobResult:
        """Run `job` to its end, giving each of its messages to `on_message` as it comes.

        Raises LaunchFailed when the job fails, R3Error when it cannot be started. Whatever interrupts the call
        is raised again after the job was asked to stop, had its grace time, and nothing of it is left.
        """
        ...
