"""A full disk ends a stage in one sentence and leaves nothing half-written; with room again the bytes are the same."""

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from r3pp_core.ingest.ocr_index import PLACE, write_index
from r3pp_core.sample.config import SampleConfig
from r3pp_core.sample.write import write_sample

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root"),
]

SPLITS = ("train", "val", "test")
STAGES = {
    "download": ("download", "chartqa", "--source", "{root}/source", "--out_dir", "{out}"),
    "ocr": ("ocr", "--dataset", "chartqa", "--raw_dir", "{out}", "--num_workers", "1"),
    "unify": ("unify", "--dataset", "chartqa", "--raw_dir", "{root}/ocr", "--out_dir", "{out}"),
    "merge": ("merge", "--unified_dir", "{out}", *(f"--{split}=chartqa_unified_{split}.jsonl" for split in SPLITS)),
}
BEFORE = {"ocr": "download", "merge": "unify"}  # what already lies where the stage writes
ONE_SENTENCE = re.compile(
    r"error: \S+: cannot write (\S+), where \d+ MB are free \(free some and run it again\): No space left on device\n"
)
ROOM = 64 << 20
PAGE = 4096


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """The sample's charts through all stages where there is room; a folder a stage, with what lay there before."""
    root = tmp_path_factory.mktemp("roomy")
    write_sample(root / "source", SampleConfig(num_screens=6, num_charts=12, num_infographics=6))
    for stage in STAGES:
        if stage in BEFORE:
            shutil.copytree(root / BEFORE[stage], root / stage)
        ran = run(stage, root, root / stage)
        assert ran.code == 0, ran.err
    return root


def run(stage: str, root: Path, out: Path) -> Ran:
    command = [sys.executable, "-m", "r3pp_core.cli", *(part.format(root=root, out=out) for part in STAGES[stage])]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return Ran(result.returncode, result.stdout, result.stderr)


@pytest.fixture
def disk(tmp_path) -> Iterator[Callable[[int], Path]]:
    """`disk(num_bytes)`: a file system of that size in memory; called again, the same one with another size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def resize(num_bytes: int) -> Path:
        remount = ["-o", f"remount,size={num_bytes}"] if folder.is_mount() else ["-o", f"size={num_bytes}"]
        subprocess.run(["mount", "-t", "tmpfs", *remount, "tmpfs", folder], check=True)
        return folder

    try:
        yield resize
    finally:
        if folder.is_mount():
            subprocess.run(["umount", folder], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but locks and the OCR cache, which may keep what was read."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".lock-") and ".ocr_cache" not in path.parts
    }


def num_bytes(folder: Path) -> int:
    """As a file system in memory counts them: in whole pages, folders for nothing."""
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 1.0])
@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_is_one_sentence_and_room_for_the_rest_gives_the_same_bytes(root, disk, stage, share):
    """All but a page of this share of what the stage writes finds room."""
    before = root / BEFORE[stage] if stage in BEFORE else None
    num_before = num_bytes(before) if before else 0
    out = disk(ROOM) / "out"
    shutil.copytree(before, out) if before else out.mkdir()
    disk(num_before + int(share * (num_bytes(root / stage) - num_before)) - PAGE)

    full = run(stage, root, out)
    assert full.code == 1
    assert (sentence := ONE_SENTENCE.fullmatch(full.err)), full.err
    assert sentence[1] == str(out)
    found = contents(out)
    assert {name: found.pop(name) for name in contents(before)} == contents(before) if before else True
    assert all(contents(root / stage)[name] == data for name, data in found.items()), "whole artefacts or nothing"
    assert [path for path in out.glob(".*") if path.name.startswith((".staging", ".commit"))] == []

    disk(ROOM)
    again = run(stage, root, out)
    assert (again.code, again.err) == (0, "")
    assert contents(out) == contents(root / stage)


@pytest.mark.parametrize("num_places", [100_000, 1_000])
def test_an_index_that_finds_no_room_says_that_the_disk_is_full(disk, num_places):
    """numpy itself says how many numbers it could not write, and not why."""
    import numpy as np

    folder = disk(2 * PAGE)
    with pytest.raises(OSError) as raised:
        write_index([np.ones(num_places, PLACE)], folder / "index.npy")
    assert raised.value.errno == errno.ENOSPC
