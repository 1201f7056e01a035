"""Parquet becomes one file per picture and one table per split; what cannot be used is kept and counted."""

import hashlib
import io

import pytest
from hub_files import die, picture, row, write_parquet
from PIL import Image

from r3pp_core.artefact import read_manifest, require_manifest
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.ingest import picture_files
from r3pp_core.ingest.checks import picture_problems, raw_schema_problems
from r3pp_core.ingest.config import DownloadConfig
from r3pp_core.ingest.download import download, is_current, raw_target
from r3pp_core.ingest.source_rows import SourceRow, answer_list
from r3pp_core.ingest.split_export import PictureStore, SplitExporter
from r3pp_core.jsonl import read_jsonl


def table(raw_dir, split="train", dataset="chartqa"):
    return list(read_jsonl(raw_dir / f"{dataset}_raw_{split}.jsonl"))


def test_pictures_are_named_by_split_and_number_and_written_once(raw_dir):
    # train_2 and train_3 would be the torn and the empty picture: the torn one keeps its number free
    names = sorted(path.name for path in (raw_dir / "images").iterdir())
    assert names == [
        "test_0.png",
        "test_1.png",
        "train_0.png",
        "train_1.png",
        "train_3.png",
        "train_4.png",
        "validation_0.png",
        "validation_1.png",
    ]
    assert [line["image"] for line in table(raw_dir)] == [f"images/train_{n}.png" for n in (0, 0, 1, 0, 3, 4)]
    assert [line["image"] for line in table(raw_dir, "val")] == ["images/validation_0.png", "images/validation_1.png"]


def test_a_png_is_written_through_byte_for_byte(raw_dir):
    assert (raw_dir / "images" / "train_0.png").read_bytes() == picture(0)


def test_a_jpeg_becomes_a_png_with_the_same_pixels(raw_dir):
    with Image.open(raw_dir / "images" / "train_1.png") as stored, Image.open(io.BytesIO(picture(1, "JPEG"))) as given:
        assert stored.format == "PNG"
        assert stored.tobytes() == given.tobytes()


def test_the_table_holds_the_hash_of_each_picture_file(raw_dir):
    for split in ("train", "val", "test"):
        for line in table(raw_dir, split):
            assert line["image_sha256"] == hashlib.sha256((raw_dir / line["image"]).read_bytes()).hexdigest()


def test_all_answers_are_kept_in_order_without_repetitions(raw_dir):
    assert table(raw_dir)[0]["answers"] == ["1", "one"]
    assert answer_list([" a ", "", None, "b", "a", 3, 2.5]) == ["a", "b", "3", "2.5"]
    assert answer_list("only") == ["only"]
    assert answer_list(None) == []


def test_ids_name_data_set_split_and_row_of_the_source(raw_dir):
    assert [line["id"] for line in table(raw_dir)] == [f"chartqa/train/{n}" for n in (0, 1, 2, 6, 7, 8)]
    assert table(raw_dir)[0]["meta"] == {"human_or_machine": 0}


def test_rows_that_cannot_be_used_are_kept_with_their_reason_and_counted(raw_dir):
    rejected = {line["id"]: line["reason"] for line in read_jsonl(raw_dir / "rejected.jsonl")}
    assert rejected == {
        "chartqa/train/3": "picture_undecodable",
        "chartqa/train/4": "picture_missing",
        "chartqa/train/5": "picture_missing",
    }
    assert require_manifest(raw_target(raw_dir), "make it").left_out == {"picture_undecodable": 1, "picture_missing": 2}


def test_rows_in_are_rows_out_and_rejected(raw_dir):
    counts = require_manifest(raw_target(raw_dir), "make it").counts
    assert counts["rows_in"] == 13
    assert counts["rows"] == 10 == counts["rows_train"] + counts["rows_val"] + counts["rows_test"]
    assert counts["rows_in"] == counts["rows"] + 3
    assert counts["pictures"] == len(list((raw_dir / "images").iterdir())) == 8


def test_what_was_downloaded_passes_its_own_checks(raw_dir):
    tables = sorted(raw_dir.glob("chartqa_raw_*.jsonl"))
    assert len(tables) == 3
    assert raw_schema_problems(tables) == []
    assert picture_problems(tables, raw_dir, "image") == []


def test_a_second_run_does_nothing_and_says_so(hub, fetch, own_raw_dir):
    before = (own_raw_dir / "manifest.json").stat().st_mtime_ns
    said: list[str] = []
    fetch(hub, own_raw_dir, progress=said.append)
    assert "nothing to do" in said[-1]
    assert (own_raw_dir / "manifest.json").stat().st_mtime_ns == before


def test_a_second_folder_gets_the_same_bytes(hub, fetch, raw_dir, tmp_path):
    assert (
        fetch(hub, tmp_path / "again", num_workers=2).content_hash
        == require_manifest(raw_target(raw_dir), "make it").content_hash
    )


def test_is_current_follows_the_source(fetch, tmp_path):
    source, out_dir = tmp_path / "hub", tmp_path / "raw"
    write_parquet(source, "train", [row(picture(0))])
    config = DownloadConfig(source=str(source), splits=["train"])
    assert not is_current("chartqa", out_dir, config)
    fetch(source, out_dir, splits=["train"])
    assert is_current("chartqa", out_dir, config)
    assert not is_current("chartqa", out_dir, config.model_copy(update={"max_rows": 1}))
    write_parquet(source, "train", [row(picture(1))])
    assert not is_current("chartqa", out_dir, config)


def test_max_rows_takes_the_first_rows_of_each_split(hub, fetch, tmp_path):
    counts = fetch(hub, tmp_path / "raw", max_rows=1).counts
    assert (counts["rows_train"], counts["rows_val"], counts["rows_test"]) == (1, 1, 1)
    assert counts["rows_in"] == 3


def test_a_picture_above_the_limit_is_rejected_without_decoding(fetch, tmp_path):
    write_parquet(tmp_path, "train", [row(picture(0)), row(picture(1, size=(200, 200)))])
    manifest = fetch(tmp_path, tmp_path / "raw", splits=["train"], max_source_pixels=10_000)
    assert manifest.left_out == {"picture_too_large": 1}
    assert manifest.counts["rows"] == 1


def test_a_worker_that_is_killed_is_one_sentence(hub, fetch, tmp_path, monkeypatch):
    monkeypatch.setattr(picture_files, "convert_picture", die)
    with pytest.raises(
        R3Error, match=r"chartqa/train/2: a process that converts pictures was killed.*fewer --num_workers"
    ):
        fetch(hub, tmp_path / "raw")
    assert [path.name for path in (tmp_path / "raw").iterdir()] == [".lock-artefact"]


def test_a_worker_that_was_killed_before_the_next_picture_came_is_the_same_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_files, "convert_picture", die)
    with PictureStore(tmp_path, 10**6, "png", 1) as store:
        exporter = SplitExporter("chartqa", "train", store)

        def rows():
            yield SourceRow(picture(0, "JPEG"), "One?", ["1"], {})
            (stored,) = exporter._stored.values()
            assert stored._future.exception() is not None
            yield SourceRow(picture(1, "JPEG"), "Two?", ["2"], {})

        with pytest.raises(R3Error, match="a process that converts pictures was killed"):
            list(exporter.accepted(rows()))


def test_a_missing_column_names_what_was_found_and_leaves_nothing(fetch, tmp_path):
    line = row(picture(0))
    line["frage"] = line.pop("query")
    write_parquet(tmp_path, "train", [line])
    with pytest.raises(R3Error, match=r"no question column: looked for query, question, found image, label, .*frage"):
        fetch(tmp_path, tmp_path / "raw", splits=["train"])
    assert [path.name for path in (tmp_path / "raw").iterdir()] == [".lock-artefact"]


def test_an_empty_split_is_named_with_the_remedy(fetch, tmp_path):
    write_parquet(tmp_path, "train", [row(picture(0))])
    write_parquet(tmp_path, "val", [])
    with pytest.raises(R3Error, match="chartqa: split val of the source is empty; leave it out with --splits"):
        fetch(tmp_path, tmp_path / "raw", splits=["train", "val"])
    assert read_manifest(raw_target(tmp_path / "raw")) is None


@pytest.mark.parametrize("cut", [0.5, 0.0])
def test_a_truncated_parquet_file_is_named(fetch, tmp_path, cut):
    path = write_parquet(tmp_path, "train", [row(picture(n)) for n in range(5)])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
    with pytest.raises(R3Error, match=r"train-00000-of-00001.parquet is not a readable Parquet file"):
        fetch(tmp_path, tmp_path / "raw", splits=["train"])
    assert read_manifest(raw_target(tmp_path / "raw")) is None


@pytest.mark.parametrize(
    "dataset, config, words",
    [
        ("mnist", {}, "unknown data set 'mnist': choose one of"),
        ("chartqa", {"splits": ["dev"]}, "unknown split dev: choose from train, val, test"),
        ("chartqa", {"splits": []}, "unknown split"),
        ("chartqa", {"source": "gone"}, "--source gone is not a folder"),
    ],
)
def test_a_wrong_request_is_a_usage_error_and_touches_nothing(tmp_path, dataset, config, words):
    with pytest.raises(UsageError, match=words):
        download(dataset, tmp_path / "raw", DownloadConfig(**{"source": str(tmp_path), **config}))
    assert not (tmp_path / "raw").exists()


def test_pictures_that_are_rejected_do_not_stay_in_memory(fetch, tmp_path):
    """A future's exception holds its traceback, and that the picture's bytes."""
    import gc

    exporter = SplitExporter("chartqa", "train", PictureStore(tmp_path, 10**6, "png", 1))
    marker = picture(0)[:-6] + b"torn!!"
    rows = [SourceRow(marker, "One?", ["1"], {}), SourceRow(bytes(marker), "Two?", ["2"], {})]
    assert list(exporter.accepted(iter(rows))) == []
    assert [line["reason"] for line in exporter.rejected] == ["picture_undecodable", "picture_undecodable"]
    gc.collect()
    assert all(stored._future is None for stored in exporter._stored.values())
