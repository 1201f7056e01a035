"""Writes the embedded sample as Parquet in the Hub's own columns, and the facts behind it as JSON lines."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3pp_core.sample.config import SampleConfig
from r3pp_core.sample.drawings import draw
from r3pp_core.sample.plan import SPLITS, Picture, build_plan
from r3pp_core.sample.questions import Question, ask_about

if TYPE_CHECKING:
    import pyarrow as pa

_ROW_GROUP = 200
_REPORT_EVERY = 40

DATASETS = {"screen": "screenqa", "chart": "chartqa", "infographic": "infovqa"}


@dataclass(frozen=True)
class SampleSummary:
    """`num_pictures` and `num_questions` by "dataset/split"; answerable counts leave out what has no answer."""

    num_pictures: dict[str, int]
    num_questions: dict[str, int]
    num_answerable: dict[str, int]
    num_facts: int


def write_sample(
    out_dir: Path, config: SampleConfig = SampleConfig(), progress: Callable[[str], None] | None = None
) -> SampleSummary:
    """Draw the sample of `config` into `out_dir`; files that stand there already are replaced one by one.

    The same config gives the same bytes. `progress` is called with a line of text now and then.
    """
    say = progress or (lambda _: None)
    plan = build_plan(config)
    tables: dict[tuple[str, str], list[dict[str, Any]]] = {(d, s): [] for d in DATASETS.values() for s in SPLITS}
    lines: list[str] = []
    counts: dict[str, dict[str, int]] = {"pictures": {}, "questions": {}, "answerable": {}}
    for i, (picture, questions) in enumerate(ask_about(plan)):
        if i % _REPORT_EVERY == 0:
            say(f"sample: {i} of {len(plan.pictures)} pictures drawn")
        png = draw(picture).png()
        dataset, key = DATASETS[picture.kind], f"{DATASETS[picture.kind]}/{picture.split}"
        rows = list(_rows(picture, questions, png))
        tables[dataset, picture.split] += rows
        lines.append(json.dumps(_fact_line(picture, questions, png), ensure_ascii=False))
        num_answerable = 0 if key == "infovqa/test" else sum(question.answerable for question in questions)
        for name, count in (("pictures", 1), ("questions", len(rows)), ("answerable", num_answerable)):
            counts[name][key] = counts[name].get(key, 0) + count
    for (dataset, split), rows in tables.items():
        _write_table(out_dir, dataset, split, rows)
    _write_whole(out_dir / "facts.jsonl", lambda path: path.write_text("\n".join(lines) + "\n", encoding="utf-8"))
    say(f"sample: {len(plan.pictures)} pictures, {sum(counts['questions'].values())} questions in {out_dir}")
    return SampleSummary(counts["pictures"], counts["questions"], counts["answerable"], len(plan.world.facts))


def _rows(picture: Picture, questions: tuple[Question, ...], png: bytes) -> Iterator[dict[str, Any]]:
    """One row a question in the columns of the picture's data set; the answers of infovqa/test are hidden."""
    name = f"{picture.kind}_{picture.number:03d}.png"
    image = {"bytes": png, "path": name}
    for i, question in enumerate(questions):
        answers = list(question.answers)
        if picture.kind == "screen":
            yield {
                "screen_id": str(picture.number),
                "question": question.text,
                "ground_truth": answers,
                "file_name": name,
                "image": image,
            }
        elif picture.kind == "chart":
            human_or_machine = 0 if question.reasoning or question.looks else 1
            yield {"image": image, "query": question.text, "label": answers, "human_or_machine": human_or_machine}
        else:
            hidden = picture.split == "test"
            kind = "non-span" if answers[0] in ("Yes", "No") or question.looks or question.reasoning else "single span"
            yield {
                "questionId": f"{picture.number:03d}{i:02d}",
                "question": question.text,
                "answers": [] if hidden else answers,
                "answer_type": [] if hidden else [kind],
                "image": image,
            }


def _fact_line(picture: Picture, questions: tuple[Question, ...], png: bytes) -> dict[str, Any]:
    return {
        "dataset": DATASETS[picture.kind],
        "split": picture.split,
        "image_sha256": hashlib.sha256(png).hexdigest(),
        "fact_ids": [fact.fact_id for fact in picture.facts],
        "questions": [{"question": q.text, "fact_ids": list(q.fact_ids), "looks": q.looks} for q in questions],
    }


def _schema(dataset: str) -> "pa.Schema":
    """The Hub's columns, with the metadata by which `datasets` knows the picture column."""
    import pyarrow as pa

    text, texts = pa.string(), pa.list_(pa.string())
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns: dict[str, list[tuple[str, pa.DataType]]] = {
        "screenqa": [
            ("screen_id", text),
            ("question", text),
            ("ground_truth", texts),
            ("file_name", text),
            ("image", image),
        ],
        "chartqa": [("image", image), ("query", text), ("label", texts), ("human_or_machine", pa.int64())],
        "infovqa": [
            ("questionId", text),
            ("question", text),
            ("answers", texts),
            ("answer_type", texts),
            ("image", image),
        ],
    }
    string = {"dtype": "string", "_type": "Value"}
    features: dict[str, object] = {}
    for name, kind in columns[dataset]:
        number = {"dtype": "int64", "_type": "Value"} if pa.types.is_integer(kind) else string
        features[name] = (
            {"_type": "Image"} if kind is image else {"feature": string, "_type": "List"} if kind is texts else number
        )
    described = json.dumps({"info": {"features": features}})
    return pa.schema(columns[dataset], metadata={"huggingface": described})


def _write_table(out_dir: Path, dataset: str, split: str, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    hub_split = "validation" if split == "val" and dataset != "chartqa" else split
    table = pa.Table.from_pylist(rows, schema=_schema(dataset))
    path = out_dir / dataset / "data" / f"{hub_split}-00000-of-00001.parquet"
    _write_whole(path, lambda part: pq.write_table(table, part, row_group_size=_ROW_GROUP, compression="snappy"))


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside `path` and rename, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    write(part)
    part.replace(path)
