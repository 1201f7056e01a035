"""What a table of questions looks like in a few numbers, and how far two such profiles are apart."""

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from r3pp_core.ingest.line_chunks import LineChunk, line_chunks
from r3pp_core.ingest.schema import UnifiedRow, unified_decoder
from r3pp_core.ingest.workers import Workers, processes_for

QUESTION_WORDS = ((1, 4), (5, 8), (9, 12), (13, 16), (17, 24), (25, None))
NO_ANSWER = "<no answer>"
YES_NO = {"yes", "no", "true", "false"}
NUMBER_CHARACTERS = set("0123456789.,%$€£+-/: ")


@dataclass(frozen=True)
class Profile:
    """Counts of rows: by data set, by words in the question, by type of the first answer.

    `answer_in_text` is the share of answered rows of which some answer stands in the picture's text as it was read.
    """

    num_rows: int
    datasets: dict[str, int]
    question_words: dict[str, int]
    answer_types: dict[str, int]
    answer_in_text: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def table_profile(table: Path) -> Profile:
    """Over all rows of a unified or merged table, read by worker processes where it is large."""
    counts: dict[str, Counter[str]] = {"datasets": Counter(), "words": Counter(), "types": Counter(), "rows": Counter()}
    with Workers(processes_for([table], None)) as pool:
        for part in pool.mapped(_count_chunk, line_chunks(table)):
            for name, counter in part.items():
                counts[name].update(counter)
    rows = counts["rows"]
    return Profile(
        num_rows=rows["all"],
        datasets=dict(sorted(counts["datasets"].items())),
        question_words={_bin_name(bounds): counts["words"][_bin_name(bounds)] for bounds in QUESTION_WORDS},
        answer_types={kind: counts["types"][kind] for kind in ("yes or no", "number", "text", "no answer", "hidden")},
        answer_in_text=rows["answer in text"] / max(1, rows["answered"]),
    )


def _count_chunk(chunk: LineChunk) -> dict[str, Counter[str]]:
    rows = [unified_decoder.decode(line) for _, line in chunk.lines()]
    kinds = [answer_type(row.answers) for row in rows]
    answered = [row for row, kind in zip(rows, kinds, strict=True) if kind in ("number", "text")]
    return {
        "datasets": Counter(row.dataset for row in rows),
        "words": Counter(_words_bin(len(row.question.split())) for row in rows),
        "types": Counter(kinds),
        "rows": Counter(
            {"all": len(rows), "answered": len(answered), "answer in text": sum(map(_answer_in_text, answered))}
        ),
    }


def answer_type(answers: list[str]) -> str:
    """By the first answer: yes or no, number, text, no answer (ScreenQA's), hidden (none given)."""
    if not answers:
        return "hidden"
    first = answers[0].strip().lower()
    if first == NO_ANSWER:
        return "no answer"
    if first in YES_NO:
        return "yes or no"
    return "number" if NUMBER_CHARACTERS.issuperset(first) and any(map(str.isdigit, first)) else "text"


def _answer_in_text(row: UnifiedRow) -> bool:
    text = row.pseudo_text.casefold()
    return any(answer.casefold() in text for answer in row.answers)


def _words_bin(num_words: int) -> str:
    return next(_bin_name((low, high)) for low, high in QUESTION_WORDS if high is None or num_words <= high)


def _bin_name(bounds: tuple[int, int | None]) -> str:
    low, high = bounds
    return f"{low} or more" if high is None else f"{low} to {high}"


def distance(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    """Total variation distance of two count distributions, in 0..1: the share of rows that would have to move."""
    totals = max(1, sum(one.values())), max(1, sum(other.values()))
    names = {*one, *other}
    return sum(abs(one.get(name, 0) / totals[0] - other.get(name, 0) / totals[1]) for name in names) / 2


def drift(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, float]:
    """How far two profiles (as JSON) are apart, by what they count; 0 is no difference, 1 is nothing in common."""
    moved = {name: distance(before[name], now[name]) for name in ("datasets", "question_words", "answer_types")}
    return {**moved, "answer_in_text": abs(before["answer_in_text"] - now["answer_in_text"])}


def profile_plot(profile: Profile) -> bytes:
    """Bars of rows by words in the question and by type of answer. PNG bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 2.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _bars(left, profile.question_words.items(), "words in the question")
    _bars(right, profile.answer_types.items(), "type of the first answer")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _bars(axes: Any, counts: Iterable[tuple[str, int]], title: str) -> None:
    names, values = zip(*counts, strict=True)
    total = max(1, sum(values))
    axes.barh(names, [100 * value / total for value in values], color="#0072B2", height=0.7)
    axes.invert_yaxis()
    axes.set_xlabel("% of rows")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
