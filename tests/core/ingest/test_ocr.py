"""Pictures are read once, by the real engine; an interrupted run goes on where it stood."""

import json
import os
import shutil

import pytest
from hub_files import die, row, write_parquet
from PIL import Image, ImageDraw, ImageFont

from r3pp_core.artefact import read_manifest, require_manifest
from r3pp_core.errors import R3Error
from r3pp_core.ingest import ocr
from r3pp_core.ingest.ocr import OcrCache, OcrConfig, engine_name, ocr_path, ocr_target, reading_order, run_ocr
from r3pp_core.ingest.ocr_store import OcrStore
from r3pp_core.jsonl import read_jsonl

ONE_WORKER = OcrConfig(num_workers=1)


def page(words):
    """A PNG with (x, y, text) drawn large enough to read."""
    import io

    image = Image.new("RGB", (420, 200), "white")
    font = ImageFont.load_default(size=28)
    for x, y, text in words:
        ImageDraw.Draw(image).text((x, y), text, font=font, fill="black")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def read_dir(fetch, tmp_path_factory):
    """Three pictures (two pages, one blank) read for real; the first page also stands in val under another name."""
    source, folder = tmp_path_factory.mktemp("pages"), tmp_path_factory.mktemp("read") / "chartqa"
    first = page([(20, 20, "Revenue"), (250, 22, "1234"), (20, 120, "Coffee shop")])
    train = [row(first), row(page([(30, 80, "Green harbour")])), row(page([]))]
    write_parquet(source, "train", [*train, train[0]])
    write_parquet(source, "val", [row(first)])
    fetch(source, folder, splits=["train", "val"])
    run_ocr("chartqa", folder, ONE_WORKER)
    return folder


@pytest.fixture
def own_dir(read_dir, tmp_path):
    return shutil.copytree(read_dir, tmp_path / "raw" / "chartqa")


@pytest.fixture
def no_engine(monkeypatch):
    """Fails the test when a picture is read again; records which pictures were asked for."""

    def refuse(raw_dir, pictures, config):
        assert not pictures, f"read again: {pictures}"
        return iter(())

    monkeypatch.setattr(ocr, "_read_all", refuse)


def rows_of(folder):
    return {line["image_path"]: line for line in read_jsonl(ocr_path(folder))}


def cache_file(folder):
    return folder / ".ocr_cache" / f"{engine_name()}.jsonl"


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
    assert require_manifest(ocr_target(read_dir), "make it").counts["pictures_without_text"] == 1


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


def test_a_second_run_does_nothing(own_dir, no_engine):
    said: list[str] = []
    run_ocr("chartqa", own_dir, ONE_WORKER, said.append)
    assert len(said) == 1
    assert "nothing to do" in said[0]


def test_a_lost_artefact_comes_back_from_the_cache_with_the_same_bytes(own_dir, no_engine):
    before = ocr_path(own_dir).read_bytes()
    ocr_path(own_dir).unlink()
    run_ocr("chartqa", own_dir, ONE_WORKER)
    assert ocr_path(own_dir).read_bytes() == before


def test_a_torn_last_line_of_the_cache_is_dropped_and_its_picture_read_again(own_dir, monkeypatch):
    path = cache_file(own_dir)
    whole = path.read_bytes()
    torn_line = whole.splitlines()[-1]
    path.write_bytes(whole[:-20])
    asked = []

    def read_again(raw_dir, pictures, config):
        asked.extend(pictures)
        yield from ((sha, json.loads(torn_line)["record"]) for sha in pictures)

    monkeypatch.setattr(ocr, "_read_all", read_again)
    run_ocr("chartqa", own_dir, ONE_WORKER, force=True)
    assert asked == [json.loads(torn_line)["sha256"]]
    assert path.read_bytes() == whole


def test_what_was_read_before_an_interruption_stays_read(own_dir, monkeypatch):
    path = cache_file(own_dir)
    lines = path.read_bytes().splitlines(keepends=True)
    path.unlink()

    def interrupted(raw_dir, pictures, config):
        first = json.loads(lines[0])
        yield first["sha256"], first["record"]
        raise KeyboardInterrupt

    monkeypatch.setattr(ocr, "_read_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_ocr("chartqa", own_dir, ONE_WORKER, force=True)
    assert path.read_bytes() == lines[0]
    assert read_manifest(ocr_target(own_dir)) is not None, "the old artefact stands"


def test_min_conf_drops_doubtful_lines_without_reading_again(own_dir, no_engine):
    run_ocr("chartqa", own_dir, OcrConfig(min_conf=1.0))
    assert all(line["conf"] == 1.0 for row in rows_of(own_dir).values() for line in row["lines"])
    cache = OcrCache(cache_file(own_dir))
    sha = rows_of(own_dir)["images/train_0.png"]["image_sha256"]
    cache.records[sha]["lines"][0]["conf"] = 0.6
    cache._rewrite()
    texts = []
    for min_conf in (0.55, 0.65):
        run_ocr("chartqa", own_dir, OcrConfig(min_conf=min_conf))
        texts.append(rows_of(own_dir)["images/train_0.png"]["ocr_text"].lower())
    assert texts[0].startswith("revenue")
    assert texts[1].startswith("1234")


def test_a_picture_that_cannot_be_read_is_rejected_and_counted_and_tried_again(own_dir):
    picture = own_dir / "images" / "train_1.png"
    whole = picture.read_bytes()
    lines = cache_file(own_dir).read_bytes().splitlines(keepends=True)
    cache_file(own_dir).write_bytes(b"".join(line for line in lines if b"harbour" not in line))
    picture.write_bytes(whole[:50])
    manifest = run_ocr("chartqa", own_dir, ONE_WORKER, force=True)
    assert manifest.left_out == {"picture_undecodable": 1}
    (rejected,) = read_jsonl(own_dir / "ocr.rejected.jsonl")
    assert rejected["id"] == "images/train_1.png"
    assert "images/train_1.png" not in rows_of(own_dir)
    picture.write_bytes(whole)
    assert run_ocr("chartqa", own_dir, ONE_WORKER, force=True).left_out == {}
    assert "harbour" in rows_of(own_dir)["images/train_1.png"]["ocr_text"].lower()


def test_a_worker_that_is_killed_is_one_sentence_and_the_old_artefact_stays(own_dir, monkeypatch):
    cache_file(own_dir).unlink()
    monkeypatch.setattr(ocr, "read_picture", die)
    monkeypatch.setattr(ocr, "_start_engine", os.getpid)
    with pytest.raises(R3Error, match=r"a process that reads pictures was killed.*fewer --num_workers"):
        run_ocr("chartqa", own_dir, ONE_WORKER, force=True)
    assert len(rows_of(own_dir)) == 4


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
