"""One chunk of raw lines to unified rows: what a worker process of unify does."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import orjson

from r3pp_core.ingest.line_chunks import LineChunk
from r3pp_core.ingest.merge_keys import Keys, line_lengths, row_keys
from r3pp_core.ingest.ocr_index import NO_TEXT, OcrIndex, rejected_pictures
from r3pp_core.ingest.reasons import Reason
from r3pp_core.ingest.schema import (
    RawRow,
    UnifiedRow,
    decoded,
    path_problem,
    raw_decoder,
    row_encoder,
    unified_arrow_schema,
)

ANSWERLESS_SPLIT = "test"  # the only split whose answers may be hidden
REPEATED_COLUMNS = ("dataset", "split", "image_path", "image_sha256", "ocr_text", "pseudo_text", "meta")


@dataclass(frozen=True)
class Setting:
    """What all chunks have in common. `ocr_table` and its index are None without OCR.

    `fingerprint` is the request's: a process that works on two requests keeps their OCR apart.
    """

    fingerprint: str
    prefix: str
    ocr_table: Path | None
    ocr_index: Path | None
    ocr_rejected: Path | None


@dataclass(frozen=True)
class UnifiedChunk:
    """`jsonl` and `arrow` (an IPC stream) hold the same rows, those of a chunk of the raw table `table`.

    `keys` are what merging will ask of them, offsets counted from the chunk's first row.
    """

    table: Path
    jsonl: bytes
    arrow: bytes
    keys: Keys
    num_rows: int
    counts: Counter[str]
    rejected: list[dict[str, str]]


_unifiers: dict[Setting, "Unifier"] = {}  # one a process, made with its first chunk


def unify_chunk(task: tuple[Setting, LineChunk]) -> UnifiedChunk:
    setting, chunk = task
    if setting not in _unifiers:
        _unifiers.clear()
        _unifiers[setting] = Unifier(setting)
    return _unifiers[setting].unify(chunk)


class Unifier:
    def __init__(self, setting: Setting) -> None:
        self.prefix = setting.prefix
        self.unreadable = rejected_pictures(setting.ocr_rejected) if setting.ocr_rejected else {}
        self.ocr = None
        if setting.ocr_table is not None and setting.ocr_index is not None:
            self.ocr = OcrIndex(setting.ocr_table, setting.ocr_index)

    def unify(self, chunk: LineChunk) -> UnifiedChunk:
        rows: list[UnifiedRow] = []
        counts: Counter[str] = Counter()
        rejected: list[dict[str, str]] = []
        for offset, line in chunk.lines():
            raw, problem = decoded(raw_decoder, line)
            if raw is None:
                rejected.append(_undecoded(f"{chunk.path.name}:{chunk.number_of(offset)}", line, str(problem)))
            elif reason := self._reason(raw):
                rejected.append({"id": raw.id, "reason": reason[0], "detail": reason[1]})
            else:
                rows.append(self._unified(raw, counts))
        counts.update(
            rows_in=len(rows) + len(rejected),
            rows_without_answer=sum(not row.answers for row in rows),
            rows_without_text=sum(not row.ocr_text for row in rows),
            rows_without_phash=sum("image_phash" not in row.meta for row in rows),
        )
        jsonl = row_encoder.encode_lines(rows)
        return UnifiedChunk(
            chunk.path, jsonl, arrow_stream(rows), row_keys(rows, line_lengths(jsonl)), len(rows), counts, rejected
        )

    def _reason(self, raw: RawRow) -> tuple[str, str] | None:
        """Why a row cannot be used, with the detail; None where it can."""
        if problem := path_problem(raw.image):
            return Reason.SCHEMA, problem
        if not raw.question or raw.question.isspace():
            return Reason.QUESTION_EMPTY, "the question is null or blank"
        if not raw.answers and raw.split != ANSWERLESS_SPLIT:
            return Reason.ANSWER_MISSING, f"a {raw.split} row without an answer"
        return self.unreadable.get(raw.image)

    def _unified(self, raw: RawRow, counts: Counter[str]) -> UnifiedRow:
        image_path = f"{self.prefix}/{raw.image}"
        ocr = self.ocr.find(raw.image_sha256, raw.image, image_path) if self.ocr else NO_TEXT
        counts["rows_not_in_ocr"] += ocr is NO_TEXT
        text = ocr.ocr_text or ""
        if ocr.phash:
            raw.meta["image_phash"] = ocr.phash
        assert raw.question is not None, "a row without a question was left out"
        return UnifiedRow(
            raw.id,
            raw.dataset,
            raw.split,
            image_path,
            raw.image_sha256,
            raw.question.strip(),
            raw.answers[0] if raw.answers else "",
            raw.answers,
            text,
            ocr.ocr_conf,
            text,
            raw.meta,
        )


def _undecoded(place: str, line: bytes, problem: str) -> dict[str, str]:
    """The rejection of a line that is no raw row, by its id where it has one."""
    try:
        row: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return {"id": place, "reason": Reason.NOT_JSON, "detail": str(error)}
    known = row.get("id") if isinstance(row, dict) else None
    return {"id": known if isinstance(known, str) else place, "reason": Reason.SCHEMA, "detail": problem}


def arrow_stream(rows: Sequence[UnifiedRow]) -> bytes:
    """The rows as an Arrow stream of `arrow_stream_schema`; a value of another type cannot pass."""
    import pyarrow as pa

    schema = arrow_stream_schema()
    arrays = []
    for field, values in zip(
        schema if rows else (), zip(*map(msgspec.structs.astuple, rows), strict=True), strict=True
    ):
        texts = [row_encoder.encode(meta).decode() for meta in values] if field.name == "meta" else values
        arrays.append(_dictionary(texts) if field.name in REPEATED_COLUMNS else pa.array(texts, field.type))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        if rows:
            writer.write_batch(pa.record_batch(arrays, schema=schema))
    return bytes(sink.getvalue())


def arrow_stream_schema() -> Any:
    """The one schema, with columns that repeat from row to row as dictionaries, which hold each value once."""
    import pyarrow as pa

    repeated = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [field.with_type(repeated) if field.name in REPEATED_COLUMNS else field for field in unified_arrow_schema()]
    )


def _dictionary(values: Sequence[str]) -> Any:
    import pyarrow as pa

    codes: dict[str, int] = {}
    indices = [codes.setdefault(value, len(codes)) for value in values]
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array(list(codes), pa.string()))
