"""A training run as something that a launcher can start."""

from r3pp_core.launch import Job
from r3pp_core.training.config import TrainConfig


def training_job(config: TrainConfig, *, rehearse: bool = False) -> Job:
    """Write the whole config into the run's folder, where every training process reads it, and name the job."""
    config.run_dir.mkdir(parents=True, exist_ok=True)
    path = config.run_dir / "launch_config.json"
    path.write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")
    arguments = ["--config", str(path), *(["--rehearse"] if rehearse else [])]
    return Job("r3pp_core.training", arguments, config.run_dir, f"training {config.run or 'r3'}")
