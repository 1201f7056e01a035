"""What is hashed while it is written has the hash of the file that stands in the end."""

import errno
import os

import pytest

from r3pp_core.artefact import hash_file
from r3pp_core.ingest import hashed_file
from r3pp_core.ingest.hashed_file import HashedFile


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(bytes(range(256)) * 40)
    return path


@pytest.mark.parametrize("copy_bytes", [7, 4096, hashed_file.COPY_BYTES])
def test_writes_and_copies_stand_one_after_the_other_under_one_hash(tmp_path, source, monkeypatch, copy_bytes):
    monkeypatch.setattr(hashed_file, "COPY_BYTES", copy_bytes)
    data = source.read_bytes()
    with HashedFile(tmp_path / "out") as out:
        out.write(b"first")
        out.copy(source, [(0, 10), (5000, 9000)])
        out.copy(source, [])
        for _ in range(20):
            out.write(b"again")
        out.copy(source, [(10_239, 10_240)])
    wanted = b"first" + data[:10] + data[5000:9000] + b"again" * 20 + data[-1:]
    assert (tmp_path / "out").read_bytes() == wanted
    assert out.num_bytes == len(wanted)
    assert out.sha256 == hash_file(tmp_path / "out")


def test_a_file_without_a_byte_has_the_hash_of_nothing(tmp_path):
    with HashedFile(tmp_path / "out") as out:
        pass
    assert out.sha256 == hash_file(tmp_path / "out")


def test_a_file_on_another_disk_is_copied_all_the_same(tmp_path, source, monkeypatch):
    """A table may be a link to another disk, where Linux refuses copy_file_range."""

    def refuse(*arguments):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    with HashedFile(tmp_path / "out") as out:
        out.copy(source, [(0, 10)])
    assert (tmp_path / "out").read_bytes() == source.read_bytes()[:10]
    assert out.sha256 == hash_file(tmp_path / "out")
