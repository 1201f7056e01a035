"""What was read stays read: through interruptions, other settings, lost artefacts, and whichever ranks read it."""

import json
import shutil
from collections import Counter

import pytest

from r3pp_core.artefact import read_manifest
from r3pp_core.errors import R3Error
from r3pp_core.ingest import ocr, ocr_shard
from r3pp_core.ingest.config import OcrConfig
from r3pp_core.ingest.ocr import ocr_path, ocr_target, run_ocr
from r3pp_core.ingest.ocr_cache import CACHE_VERSION, OcrCache
from r3pp_core.ingest.ocr_engine import engine_name
from r3pp_core.ingest.ocr_shard import cache_dir, picture_files, read_shard
from r3pp_core.jsonl import read_jsonl
from r3pp_core.launch.interface import LaunchConfig
from r3pp_core.launch.run_dir import Stopped

ONE_WORKER = OcrConfig(num_workers=1)


def rows_of(folder):
    return {line["image_path"]: line for line in read_jsonl(ocr_path(folder))}


def cache_files(folder):
    return sorted((cache_dir(folder) / f"{engine_name()}-{CACHE_VERSION}").iterdir())


def cache_file(folder):
    (path,) = cache_files(folder)
    return path


@pytest.fixture
def asked(monkeypatch, read_dir):
    """The pictures that are read again, by file name, in this process; they say what they said before."""
    names: list[str] = []
    records = {json.loads(line)["sha256"]: json.loads(line)["record"] for line in cache_file(read_dir).open()}
    hashes = picture_files(read_dir, "chartqa")

    def read_again(path):
        names.append(path.name)
        return records[hashes[f"images/{path.name}"]]

    monkeypatch.setattr(ocr_shard, "num_processes", lambda wanted: 0)
    for module in (ocr_shard, ocr):
        monkeypatch.setattr(module, "read_picture", read_again)
    return names


def test_a_second_run_does_nothing(own_read_dir, asked):
    said: list[str] = []
    run_ocr("chartqa", own_read_dir, ONE_WORKER, said.append)
    assert len(said) == 1
    assert "nothing to do" in said[0]
    assert asked == []


def test_a_lost_artefact_comes_back_from_the_cache_with_the_same_bytes(own_read_dir, asked):
    before = ocr_path(own_read_dir).read_bytes()
    ocr_path(own_read_dir).unlink()
    run_ocr("chartqa", own_read_dir, ONE_WORKER)
    assert ocr_path(own_read_dir).read_bytes() == before
    assert asked == []


@pytest.mark.parametrize("num_bytes", [1, 20], ids=["only its end", "a part of it"])
def test_a_torn_last_line_of_the_cache_is_dropped_and_its_picture_read_again(own_read_dir, asked, num_bytes):
    path = cache_file(own_read_dir)
    whole = path.read_bytes()
    path.write_bytes(whole[:-num_bytes])
    run_ocr("chartqa", own_read_dir, ONE_WORKER, force=True)
    assert asked == ["train_2.png"]
    assert path.read_bytes() == whole


def test_a_torn_last_line_of_another_writer_is_passed_over_and_left_alone(own_read_dir, asked):
    """It may be writing it this very moment."""
    path = cache_file(own_read_dir)
    other = path.with_name("rank1of2.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0])
    other.write_bytes(lines[1] + lines[2][:-20])
    before = ocr_path(own_read_dir).read_bytes()
    run_ocr("chartqa", own_read_dir, ONE_WORKER, force=True)
    assert asked == ["train_2.png"]
    assert ocr_path(own_read_dir).read_bytes() == before
    assert other.read_bytes() == lines[1] + lines[2][:-20]


def test_a_line_damaged_within_the_cache_is_named_with_the_remedy(own_read_dir):
    path = cache_file(own_read_dir)
    first, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"{" + b"".join(others))
    with pytest.raises(R3Error, match=rf"{path.name} is damaged at byte {len(first)} .*; remove it to read again"):
        run_ocr("chartqa", own_read_dir, ONE_WORKER, force=True)


def test_what_was_read_before_an_interruption_stays_read(own_read_dir, monkeypatch, asked):
    path = cache_file(own_read_dir)
    lines = path.read_bytes().splitlines(keepends=True)
    path.unlink()

    def interrupted(picture):
        if picture.name == "train_1.png":
            raise KeyboardInterrupt
        return json.loads(lines[0])["record"]

    monkeypatch.setattr(ocr_shard, "read_picture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_ocr("chartqa", own_read_dir, ONE_WORKER, force=True)
    assert path.read_bytes() == lines[0]
    assert read_manifest(ocr_target(own_read_dir)) is not None, "the old artefact stands"


def test_min_conf_drops_doubtful_lines_without_reading_again(own_read_dir, asked):
    run_ocr("chartqa", own_read_dir, OcrConfig(min_conf=1.0))
    assert all(line["conf"] == 1.0 for row in rows_of(own_read_dir).values() for line in row["lines"])
    sha = rows_of(own_read_dir)["images/train_0.png"]["image_sha256"]
    cache = OcrCache(cache_dir(own_read_dir), writer="rank0of1")
    record = cache.record(sha)
    record["lines"][0]["conf"] = 0.6
    cache.add(sha, record)
    texts = []
    for min_conf in (0.55, 0.65):
        run_ocr("chartqa", own_read_dir, OcrConfig(min_conf=min_conf))
        texts.append(rows_of(own_read_dir)["images/train_0.png"]["ocr_text"].lower())
    assert texts[0].startswith("revenue")
    assert texts[1].startswith("1234")
    assert asked == []


def test_results_of_another_engine_are_never_reused(own_read_dir, asked):
    folder = cache_file(own_read_dir).parent
    folder.rename(folder.with_name("rapidocr-0.0.1"))
    run_ocr("chartqa", own_read_dir, ONE_WORKER, force=True)
    assert sorted(asked) == ["train_0.png", "train_1.png", "train_2.png"]


def test_a_cache_looks_up_what_was_written_before_it_was_opened(tmp_path):
    first = OcrCache(tmp_path, "one")
    first.add("ab" * 32, {"text": "é"})
    first.add("cd" * 32, {"text": "2"})
    OcrCache(tmp_path, "two").add("ef" * 32, {"text": "3"})
    cache = OcrCache(tmp_path)
    assert [cache.record(sha * 32)["text"] for sha in ("cd", "ab", "ef")] == ["2", "é", "3"]
    assert "ab" * 32 in cache
    assert "00" * 32 not in cache


def test_every_picture_belongs_to_exactly_one_rank(own_read_dir, asked):
    cache_file(own_read_dir).unlink()
    said: list[str] = []
    num_read = [read_shard(own_read_dir, "chartqa", ONE_WORKER, said.append, rank, 3) for rank in range(3)]
    assert sorted(asked) == ["train_0.png", "train_1.png", "train_2.png"]
    assert sum(num_read) == 3
    assert "of rank 2" in said[-1]
    assert read_shard(own_read_dir, "chartqa", ONE_WORKER, said.append) == 0, "another number of ranks finds it all"


def test_a_stop_comes_between_two_pictures_and_what_was_read_is_kept(own_read_dir, asked):
    cache_file(own_read_dir).unlink()
    asked_to_stop = iter([False, True])

    def stop_after_the_second() -> None:
        if next(asked_to_stop):
            raise Stopped

    with pytest.raises(Stopped):
        read_shard(own_read_dir, "chartqa", ONE_WORKER, print, stop_point=stop_after_the_second)
    assert read_shard(own_read_dir, "chartqa", ONE_WORKER, print) == 1


def test_two_launched_ranks_write_the_same_table_as_one_process(own_read_dir):
    """Real processes under torchrun, the real engine, and a cache file for each."""
    before = ocr_path(own_read_dir).read_bytes()
    shutil.rmtree(cache_dir(own_read_dir))
    ocr_path(own_read_dir).unlink()
    said: list[str] = []
    launch = LaunchConfig(num_processes=2, poll_s=0.05)
    manifest = run_ocr("chartqa", own_read_dir, ONE_WORKER, said.append, launch=launch)
    assert ocr_path(own_read_dir).read_bytes() == before
    assert manifest.counts["pictures"] == 3
    by_rank = Counter(
        f"rank{ocr_shard._rank(sha, 2)}of2.jsonl" for sha in set(picture_files(own_read_dir, "chartqa").values())
    )
    assert {path.name: path.read_bytes().count(b"\n") for path in cache_files(own_read_dir)} == by_rank
    assert any("pictures of rank 0, 0 read before" in line for line in said), "rank 0 speaks for all"
