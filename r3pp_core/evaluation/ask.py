"""One question about one picture: the answer, how sure the model is of what it sees, and what it was shown beside."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3pp_core.artefact import hash_file
from r3pp_core.datasets.registry import dataset_spec
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.evaluation.report import EVIDENCE_SIDE_PX, PICTURE_SIDE_PX, template_environment, thumbnail
from r3pp_core.evaluation.subjects import Subject
from r3pp_core.pictures import open_picture, picture_inside

if TYPE_CHECKING:
    from r3pp_core.model.evidence import RowHits

MAX_SHOWN_CHARS = 120
NO_WORDS = "the evidence was not given as words: the picture's own text is trusted"


@dataclass(frozen=True)
class Evidence:
    """A hit: by `text` or `image`, its score (cosine), its share among the hits of its kind, and what it says."""

    kind: str
    score: float
    weight: float
    image_path: str
    text: str


@dataclass(frozen=True)
class Answered:
    """`gate` {text, image, vision} and `confidence` {c_vis, c_text} are None where that module is off.

    Without `has_words` the evidence was not given as words, since the picture's own text is trusted.
    """

    picture: Path
    question: str
    answer: str
    ocr_text: str
    ocr_conf: float | None
    gate: dict[str, float] | None
    confidence: dict[str, float] | None
    evidence: list[Evidence]
    has_words: bool


def ask(
    subject: Subject, picture: Path, question: str, dataset: str, *, read_text: bool, max_new_tokens: int
) -> Answered:
    """Ask an R3 subject; `dataset` chooses the instruction, `read_text` whether OCR reads the picture first.

    An index entry with the picture's own bytes is never evidence. Raises UsageError for an empty question or an unknown
    data set, R3Error for a picture that cannot be opened.
    """
    dataset_spec(dataset)
    if not question.strip():
        raise UsageError("--question is empty; ask something")
    open_picture(picture)
    text, conf = _read(picture) if read_text else ("", None)
    row = {
        "id": "ask",
        "dataset": dataset,
        "image_path": picture.name,
        "image_sha256": hash_file(picture),
        "question": question.strip(),
        "pseudo_text": text,
        "ocr_conf": conf,
    }
    preparation = subject.preparer(picture.resolve().parent, "both", 0).prepare([row], level=0.0)
    if not preparation.rows:
        raise R3Error(preparation.rejected[0].message)
    (prepared,) = subject.shown(preparation.rows, "r3")
    generated = subject.answer([prepared], "r3", max_new_tokens)[0]
    evidence = [*_hits("text", prepared.evidence.text), *_hits("image", prepared.evidence.image)]
    stated = (generated.gate, generated.confidence)
    return Answered(picture, question, generated.text, text, conf, *stated, evidence, prepared.has_words)


def _read(picture: Path) -> tuple[str, float | None]:
    from r3pp_core.ingest.config import OcrConfig
    from r3pp_core.ingest.ocr_engine import read_picture, text_of

    record = read_picture(picture)
    if "reason" in record:
        raise R3Error(f"{picture}: {record['detail']}")
    _, text, conf = text_of(record["lines"], OcrConfig().min_conf)
    return text, conf


def _hits(kind: str, hits: "RowHits") -> list[Evidence]:
    shown = zip(hits.entries, hits.scores[hits.mask], hits.weights[hits.mask], strict=True)
    return [
        Evidence(kind, float(score), float(weight), entry.image_path, " ".join(entry.pseudo_text.split()))
        for entry, score, weight in shown
    ]


def as_text(answered: Answered) -> str:
    """For a terminal."""
    lines = [f"answer: {answered.answer}"]
    if answered.confidence is not None:
        lines.append("confidence: " + ", ".join(f"{name} {value:.2f}" for name, value in answered.confidence.items()))
    if answered.gate is not None:
        lines.append("trust: " + ", ".join(f"{name} {value:.2f}" for name, value in answered.gate.items()))
    for hit in answered.evidence:
        numbers = f"score {hit.score:.3f}, weight {hit.weight:.2f}"
        lines.append(f"evidence by {hit.kind}: {numbers}, {hit.image_path}: {hit.text[:MAX_SHOWN_CHARS]}")
    if not answered.evidence:
        lines.append("no evidence")
    elif not answered.has_words:
        lines.append(NO_WORDS)
    return "\n".join(lines)


def as_page(answered: Answered, image_root: Path) -> str:
    """One HTML page with the picture and those of the evidence; it asks the network for nothing."""

    def evidence_picture(path: str) -> dict[str, Any]:
        return thumbnail(lambda: open_picture(picture_inside(image_root, path)), EVIDENCE_SIDE_PX)

    return (
        template_environment()
        .get_template("ask.html.jinja")
        .render(
            answered=answered,
            no_words=NO_WORDS if answered.evidence and not answered.has_words else "",
            picture=thumbnail(lambda: open_picture(answered.picture), PICTURE_SIDE_PX),
            evidence=[(hit, evidence_picture(hit.image_path)) for hit in answered.evidence],
        )
    )
