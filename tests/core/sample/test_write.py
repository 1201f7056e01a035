"""The written sample is what the Hub's loaders expect, and the same bytes every time."""

import hashlib
import io
import json

import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

from r3pp_core.sample.write import SampleConfig, write_sample

SMALL = SampleConfig(num_screens=6, num_charts=6, num_infographics=6)
COLUMNS = {
    "screenqa": ["screen_id", "question", "ground_truth", "file_name", "image"],
    "chartqa": ["image", "query", "label", "human_or_machine"],
    "infovqa": ["questionId", "question", "answers", "answer_type", "image"],
}
ANSWERS = {"screenqa": "ground_truth", "chartqa": "label", "infovqa": "answers"}
SPLITS = {
    "screenqa": ["test", "train", "validation"],
    "chartqa": ["test", "train", "val"],
    "infovqa": ["test", "train", "validation"],
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("sample")
    messages: list[str] = []
    return out_dir, write_sample(out_dir, SMALL, messages.append), messages


def _tables(out_dir):
    for dataset in COLUMNS:
        for split in SPLITS[dataset]:
            path = out_dir / dataset / "data" / f"{split}-00000-of-00001.parquet"
            yield dataset, split, pq.read_table(path)


def _files(out_dir):
    return {
        str(path.relative_to(out_dir)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out_dir.rglob("*"))
        if path.is_file()
    }


def test_two_runs_write_the_same_bytes(written, tmp_path):
    write_sample(tmp_path, SMALL)
    assert _files(tmp_path) == _files(written[0])


def test_another_seed_writes_other_bytes(written, tmp_path):
    write_sample(tmp_path, SMALL.model_copy(update={"seed": 8}))
    assert _files(tmp_path)["facts.jsonl"] != _files(written[0])["facts.jsonl"]


def test_exactly_the_nine_tables_and_the_facts_are_written(written):
    expected = {f"{d}/data/{s}-00000-of-00001.parquet" for d, splits in SPLITS.items() for s in splits}
    assert set(_files(written[0])) == expected | {"facts.jsonl"}


def test_columns_are_those_of_the_hub(written):
    for dataset, _, table in _tables(written[0]):
        assert table.column_names == COLUMNS[dataset]
        assert str(table.schema.field("image").type) == "struct<bytes: binary, path: string>"
        assert str(table.schema.field(ANSWERS[dataset]).type).startswith("list<")


def test_answers_are_hidden_in_infovqa_test_and_nowhere_else(written):
    for dataset, split, table in _tables(written[0]):
        hidden = dataset == "infovqa" and split == "test"
        for answers in table[ANSWERS[dataset]].to_pylist():
            assert (answers == []) == hidden


def test_charts_are_asked_both_as_human_and_as_machine(written):
    kinds = {v for d, _, table in _tables(written[0]) if d == "chartqa" for v in table["human_or_machine"].to_pylist()}
    assert kinds == {0, 1}


def test_no_picture_is_in_two_splits_and_its_rows_stand_together(written):
    seen: set[bytes] = set()
    for _, _, table in _tables(written[0]):
        pictures = [image["bytes"] for image in table["image"].to_pylist()]
        blocks = [png for i, png in enumerate(pictures) if i == 0 or png != pictures[i - 1]]
        assert len(blocks) == len(set(blocks))
        assert not seen & set(blocks)
        seen |= set(blocks)
    assert len(seen) == 18


def test_pictures_are_pngs_of_at_most_512_pixels_without_metadata(written):
    for _, _, table in _tables(written[0]):
        for png in {image["bytes"] for image in table["image"].to_pylist()}:
            with Image.open(io.BytesIO(png)) as picture:
                assert picture.format == "PNG"
                assert max(picture.size) <= 512
                assert set(picture.info) <= {"dpi"}


def test_facts_name_every_picture_by_its_hash_and_every_question_in_order(written):
    lines = [json.loads(line) for line in (written[0] / "facts.jsonl").read_text().splitlines()]
    by_hash = {line["image_sha256"]: line for line in lines}
    questions: dict[str, list[str]] = {}
    for dataset, _, table in _tables(written[0]):
        texts = table["query" if dataset == "chartqa" else "question"].to_pylist()
        for image, text in zip(table["image"].to_pylist(), texts, strict=True):
            questions.setdefault(hashlib.sha256(image["bytes"]).hexdigest(), []).append(text)
    assert set(by_hash) == set(questions)
    for sha, texts in questions.items():
        assert [question["question"] for question in by_hash[sha]["questions"]] == texts
        assert all(set(question["fact_ids"]) <= set(by_hash[sha]["fact_ids"]) for question in by_hash[sha]["questions"])


def test_the_summary_counts_what_the_tables_hold(written):
    out_dir, summary, messages = written
    for dataset, split, table in _tables(out_dir):
        key = f"{dataset}/{'val' if split == 'validation' else split}"
        assert summary.num_questions[key] == table.num_rows
    assert sum(summary.num_pictures.values()) == 18
    assert summary.num_answerable["infovqa/test"] == 0
    assert any("18 of 18" in message or "18 pictures" in message for message in messages)


def test_too_few_pictures_for_three_splits_are_refused():
    with pytest.raises(ValidationError, match="num_charts"):
        SampleConfig(num_charts=2)
