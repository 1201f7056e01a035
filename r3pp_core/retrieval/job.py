"""The job whose ranks encode an index's shards."""

from pathlib import Path

from r3pp_core.launch.interface import Job
from r3pp_core.retrieval.plan import IndexPlan, work_dir


def launch_dir(out_dir: Path, kind: str) -> Path:
    """Messages and lock of a launch; inside the work folder, and gone with it."""
    return work_dir(out_dir, kind) / "launch"


def index_job(plan: IndexPlan, jsonl: Path) -> Job:
    """What `r3pp index --num_processes N` starts: ranks that leave the merging to it."""
    places = {
        "jsonl": jsonl.resolve(),
        "image_root": plan.image_root.resolve(),
        "out_dir": plan.out_dir.resolve(),
        "encoder": plan.encoder_dir.resolve(),
    }
    values = {name: "none" if value is None else value for name, value in plan.config.model_dump().items()}
    arguments = [f"--{name}={value}" for name, value in {**places, **values}.items()]
    return Job(
        "r3pp_core.retrieval",
        ["--kind", plan.kind, "--shards_only", *arguments],
        launch_dir(plan.out_dir.resolve(), plan.kind),
        name=plan.request.stage,
    )
