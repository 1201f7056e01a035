"""The raw and the unified row, declared once: what JSON lines are checked against, and the one Arrow schema.

msgspec decodes a line and checks it in one go, faster than a line can be decoded to a dict and looked at.
"""

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    import pyarrow as pa

NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

FIELDS = {
    "id": "stable name of the question: data set, split, row",
    "dataset": "screenqa, chartqa or infovqa",
    "split": "train, val or test",
    "question": "as the source asks it",
    "answer": "the first reference; empty where answers are hidden",
    "answers": "all references; none where answers are hidden",
    "image": "the picture's file, below the data set's folder",
    "image_path": "the picture's file, below image_root",
    "image_sha256": "of the picture's bytes: equal pictures have one",
    "ocr_text": "what the picture says, in reading order",
    "ocr_conf": "how sure OCR is of it, 0 to 1; null where nothing was read",
    "phash": "perceptual hash of the picture: near duplicates differ in few bits",
    "pseudo_text": "what the picture says in words, without question or answer: the text index holds it",
    "meta": "what else the source tells, and the perceptual hash",
}
"""What each column means, for people."""


class RawRow(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A line of `<dataset>_raw_<split>.jsonl`; `image` is relative to its folder."""

    id: str
    dataset: str
    split: str
    question: str | None
    answers: list[NonEmpty]
    meta: dict[str, Any]
    image: str
    image_sha256: str


class UnifiedRow(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A line of `<dataset>_unified_<split>.jsonl` and of the merged tables."""

    id: str
    dataset: str
    split: str
    image_path: str
    image_sha256: str
    question: str
    answer: str
    answers: list[NonEmpty]
    ocr_text: str
    ocr_conf: Share | None
    pseudo_text: str
    meta: dict[str, Any]


class OcrRow(msgspec.Struct, gc=False):
    """What unify needs of a line of `ocr.jsonl`, ours or anybody's; whatever else it holds is passed over."""

    image_path: str
    ocr_text: str | None
    ocr_conf: Share | None
    image_sha256: str | None = None
    phash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None


Row = TypeVar("Row", RawRow, UnifiedRow, OcrRow)
raw_decoder = msgspec.json.Decoder(RawRow)
unified_decoder = msgspec.json.Decoder(UnifiedRow)
ocr_decoder = msgspec.json.Decoder(OcrRow)
row_encoder = msgspec.json.Encoder()


def decoded(decoder: "msgspec.json.Decoder[Row]", line: bytes) -> tuple[Row, None] | tuple[None, str]:
    """The row, or what is wrong with the line."""
    try:
        return decoder.decode(line), None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return None, str(error)


def raw_problem(line: bytes) -> str | None:
    """The first way in which a line is no raw row, or None."""
    return decoded(raw_decoder, line)[1]


def unified_problem(line: bytes) -> str | None:
    """The first way in which a line is no unified row, or None (METHOD 2)."""
    row, problem = decoded(unified_decoder, line)
    return rule_problem(row) if row is not None else problem


def rule_problem(row: UnifiedRow) -> str | None:
    """What is wrong between the fields of a row whose types are right, or None."""
    if row.answer != (row.answers[0] if row.answers else ""):
        return "answer is not the first of answers"
    if not row.question or row.question.isspace():
        return "question is empty"
    return path_problem(row.image_path)


def path_problem(path: str) -> str | None:
    """What keeps a picture's path from being one below its folder, or None."""
    if path.startswith("/") or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        return f"picture path {path[:80]!r} is not one below its folder"
    return None


def unified_arrow_schema() -> "pa.Schema":
    """The columns of the unified Parquet: as the JSONL, but `meta` is JSON text, since its keys differ by data set."""
    import pyarrow as pa

    types = {
        str: pa.string(),
        list[NonEmpty]: pa.list_(pa.string()),
        Share | None: pa.float64(),
        dict[str, Any]: pa.string(),
    }
    fields = msgspec.structs.fields(UnifiedRow)
    return pa.schema([pa.field(field.name, types[field.type], field.type == Share | None) for field in fields])
