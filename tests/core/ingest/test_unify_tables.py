"""The unified tables: JSONL and Parquet of the same rows, whoever opens them and however many processes wrote them."""

import functools
import json

import pytest
from hub_files import row, write_parquet

from r3pp_core.artefact import hash_file
from r3pp_core.ingest import line_chunks, workers
from r3pp_core.ingest import unify as stage
from r3pp_core.ingest.checks import unified_schema_problems
from r3pp_core.ingest.config import OcrConfig, UnifyConfig
from r3pp_core.ingest.ocr import ocr_path, run_ocr
from r3pp_core.ingest.ocr_index import index_path
from r3pp_core.ingest.schema import UnifiedRow
from r3pp_core.ingest.unify import unify
from r3pp_core.jsonl import read_jsonl, write_jsonl

NONE = UnifyConfig(ocr="none")


@pytest.fixture
def out_dir(tmp_path):
    return tmp_path / "unified"


def table(out_dir, split="train", suffix="jsonl"):
    return out_dir / f"chartqa_unified_{split}.{suffix}"


def rejected(out_dir):
    return [(row["id"], row["reason"]) for row in read_jsonl(out_dir / "chartqa_unified.rejected.jsonl")]


def as_json(rows):
    """Rows of a Parquet reader as those of the JSONL: lists are lists, `meta` is a dict."""
    return [{**row, "answers": list(row["answers"]), "meta": json.loads(row["meta"])} for row in rows]


@pytest.fixture
def unified(read_dir, out_dir):
    """Rows with OCR text and without, with a confidence and without."""
    unify("chartqa", read_dir, out_dir)
    rows = list(read_jsonl(table(out_dir)))
    assert {(bool(row["ocr_text"]), row["ocr_conf"] is None) for row in rows} == {(True, False), (False, True)}
    return rows


def test_pandas_reads_the_rows_of_the_jsonl_from_the_parquet(unified, out_dir):
    import pandas as pd

    frame = pd.read_parquet(table(out_dir, suffix="parquet"))
    assert list(frame.columns) == list(UnifiedRow.__struct_fields__)
    assert frame["meta"].map(type).eq(str).all(), "meta is JSON text"
    records = frame.astype({"ocr_conf": object}).where(frame.notna(), None).to_dict("records")
    assert as_json(records) == unified


def test_datasets_reads_the_same_rows_from_the_parquet_and_from_the_jsonl(unified, out_dir, tmp_path):
    from datasets import load_dataset

    settings = {"split": "train", "cache_dir": str(tmp_path / "cache")}
    parquet = load_dataset("parquet", data_files=str(table(out_dir, suffix="parquet")), **settings)
    jsonl = load_dataset("json", data_files=str(table(out_dir)), **settings)
    assert as_json(parquet) == unified
    assert list(jsonl) == unified


def test_the_parquet_files_of_all_splits_have_one_plain_schema(unified, out_dir):
    """Texts are texts, not dictionaries, so that any reader can put data sets one after the other."""
    import pyarrow.parquet as pq

    from r3pp_core.ingest.schema import unified_arrow_schema

    for path in out_dir.glob("*.parquet"):
        assert pq.read_schema(path).equals(unified_arrow_schema()), path
    assert len(list(out_dir.glob("*.parquet"))) == 2


def test_the_hash_of_each_rows_picture_leads_to_what_ocr_read_with_its_perceptual_hash(unified, read_dir):
    by_hash = {line["image_sha256"]: line for line in read_jsonl(ocr_path(read_dir))}
    for line in unified:
        assert line["ocr_text"] == by_hash[line["image_sha256"]]["ocr_text"]
        assert line["meta"]["image_phash"] == by_hash[line["image_sha256"]]["phash"]


def test_rows_without_text_or_perceptual_hash_are_counted(read_dir, out_dir, tmp_path):
    counts = unify("chartqa", read_dir, out_dir).counts
    assert (counts["rows"], counts["rows_without_text"], counts["rows_without_phash"]) == (5, 1, 0)
    assert (counts["rows_train"], counts["rows_val"], counts["rows_in"]) == (4, 1, 5)
    lines = [
        {key: line[key] for key in ("image_path", "ocr_text", "ocr_conf")} for line in read_jsonl(ocr_path(read_dir))
    ]
    write_jsonl(tmp_path / "plain.jsonl", lines)
    counts = unify("chartqa", read_dir, out_dir, UnifyConfig(ocr=str(tmp_path / "plain.jsonl"))).counts
    assert (counts["rows_without_text"], counts["rows_without_phash"]) == (1, 5)


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of one or two rows, so that small tables have many, and processes however small the tables are."""
    small = functools.partial(line_chunks.line_chunks, chunk_bytes=400)
    monkeypatch.setattr(stage, "line_chunks", small)
    monkeypatch.setattr(workers, "WORTH_PROCESSES_BYTES", 0)


def test_any_number_of_processes_and_chunks_writes_the_same_bytes(raw_dir, tmp_path, monkeypatch, request):
    write_jsonl(
        tmp_path / "ocr.jsonl",
        [
            {"image_path": f"images/{path.name}", "ocr_text": f"{path.name} " * 40, "ocr_conf": 0.5}
            for path in sorted((raw_dir / "images").iterdir())
        ],
    )
    config = UnifyConfig(ocr=str(tmp_path / "ocr.jsonl"))
    whole = unify("chartqa", raw_dir, tmp_path / "whole", config)
    request.getfixturevalue("small_chunks")
    assert sum(1 for _ in stage.line_chunks(raw_dir / "chartqa_raw_train.jsonl")) > 2
    chunked = [
        unify("chartqa", raw_dir, tmp_path / f"{n}", config.model_copy(update={"num_workers": n})) for n in (1, 2)
    ]
    monkeypatch.setattr(workers, "WORTH_PROCESSES_BYTES", 1 << 20)
    chunked.append(unify("chartqa", raw_dir, tmp_path / "0", config))
    for manifest in chunked:
        assert manifest.files == chunked[0].files
        assert jsonl_hashes(manifest) == jsonl_hashes(whole)
        assert (manifest.counts, manifest.left_out) == (whole.counts, whole.left_out)


def jsonl_hashes(manifest):
    """Of everything but the Parquet: its row groups may follow the chunks."""
    return {name: entry["sha256"] for name, entry in manifest.files.items() if not name.endswith(".parquet")}


def test_the_hashes_in_the_manifest_are_those_of_the_files(raw_dir, out_dir):
    manifest = unify("chartqa", raw_dir, out_dir, NONE)
    assert len(manifest.files) == 10, "three splits of JSONL, Parquet and keys, and the rejected rows"
    for name, entry in manifest.files.items():
        assert entry["sha256"] == hash_file(out_dir / name), name


def test_a_split_of_which_every_row_is_rejected_has_empty_tables(fetch, tmp_path, out_dir):
    import pyarrow.parquet as pq

    write_parquet(tmp_path, "train", [row(b"\x89PNG", "Gone?")])
    write_parquet(tmp_path, "val", [row(None)])
    fetch(tmp_path, tmp_path / "raw", splits=["train", "val"])
    assert unify("chartqa", tmp_path / "raw", out_dir, NONE).counts["rows"] == 0
    assert table(out_dir).read_bytes() == b""
    assert pq.read_table(table(out_dir, suffix="parquet")).num_rows == 0


BROKEN_LINES = {
    b'{"id": "torn", "question"\n': ("chartqa_raw_train.jsonl:1", "not_json"),
    b'["a", "list"]\n': ("chartqa_raw_train.jsonl:1", "schema"),
    b"null\n": ("chartqa_raw_train.jsonl:1", "schema"),
    b'{"question": "Without id?"}\n': ("chartqa_raw_train.jsonl:1", "schema"),
    b'{"id": 7}\n': ("chartqa_raw_train.jsonl:1", "schema"),
    b'{"id": "known", "question": 5}\n': ("known", "schema"),
    b'{"id": "caf\xe9"}\n': ("chartqa_raw_train.jsonl:1", "not_json"),
    b'{"id": "\\ud83d"}\n': ("chartqa_raw_train.jsonl:1", "not_json"),
}


@pytest.mark.parametrize("line", BROKEN_LINES)
def test_a_broken_line_of_a_raw_table_is_one_counted_rejection(own_raw_dir, out_dir, line):
    path = own_raw_dir / "chartqa_raw_train.jsonl"
    path.write_bytes(line + path.read_bytes())
    manifest = unify("chartqa", own_raw_dir, out_dir, NONE)
    assert rejected(out_dir)[0] == BROKEN_LINES[line]
    assert manifest.left_out[BROKEN_LINES[line][1]] == 1
    assert manifest.counts["rows_in"] == manifest.counts["rows"] + sum(manifest.left_out.values()) == 11
    assert unified_schema_problems([table(out_dir)]) == []


def test_broken_lines_are_named_by_their_number_in_the_file_and_blank_lines_are_none(
    own_raw_dir, out_dir, small_chunks
):
    path = own_raw_dir / "chartqa_raw_train.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([b"\n", *lines[:3], b"{\n", b"  \n", *lines[3:], b"[1]"]))
    manifest = unify("chartqa", own_raw_dir, out_dir, UnifyConfig(ocr="none", num_workers=2))
    assert rejected(out_dir) == [
        ("chartqa_raw_train.jsonl:5", "not_json"),
        ("chartqa/train/7", "question_empty"),
        ("chartqa/train/8", "answer_missing"),
        ("chartqa_raw_train.jsonl:10", "schema"),
    ]
    assert manifest.counts["rows_in"] == 12


def test_an_ocr_table_that_was_changed_by_hand_is_read_as_it_is_now(own_read_dir, out_dir):
    """The index beside it is that of the table as OCR wrote it, and every line moved since."""
    unify("chartqa", own_read_dir, out_dir)
    assert index_path(ocr_path(own_read_dir)).is_file()
    lines = list(read_jsonl(ocr_path(own_read_dir)))
    for number, line in enumerate(lines):
        line["ocr_text"] = f"corrected by hand {number} " * 9
    write_jsonl(ocr_path(own_read_dir), lines)
    unify("chartqa", own_read_dir, out_dir)
    texts = [line["ocr_text"].partition("hand ")[2][0] for line in read_jsonl(table(out_dir))]
    assert texts == ["3", "1", "2", "3"], "the last line about the first picture is its other name's"


def test_pictures_read_again_with_other_settings_are_unified_again_in_the_same_process(own_read_dir, out_dir):
    texts = []
    for min_conf in (0.5, 1.0):
        run_ocr("chartqa", own_read_dir, OcrConfig(min_conf=min_conf, num_workers=1))
        unify("chartqa", own_read_dir, out_dir)
        by_picture = {line["image_path"]: line["ocr_text"] for line in read_jsonl(ocr_path(own_read_dir))}
        for line in read_jsonl(table(out_dir)):
            assert line["ocr_text"] == by_picture[line["image_path"].removeprefix("chartqa/")]
        texts.append(by_picture)
    assert texts[0] != texts[1], "the settings made no difference, so nothing was tested"
