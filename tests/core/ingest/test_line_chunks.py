"""Chunks of a file are its lines, each once and whole, wherever the file is cut."""

import pytest

from r3pp_core.errors import R3Error
from r3pp_core.ingest.line_chunks import line_chunks

TEXT = b'{"a": 1}\n\n{"b": 22}\n   \n{"caf\xc3\xa9": 3}\r\n{"last": 4}'


def lines_of(path, chunk_bytes):
    return [(chunk, offset, line) for chunk in line_chunks(path, chunk_bytes) for offset, line in chunk.lines()]


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n\n"])
@pytest.mark.parametrize("chunk_bytes", [*range(1, 30), 1 << 19])
def test_every_line_comes_once_with_its_offset_and_number_however_the_file_is_cut(tmp_path, chunk_bytes, end):
    path = tmp_path / "table.jsonl"
    path.write_bytes(TEXT + end)
    found = lines_of(path, chunk_bytes)
    assert [line for _, _, line in found] == [line for line in TEXT.split(b"\n") if line.strip()]
    assert [chunk.number_of(offset) for chunk, offset, _ in found] == [1, 3, 5, 6]
    assert all(TEXT[offset:].startswith(line) for _, offset, line in found)


def test_a_small_chunk_size_gives_many_chunks_that_cover_the_file(tmp_path):
    path = tmp_path / "table.jsonl"
    path.write_bytes(TEXT)
    chunks = list(line_chunks(path, 9))
    assert len(chunks) > 2
    assert [chunk.offset for chunk in chunks[1:]] == [chunk.offset + chunk.num_bytes for chunk in chunks[:-1]]
    assert sum(chunk.num_bytes for chunk in chunks) == len(TEXT)


def test_an_empty_file_has_no_chunk_and_a_missing_one_is_named(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    assert list(line_chunks(tmp_path / "empty.jsonl")) == []
    with pytest.raises(R3Error, match=r"cannot read .*gone.jsonl: No such file"):
        list(line_chunks(tmp_path / "gone.jsonl"))
