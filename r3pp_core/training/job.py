"""A training run as something that a launcher can start."""

from r3pp_core.launch.interface import Job, written_for_ranks
from r3pp_core.training.config import TrainConfig


def training_job(config: TrainConfig, *, rehearse: bool = False) -> Job:
    """Write the whole config into the run's folder, where every training process reads it, and name the job."""
    path = written_for_ranks(config, config.run_dir, "launch_config")
    arguments = ["--config", str(path), *(["--rehearse"] if rehearse else [])]
    return Job("r3pp_core.training", arguments, config.run_dir, f"training {config.run or 'r3'}")
