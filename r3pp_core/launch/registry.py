"""The launcher that a config asks for."""

from r3pp_core.launch.interface import Job, JobResult, LaunchConfig, Launcher, Message
from r3pp_core.launch.local import LocalLauncher
from r3pp_core.launch.slurm import SlurmLauncher
from r3pp_core.progress import Progress


def launcher_for(config: LaunchConfig) -> Launcher:
    return SlurmLauncher(config) if config.launcher == "slurm" else LocalLauncher(config)


def run_with_progress(config: LaunchConfig, job: Job, progress: Progress) -> JobResult:
    """Run a job that reports by `progress` messages with a `text`; its errors are those of Launcher.run."""

    def on_message(message: Message) -> None:
        if message["kind"] == "progress":
            progress(message["text"])

    return launcher_for(config).run(job, on_message, progress)
