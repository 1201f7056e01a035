"""What is submitted to Slurm: the options of sbatch, the script, and the record of it in the run's folder."""

import json
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from r3pp_core.launch.interface import Job, LaunchConfig
from r3pp_core.launch.messages import LAUNCH_ID_VARIABLE
from r3pp_core.launch.orphans import PARENT_VARIABLE
from r3pp_core.launch.run_dir import stop_file

TIME_LIMIT = "the time limit of the job is near"
PORTS = range(20_000, 60_000)


class Record(NamedTuple):
    """Of the job that was submitted for a run's folder; `job_id` None: its submission was not heard of to its end."""

    launch_id: str
    job_id: str | None
    command: list[str]

    @property
    def name(self) -> str:
        return f"r3pp-{self.launch_id}"


def read_record(run_dir: Path) -> Record | None:
    """None where nothing was submitted yet, or the record is torn."""
    try:
        return Record(**json.loads(_record_path(run_dir).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_record(run_dir: Path, record: Record) -> None:
    path = _record_path(run_dir)
    staging = path.with_suffix(".tmp")
    staging.write_text(json.dumps(record._asdict()) + "\n", encoding="utf-8")
    staging.replace(path)


def _record_path(run_dir: Path) -> Path:
    return run_dir / "slurm.json"


def exit_file(run_dir: Path, record: Record) -> Path:
    """Where the job's script leaves its exit code; removed when Slurm starts it again."""
    return run_dir / f"slurm-{record.job_id}.exit"


def output_file(run_dir: Path, record: Record) -> Path:
    """What all ranks write."""
    return run_dir / f"slurm-{record.job_id}.out"


def sbatch_options(config: LaunchConfig, job: Job, record: Record) -> list[str]:
    """Given as arguments and not in the script, where a folder's name may be cut at its spaces."""
    slurm = config.slurm
    output = str(job.run_dir / "slurm-").replace("%", "%%") + "%j.out"
    wanted = {
        "job-name": record.name,
        "chdir": Path.cwd(),  # relative paths in the job's arguments mean the same on its nodes
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


def job_script(config: LaunchConfig, job: Job, record: Record) -> str:
    """What Slurm runs on the first node; `srun` starts one torchrun on each.

    The near time limit is caught before anything else is done, and what it asked of an earlier start of the same job is
    taken back. srun is told the processors of a task, which it does not take from sbatch.
    """
    slurm, run_dir = config.slurm, shlex.quote(str(job.run_dir))
    ranks = ["--nnodes", str(slurm.nodes), "--nproc-per-node", str(config.num_processes)]
    starter = [
        slurm.python or sys.executable,
        "-m",
        "r3pp_core.launch.torchrun_starter",
        str(job.run_dir),
        *ranks,
    ]
    variables = {**config.env, LAUNCH_ID_VARIABLE: record.launch_id, "PYTHONUNBUFFERED": "1"}
    return "\n".join(
        [
            "#!/bin/bash",
            f'ended={run_dir}/slurm-"$SLURM_JOB_ID".exit',
            'rm -f "$ended"',
            f"stop={shlex.quote(str(stop_file(job.run_dir)))}",
            f'grep -qs {shlex.quote(TIME_LIMIT)} "$stop" && rm -f "$stop"',
            f'trap \'echo "$(date): {TIME_LIMIT}" > "$stop"\' USR1',
            f"unset {PARENT_VARIABLE}",
            *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
            *slurm.setup,
            f"port=$(({PORTS.start} + SLURM_JOB_ID % {len(PORTS)}))",
            "srun --kill-on-bad-exit=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK} \\",
            f"  {shlex.join(starter)} --rdzv-backend c10d \\",
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
