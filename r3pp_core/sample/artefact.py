"""The embedded sample as an artefact that is drawn once, and the texts that its tokenizer is trained on."""

from collections.abc import Iterator
from pathlib import Path

from r3pp_core.artefact import Manifest, Outcome, Request, Target, build
from r3pp_core.progress import Progress, silent
from r3pp_core.sample.config import SampleConfig
from r3pp_core.sample.plan import build_plan
from r3pp_core.sample.questions import ask_about

CODE_VERSION = "1"
PROMPT_REPETITIONS = 500


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

    request = Request(stage="sample", code_version=CODE_VERSION, config=config.model_dump(), inputs={})
    return build(Target(out_dir), request, make, force=force, progress=progress)


def sample_texts(config: SampleConfig = SampleConfig()) -> Iterator[str]:
    """Every question and accepted answer of the train pictures, and the prompt's own sentences, without drawing.

    The prompt is repeated, so that the tokenizer learns whole words of it and prompts stay short.
    """
    from r3pp_core.datasets.registry import DATASETS
    from r3pp_core.model.prompt import EVIDENCE_HEADING, OCR_HEADING, SYSTEM

    sentences = [SYSTEM, OCR_HEADING, EVIDENCE_HEADING, *(spec.prompt for spec in DATASETS.values())]
    yield from sentences * PROMPT_REPETITIONS
    for picture, questions in ask_about(build_plan(config)):
        if picture.split == "train":
            for question in questions:
                yield question.text
                yield from question.answers
