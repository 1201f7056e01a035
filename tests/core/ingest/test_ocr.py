"""Pictures are read once, by the real engine; an interrupted run goes on where it stood."""

import os

import pytest
from hub_files import die, page, row, torn_inside, write_parquet

from r3pp_core.artefact import require_manifest
from r3pp_core.errors import R3Error
from r3pp_core.ingest import ocr_shard
from r3pp_core.ingest.config import OcrConfig
from r3pp_core.ingest.ocr import ocr_path, ocr_target, run_ocr
from r3pp_core.ingest.ocr_cache import CACHE_VERSION
from r3pp_core.ingest.ocr_engine import engine_name, reading_order
from r3pp_core.ingest.ocr_store import OcrStore
from r3pp_core.ingest.unify import unify
from r3pp_core.jsonl import read_jsonl

ONE_WORKER = OcrConfig(num_workers=1)


def rows_of(folder):
    return {line["image_path"]: line for line in read_jsonl(ocr_path(folder))}


def cache_file(folder):
    return next((folder / ".ocr_cache" / f"{engine_name()}-{CACHE_VERSION}").iterdir())


def test_the_words_of_a_page_are_read_in_reading_order(read_dir):
    line = rows_of(read_dir)["images/train_0.png"]
    assert line["ocr_text"].lower().split() == ["revenue", "1234", "coffee", "shop"]
    assert 0.5 <= line["ocr_conf"] <= 1
    assert (line["width"], line["height"]) == (420, 200)
    assert [part["text"] for part in line["lines"]] == line["ocr_text"].split("\n")


def test_boxes_lie_in_the_picture_where_the_words_stand(read_dir):
    revenue, number, coffee = (part["box"] for part in rows_of(read_dir)["images/train_0.png"]["lines"])
    assert abs(revenue[0] - 20) < 12
    assert abs(number[0] - 250) < 12
    assert coffee[1] > revenue[3] > revenue[1]
    assert all(0 <= x0 < x1 <= 420 and 0 <= y0 < y1 <= 200 for x0, y0, x1, y1 in (revenue, number, coffee))


def test_a_picture_without_text_has_empty_text_and_no_confidence(read_dir):
    line = rows_of(read_dir)["images/train_2.png"]
    assert (line["ocr_text"], line["ocr_conf"], line["lines"]) == ("", None, [])
    counts = require_manifest(ocr_target(read_dir), "make it").counts
    assert (counts["pictures_without_text"], counts["lines"]) == (1, 7), "three lines stand in a picture of two names"


def test_a_picture_of_two_splits_is_read_once_and_found_under_both_names(read_dir):
    manifest = require_manifest(ocr_target(read_dir), "make it")
    assert (manifest.counts["pictures"], manifest.counts["rows"]) == (3, 4)
    assert len(cache_file(read_dir).read_text().splitlines()) == 3
    rows = rows_of(read_dir)
    assert rows["images/validation_0.png"]["ocr_text"] == rows["images/train_0.png"]["ocr_text"]


def test_the_store_gives_the_lines_of_a_picture_and_none_for_an_unknown_one(read_dir):
    store = OcrStore(read_dir.parent)
    assert [line.text.lower() for line in store.lines("chartqa/images/train_1.png")] == ["green harbour"]
    assert store.lines("chartqa/images/gone.png") == store.lines("nowhere/images/train_0.png") == []


def test_a_picture_that_cannot_be_read_is_rejected_and_counted_and_tried_again(own_read_dir):
    picture = own_read_dir / "images" / "train_1.png"
    whole = picture.read_bytes()
    lines = cache_file(own_read_dir).read_bytes().splitlines(keepends=True)
    cache_file(own_read_dir).write_bytes(b"".join(line for line in lines if b"harbour" not in line))
    picture.write_bytes(whole[:50])
    manifest = run_ocr("chartqa", own_read_dir, ONE_WORKER, force=True)
    assert manifest.left_out == {"picture_undecodable": 1}
    (rejected,) = read_jsonl(own_read_dir / "ocr.rejected.jsonl")
    assert rejected["id"] == "images/train_1.png"
    assert "images/train_1.png" not in rows_of(own_read_dir)
    picture.write_bytes(whole)
    assert run_ocr("chartqa", own_read_dir, ONE_WORKER, force=True).left_out == {}
    assert "harbour" in rows_of(own_read_dir)["images/train_1.png"]["ocr_text"].lower()


def test_a_worker_that_is_killed_is_one_sentence_and_the_old_artefact_stays(own_read_dir, monkeypatch):
    cache_file(own_read_dir).unlink()
    monkeypatch.setattr(ocr_shard, "read_picture", die)
    monkeypatch.setattr(ocr_shard, "start_engine", os.getpid)
    with pytest.raises(R3Error, match=r"a worker process was killed.*fewer --num_workers"):
        run_ocr("chartqa", own_read_dir, ONE_WORKER, force=True)
    assert len(rows_of(own_read_dir)) == 4


def test_a_png_whose_pixels_are_torn_is_accepted_by_download_rejected_by_ocr_and_then_by_unify(fetch, tmp_path):
    """Download checks a PNG's chunks only; unify repeats what OCR found, so that no row of it gets any further."""
    write_parquet(tmp_path, "train", [row(torn_inside(), "Torn?"), row(page([]), "Whole?"), row(torn_inside(), "Too?")])
    raw_dir, out_dir = tmp_path / "raw", tmp_path / "unified"
    assert fetch(tmp_path, raw_dir, splits=["train"]).counts["rows"] == 3
    manifest = run_ocr("chartqa", raw_dir, ONE_WORKER)
    assert (manifest.left_out, manifest.counts["rows"]) == ({"picture_undecodable": 1}, 1)
    assert list(rows_of(raw_dir)) == ["images/train_1.png"]
    (by_ocr,) = read_jsonl(raw_dir / "ocr.rejected.jsonl")
    assert unify("chartqa", raw_dir, out_dir).left_out == {"picture_undecodable": 2}
    assert list(read_jsonl(out_dir / "chartqa_unified.rejected.jsonl")) == [
        {"id": "chartqa/train/0", "reason": "picture_undecodable", "detail": by_ocr["detail"]},
        {"id": "chartqa/train/2", "reason": "picture_undecodable", "detail": by_ocr["detail"]},
    ]
    assert [line["question"] for line in read_jsonl(out_dir / "chartqa_unified_train.jsonl")] == ["Whole?"]


def test_without_raw_data_the_command_to_run_is_named(tmp_path):
    with pytest.raises(R3Error, match=r"run `r3pp download chartqa --out_dir .*` first"):
        run_ocr("chartqa", tmp_path)


def boxes(*corners):
    return [{"text": str(i), "box": list(box)} for i, box in enumerate(corners)]


def order(lines):
    return "".join(line["text"] for line in reading_order(lines))


def test_lines_go_from_top_to_bottom():
    assert order(boxes((0, 60, 50, 70), (0, 0, 50, 10), (0, 30, 50, 40))) == "120"


def test_boxes_that_share_half_their_height_go_from_left_to_right():
    assert order(boxes((100, 0, 150, 20), (0, 8, 50, 28), (50, 4, 90, 24))) == "120"


def test_boxes_that_share_less_than_half_their_height_are_two_rows():
    assert order(boxes((0, 12, 50, 32), (100, 0, 150, 20))) == "10"


def test_a_small_box_beside_a_tall_one_is_in_its_row():
    assert order(boxes((60, 20, 90, 28), (0, 0, 50, 50))) == "10"


def test_no_lines_stay_no_lines_and_flat_boxes_do_not_divide_by_zero():
    assert reading_order([]) == []
    assert order(boxes((0, 5, 10, 5), (0, 0, 10, 0))) == "10"


def test_a_picture_on_which_the_engine_fails_is_a_rejection_and_the_others_are_read(own_read_dir, monkeypatch):
    from r3pp_core.ingest import ocr_engine

    def fails(pixels):
        raise RuntimeError("Non-zero status code returned while running Conv node")

    monkeypatch.setattr(ocr_engine, "_engine", fails)
    record = ocr_engine.read_picture(own_read_dir / "images" / "train_0.png")
    assert record["reason"] == "ocr_failed"
    assert "Conv node" in record["detail"]
