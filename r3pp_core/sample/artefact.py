"""The embedded sample as an artefact that is drawn once."""

from pathlib import Path

from r3pp_core.artefact import Manifest, Outcome, Request, Target, build, fresh_manifest
from r3pp_core.progress import Progress, silent
from r3pp_core.sample.config import SampleConfig

CODE_VERSION = "2"


def ensure_sample(
    out_dir: Path, config: SampleConfig = SampleConfig(), progress: Progress = silent, *, force: bool = False
) -> Manifest:
    """The sample's Parquet files below `out_dir`, drawn unless they stand there already."""
    from r3pp_core.sample.write import write_sample

    def make(staging: Path) -> Outcome:
        summary = write_sample(staging, config, progress)
        return Outcome(
            counts={
                "pictures": sum(summary.num_pictures.values()),
                "questions": sum(summary.num_questions.values()),
                "facts": summary.num_facts,
            }
        )

    return build(Target(out_dir), _request(config), make, force=force, progress=progress)


def is_current(out_dir: Path, config: SampleConfig = SampleConfig()) -> bool:
    """Whether `out_dir` holds what this version draws."""
    return fresh_manifest(Target(out_dir), _request(config)) is not None


def _request(config: SampleConfig) -> Request:
    return Request(stage="sample", code_version=CODE_VERSION, config=config.model_dump(), inputs={})
