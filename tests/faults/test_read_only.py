"""A folder that cannot be written ends in one sentence and stays as it was."""

import os
import shutil
import subprocess

import pytest
from accounts import files_below
from chart_rows import picture, row, write_parquet


@pytest.fixture
def read_only():
    """`read_only(folder)`: nothing can be made in it until the test ends. Root ignores modes, but not chattr's."""
    undo: list[tuple[str, ...]] = []

    def call(folder):
        folder.mkdir(exist_ok=True)
        if os.geteuid():
            undo.append(("chmod", "755", str(folder)))
            folder.chmod(0o555)
            return
        chattr = shutil.which("chattr")
        if chattr is None or subprocess.run([chattr, "+i", folder], capture_output=True).returncode:
            pytest.skip("root may write everywhere, and this file system knows no `chattr +i`")
        undo.append((chattr, "-i", str(folder)))

    yield call
    for command in undo:
        subprocess.run(command, check=True)


@pytest.fixture
def folders(r3pp, tmp_path):
    """A downloaded and unified data set of one row."""
    write_parquet(tmp_path / "source", "val", [row(picture(0))])
    arguments = ("--source", tmp_path / "source", "--out_dir", tmp_path / "raw", "--splits", "val")
    assert r3pp("download", "chartqa", *arguments, "--num_workers", 1).code == 0
    arguments = ("--raw_dir", tmp_path / "raw", "--out_dir", tmp_path / "unified", "--ocr", "none")
    assert r3pp("unify", "--dataset", "chartqa", *arguments).code == 0
    return tmp_path


COMMANDS = {
    "download": ("download", "chartqa", "--source", "{root}/source", "--splits", "val", "--out_dir", "{target}"),
    "ocr": ("ocr", "--dataset", "chartqa", "--raw_dir", "{target}"),
    "unify": ("unify", "--dataset", "chartqa", "--raw_dir", "{root}/raw", "--ocr", "none", "--out_dir", "{target}"),
    "merge": ("merge", "--splits", "val", "--val", "chartqa_unified_val.jsonl", "--unified_dir", "{target}"),
}
FILLED = {"ocr": "raw", "merge": "unified"}  # stages that write beside what they read


@pytest.mark.parametrize("stage", COMMANDS)
def test_a_read_only_target_is_one_sentence_and_stays_as_it_was(r3pp, folders, read_only, stage):
    target = folders / FILLED.get(stage, "empty")
    read_only(target)
    before = files_below(folders)
    said = r3pp(*(part.format(root=folders, target=target) for part in COMMANDS[stage]))
    assert str(target) in said.one_sentence
    assert files_below(folders) == before


@pytest.mark.parametrize("stage", ["download", "unify"])
def test_a_target_below_a_file_is_one_sentence(r3pp, folders, stage):
    (folders / "file").write_text("mine")
    target = folders / "file" / "inner"
    said = r3pp(*(part.format(root=folders, target=target) for part in COMMANDS[stage]))
    assert f"cannot write {target}: Not a directory" in said.one_sentence
    assert (folders / "file").read_text() == "mine"
