"""A small downloaded data set, shared by the tests that only read it, and tables of unified rows."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_files import page, picture, row, write_parquet

from r3pp_core.artefact import Manifest
from r3pp_core.ingest.config import DownloadConfig, OcrConfig
from r3pp_core.ingest.download import download
from r3pp_core.ingest.ocr import run_ocr
from r3pp_core.jsonl import write_jsonl


@pytest.fixture(scope="session")
def hub(tmp_path_factory) -> Path:
    """chartqa: train with two shards, a shared and a JPEG picture and all that has to be rejected; val; test."""
    folder = tmp_path_factory.mktemp("hub")
    shared = picture(0)
    first = [
        row(shared, "One?", ("1", "one", " 1 ", "")),
        row(shared, "Two?", "2"),
        row(picture(1, "JPEG"), "Three?", "3"),
        row(b"not a picture", "Torn?", "4"),
        row(None, "None?", "5"),
        row(b"", "Empty?", "6"),
    ]
    for line in first:
        answers = line["label"]
        line["label"] = list(answers) if isinstance(answers, list) else [answers]
    second = [row(shared, "Seven?", ("7",)), row(picture(2), None, ("8",)), row(picture(3), " Nine? ", ())]
    write_parquet(folder, "train", first, shard="00000-of-00002")
    write_parquet(folder, "train", second, shard="00001-of-00002")
    write_parquet(folder, "val", [row(picture(4), "Ten?", ("10",)), row(picture(5), "Eleven?", ("11",))])
    write_parquet(folder, "test", [row(picture(6), "Hidden?", ()), row(picture(7), "Seen?", ("13",))])
    return folder


@pytest.fixture(scope="session")
def fetch() -> Callable[..., Manifest]:
    """`fetch(source, out_dir, dataset="chartqa", **config)` with one worker process."""

    def call(source, out_dir, dataset="chartqa", progress=lambda message: None, force=False, **config):
        settings = DownloadConfig(**{"source": str(source), "num_workers": 1, **config})
        return download(dataset, out_dir, settings, progress, force=force)

    return call


@pytest.fixture(scope="session")
def raw_dir(hub, fetch, tmp_path_factory) -> Path:
    """`hub` downloaded; to be read only."""
    folder = tmp_path_factory.mktemp("raw") / "chartqa"
    fetch(hub, folder)
    return folder


@pytest.fixture
def own_raw_dir(raw_dir, tmp_path) -> Path:
    """A copy of `raw_dir` that a test may change."""
    return shutil.copytree(raw_dir, tmp_path / "raw" / "chartqa")


@pytest.fixture(scope="session")
def read_dir(fetch, tmp_path_factory) -> Path:
    """Three pictures (two pages, one blank) read for real; the first page also stands in val under another name."""
    source, folder = tmp_path_factory.mktemp("pages"), tmp_path_factory.mktemp("read") / "chartqa"
    first = page([(20, 20, "Revenue"), (250, 22, "1234"), (20, 120, "Coffee shop")])
    train = [row(first), row(page([(30, 80, "Green harbour")])), row(page([]))]
    write_parquet(source, "train", [*train, train[0]])
    write_parquet(source, "val", [row(first)])
    fetch(source, folder, splits=["train", "val"])
    run_ocr("chartqa", folder, OcrConfig(num_workers=1))
    return folder


@pytest.fixture
def own_read_dir(read_dir, tmp_path) -> Path:
    """A copy of `read_dir` that a test may change."""
    return shutil.copytree(read_dir, tmp_path / "raw" / "chartqa")


@pytest.fixture
def write_unified(tmp_path) -> Callable[..., Path]:
    """`write_unified(dataset, split, [(picture, question, answers, phash) or whole row])` in tmp_path/unified."""

    def write(dataset, split, rows):
        (tmp_path / "unified").mkdir(exist_ok=True)
        path = tmp_path / "unified" / f"{dataset}_unified_{split}.jsonl"
        lines = [line if isinstance(line, dict) else unified(dataset, split, i, *line) for i, line in enumerate(rows)]
        write_jsonl(path, lines)
        return path

    return write


def unified(dataset, split, number, sha, question="What?", answers=("1",), phash=None) -> dict:
    return {
        "id": f"{dataset}/{split}/{number}",
        "dataset": dataset,
        "split": split,
        "image_path": f"{dataset}/images/{split}_{number}.png",
        "image_sha256": sha,
        "question": question,
        "answer": answers[0] if answers else "",
        "answers": list(answers),
        "ocr_text": "",
        "ocr_conf": None,
        "pseudo_text": "",
        "meta": {"image_phash": phash} if phash else {},
    }
