"""The launcher that a config asks for."""

from r3pp_core.errors import R3Error
from r3pp_core.launch.interface import Job, JobResult, LaunchConfig, Launcher, Message
from r3pp_core.launch.local import LocalLauncher
from r3pp_core.launch.run_dir import stop_file
from r3pp_core.launch.slurm import SlurmLauncher
from r3pp_core.progress import Progress


def launcher_for(config: LaunchConfig) -> Launcher:
    return SlurmLauncher(config) if config.launcher == "slurm" else LocalLauncher(config)


def run_with_progress(config: LaunchConfig, job: Job, progress: Progress) -> JobResult:
    """Run a job that reports by `progress` messages with a `text` to its end.

    Raises as Launcher.run does, and R3Error where the job was asked to stop before.
    """

    def on_message(message: Message) -> None:
        if message["kind"] == "progress":
            progress(message["text"])

    result = launcher_for(config).run(job, on_message, progress)
    if result.stopped:
        raise R3Error(
            f"{job.name}: stopped, as {stop_file(job.run_dir)} asked; what is done is kept, run again to go on"
        )
    return result
