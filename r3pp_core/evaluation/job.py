"""The job whose ranks answer an evaluation's shards."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from r3pp_core.evaluation.config import EvaluateConfig
from r3pp_core.evaluation.plan import EvaluationPlan, work_dir
from r3pp_core.evaluation.subjects import Places, Subject
from r3pp_core.launch.interface import Job, written_for_ranks


class EvaluationJob(BaseModel):
    """Everything that a rank needs to make the same plan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: Places
    table: Path
    image_root: Path
    out_dir: Path
    config: EvaluateConfig
    dtype: str | None
    answered: list[tuple[str, float]]


def launch_dir(out_dir: Path) -> Path:
    """Messages and lock of a launch; inside the work folder, and gone with it."""
    return work_dir(out_dir) / "launch"


def evaluation_job(plan: EvaluationPlan, subject: Subject, table: Path) -> Job:
    """What `r3pp evaluate --num_processes N` starts: ranks that leave the scoring to it."""
    assert subject.places is not None, "this subject lives in its own process alone"
    folder = launch_dir(plan.out_dir.resolve())
    described = EvaluationJob(
        subject=subject.places,
        table=table.resolve(),
        image_root=plan.image_root.resolve(),
        out_dir=plan.out_dir.resolve(),
        config=plan.config,
        dtype=plan.request.inputs.get("dtype"),
        answered=sorted(plan.answered),
    )
    path = written_for_ranks(described, folder, "job")
    return Job("r3pp_core.evaluation", ["--job", str(path)], folder, name=plan.request.stage)
