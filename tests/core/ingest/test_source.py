"""Where Parquet comes from and how its rows are read: every file that should be there, every row that can be."""

import pytest
from hub_files import COLUMNS, picture, row, write_parquet

from r3pp_core.artefact import read_manifest, require_manifest
from r3pp_core.errors import R3Error
from r3pp_core.ingest.config import DownloadConfig
from r3pp_core.ingest.download import download, raw_target
from r3pp_core.jsonl import read_jsonl


def table(raw_dir, split="train", dataset="chartqa"):
    return list(read_jsonl(raw_dir / f"{dataset}_raw_{split}.jsonl"))


def test_a_missing_split_names_the_files_that_are_there(fetch, tmp_path):
    write_parquet(tmp_path, "train", [row(picture(0))])
    with pytest.raises(R3Error, match=r"no Parquet file for split val, test in .*; found train-00000-of-00001"):
        fetch(tmp_path, tmp_path / "raw")


def test_a_folder_without_parquet_is_named(fetch, tmp_path):
    with pytest.raises(R3Error, match=r"no Parquet file for chartqa in .*; expected chartqa/data/<split>-"):
        fetch(tmp_path, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_shards_that_are_missing_in_a_folder_are_named(fetch, tmp_path):
    write_parquet(tmp_path, "train", [row(picture(0))], shard="00001-of-00003")
    with pytest.raises(
        R3Error,
        match=r"chartqa: 2 files are missing in .*/chartqa/data: train-00000-of-00003, "
        r"train-00002-of-00003; copy them there as well",
    ):
        fetch(tmp_path, tmp_path / "raw", splits=["train"])
    assert not (tmp_path / "raw").exists()


def test_a_missing_shard_of_the_hubs_older_names_is_found(fetch, tmp_path):
    """ChartQA at its pinned revision is train-00000-of-00003-49492f364babfa44.parquet and two more."""
    write_parquet(tmp_path, "train", [row(picture(0))], shard="00000-of-00003-49492f364babfa44")
    write_parquet(tmp_path, "train", [row(picture(1))], shard="00001-of-00003-7302bae5e425bbc7")
    with pytest.raises(R3Error, match=r"chartqa: 1 files are missing in .*train-00002-of-00003"):
        fetch(tmp_path, tmp_path / "raw", splits=["train"])


def test_all_shards_or_a_file_without_a_number_are_taken_as_they_are(fetch, tmp_path):
    for number in range(3):
        write_parquet(tmp_path, "train", [row(picture(number))], shard=f"0000{number}-of-00003")
    path = write_parquet(tmp_path, "val", [row(picture(4))])
    path.rename(path.with_name("val.parquet"))
    counts = fetch(tmp_path, tmp_path / "raw", splits=["train", "val"]).counts
    assert (counts["rows_train"], counts["rows_val"]) == (3, 1)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    """A Hub cache that holds what is written into this folder, named by its commit; nothing is asked of the Hub."""
    folder = tmp_path / COMMIT
    folder.mkdir()
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *arguments, **options: str(folder))
    return folder


def cached(snapshot, split, rows, shard):
    """A file at `data/...` of the snapshot, as the Hub's repository has it."""
    path = write_parquet(snapshot.parent / "made", split, rows, shard=shard)
    (snapshot / "data").mkdir(exist_ok=True)
    path.rename(snapshot / "data" / path.name)


def test_the_files_of_the_hub_cache_are_read(snapshot, tmp_path):
    for number in range(2):
        cached(snapshot, "train", [row(picture(number))], f"0000{number}-of-00002")
    manifest = download("chartqa", tmp_path / "raw", DownloadConfig(splits=["train"], num_workers=1))
    assert manifest.counts["rows"] == 2
    assert manifest.details == {"commits": {"train": COMMIT}}


@pytest.mark.parametrize(
    "offline, words",
    [
        ("1", r" \(HF_HUB_OFFLINE is set\): train-00002-of-00003; unset HF_HUB_OFFLINE and run it again"),
        ("", r": train-00002-of-00003; run it again"),
    ],
)
def test_a_shard_that_is_missing_in_the_hub_cache_is_named(snapshot, tmp_path, monkeypatch, offline, words):
    """With HF_HUB_OFFLINE the Hub's client takes half a download for the whole one."""
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    for number in range(2):
        cached(snapshot, "train", [row(picture(number))], f"0000{number}-of-00003")
    missing = rf"chartqa: 1 files are missing in the Hub cache of HuggingFaceM4/ChartQA{words}"
    with pytest.raises(R3Error, match=missing):
        download("chartqa", tmp_path / "raw", DownloadConfig(splits=["train"]))
    assert read_manifest(raw_target(tmp_path / "raw")) is None


def test_a_hub_cache_without_the_split_is_named(snapshot, tmp_path):
    with pytest.raises(R3Error, match=r"chartqa: HuggingFaceM4/ChartQA@[0-9a-f]+.* holds no data/train-\*.parquet"):
        download("chartqa", tmp_path / "raw", DownloadConfig(splits=["train"]))


def test_without_a_network_the_hub_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        R3Error, match=r"cannot fetch HuggingFaceM4/ChartQA@.*; check the network and HF_TOKEN, or give"
    ):
        download("chartqa", tmp_path / "raw", DownloadConfig(splits=["val"]))
    assert read_manifest(raw_target(tmp_path / "raw")) is None


@pytest.mark.parametrize("dataset, hub_val", [("screenqa", "validation"), ("infovqa", "val")])
def test_other_mirrors_columns_and_split_names_are_understood(fetch, tmp_path, dataset, hub_val):
    line = row(picture(0), dataset=dataset)
    write_parquet(tmp_path, hub_val, [line], dataset)
    fetch(tmp_path, tmp_path / "raw", dataset, splits=["val"])
    (only,) = table(tmp_path / "raw", "val", dataset)
    assert (only["question"], only["answers"]) == ("What is the total?", ["42"])
    assert only["image"] == "images/validation_0.png"


def write_columns(folder, **columns):
    """A train file of these columns, as they are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "data").mkdir()
    pq.write_table(pa.table(columns), folder / "data" / "train.parquet")


def test_a_single_answer_as_plain_text_and_plain_picture_bytes_are_read(fetch, tmp_path):
    write_columns(tmp_path, image=[picture(0)], query=["Q?"], answer=["yes"])
    fetch(tmp_path, tmp_path / "raw", "infovqa", splits=["train"])
    assert table(tmp_path / "raw", dataset="infovqa")[0]["answers"] == ["yes"]


def test_a_text_that_is_not_utf_8_rejects_its_row_only(fetch, tmp_path):
    import pyarrow as pa

    # Arrow does not look into texts that are made from bytes, and neither does whoever writes such files.
    questions = pa.array([b"One?", b"caf\xe9?", b"caf\xc3\xa9?", b"Four?"]).view(pa.string())
    answers = pa.array([b"1", b"2", b"3", b"\xff"]).view(pa.string())
    write_columns(tmp_path, image=[picture(n) for n in range(4)], query=questions, label=answers)
    manifest = fetch(tmp_path, tmp_path / "raw", splits=["train"])
    assert [(line["id"], line["question"], line["image"]) for line in table(tmp_path / "raw")] == [
        ("chartqa/train/0", "One?", "images/train_0.png"),
        ("chartqa/train/2", "café?", "images/train_1.png"),
    ]
    assert manifest.left_out == {"text_undecodable": 2}
    assert manifest.counts["rows_in"] == 4
    first = next(read_jsonl(tmp_path / "raw" / "rejected.jsonl"))
    assert (first["id"], "is not UTF-8" in first["detail"]) == ("chartqa/train/1", True)


def test_numbers_and_bytes_of_other_columns_reach_the_table_as_json(fetch, tmp_path):
    from decimal import Decimal

    columns = {"image": [picture(0)], "question": ["Q?"], "answers": [[1.5, 2.0]]}
    write_columns(tmp_path, **columns, questionId=[Decimal("12345678901234567890.5")], answer_type=[b"sp\xe4n"])
    fetch(tmp_path, tmp_path / "raw", "infovqa", splits=["train"])
    (line,) = table(tmp_path / "raw", dataset="infovqa")
    assert line["answers"] == ["1.5", "2.0"]
    assert line["meta"] == {"question_id": "12345678901234567890.5", "answer_type": "sp�n"}


def test_rows_of_many_batches_stay_in_the_sources_order(fetch, tmp_path):
    """More rows than a batch and than may wait for their pictures, PNG and JPEG in turn."""
    rows = [row(picture(n % 9, ("PNG", "JPEG")[n % 2]), f"Question {n}?") for n in range(150)]
    write_parquet(tmp_path, "train", rows)
    fetch(tmp_path, tmp_path / "raw", splits=["train"])
    assert [line["question"] for line in table(tmp_path / "raw")] == [f"Question {n}?" for n in range(150)]
    assert require_manifest(raw_target(tmp_path / "raw"), "make it").counts["pictures"] == 18


def test_columns_that_nobody_asked_for_are_not_needed(fetch, tmp_path):
    assert "human_or_machine" in COLUMNS["chartqa"][2]
    line = row(picture(0))
    del line["human_or_machine"]
    write_parquet(tmp_path, "train", [line])
    fetch(tmp_path, tmp_path / "raw", splits=["train"])
    assert table(tmp_path / "raw")[0]["meta"] == {}
