"""A Parquet file that is cut off or damaged ends in one sentence that names it, or in rejected rows; never in fewer."""

import random
import re

import pyarrow.parquet as pq
import pytest
from accounts import balanced
from chart_rows import picture, row, write_parquet

from r3pp_core.artefact import Target, read_manifest
from r3pp_core.datasets.registry import dataset_spec
from r3pp_core.errors import R3Error
from r3pp_core.ingest.source_rows import read_source_rows

NUM_ROWS = 120
FLIPS_A_FILE = 12
FOOTERS = 300
NAMED = (
    r"(?s).*train-00000-of-00001\.parquet (is not a readable Parquet file \(.*\)|promises .* holds .*); fetch it again"
)


@pytest.fixture
def write(tmp_path):
    """`write(**options)`: 120 rows about 40 pictures in three row groups of small pages."""

    def call(**options):
        rows = [row(picture(number // 3), f"Question {number} – größer?", [str(number)]) for number in range(NUM_ROWS)]
        return write_parquet(tmp_path, "train", rows, row_group_size=40, data_page_size=2048, **options)

    return call


@pytest.fixture
def download(r3pp, tmp_path):
    """`download()` into a folder of its own each time; the folder and what was said."""

    def call():
        out_dir = tmp_path / f"raw{len(list(tmp_path.glob('raw*')))}"
        arguments = ("--source", tmp_path, "--out_dir", out_dir, "--splits", "train", "--num_workers", 1)
        return out_dir, r3pp("download", "chartqa", *arguments)

    return call


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.7, 0.99, 0.9999])
def test_a_truncated_parquet_file_is_named_and_nothing_is_left(write, download, share):
    path = write()
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    out_dir, said = download()
    assert re.fullmatch(NAMED, said.one_sentence)
    assert [found.name for found in out_dir.iterdir()] == [".lock-artefact"]


@pytest.mark.parametrize("is_checked", [True, False], ids=["checksums", "no checksums"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_a_damaged_row_group_is_named_or_its_rows_are_rejected_and_counted(
    write, download, compression, is_checked, round_number
):
    """Bits flip in the middle of a data page; without compression and checksums only a row may show it."""
    path = write(compression=compression, write_page_checksum=is_checked, use_dictionary=False)
    data = path.read_bytes()
    draw = random.Random(f"{compression} {is_checked} {round_number}")
    metadata = pq.ParquetFile(path).metadata
    num_named = num_rejected = 0
    for _ in range(FLIPS_A_FILE):
        column = metadata.row_group(draw.randrange(3)).column(draw.randrange(4))
        start, size = column.data_page_offset, column.total_compressed_size
        damaged = bytearray(data)
        for _ in range(draw.choice((1, 8))):
            damaged[start + draw.randrange(size // 4, size)] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        out_dir, said = download()
        if said.code:
            assert re.fullmatch(NAMED, said.one_sentence)
            assert read_manifest(Target(out_dir)) is None
            num_named += 1
        else:
            num_rejected += sum(balanced(Target(out_dir), NUM_ROWS).left_out.values())
    assert num_named if is_checked or compression != "none" else num_rejected


def test_a_damaged_footer_never_hides_rows(write, round_number):
    """Among what a footer may say after a few flipped bits is that a row group is empty."""
    path = write()
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    draw = random.Random(round_number)
    num_read = 0
    for _ in range(FOOTERS):
        damaged = bytearray(data)
        damaged[draw.randrange(footer, len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            num_rows = sum(1 for _ in read_source_rows(dataset_spec("chartqa"), [path]))
        except R3Error:
            continue
        assert num_rows == NUM_ROWS
        num_read += 1
    assert 0 < num_read < FOOTERS


def test_a_row_group_that_the_footer_calls_shorter_is_named(write):
    """The footer's two counts of rows contradict each other: 120 in all, and 8 in one of the three groups."""
    path = write()
    data = path.read_bytes()
    in_all, in_group = bytes([0x16, 2 * 40]), bytes([0x16, 2 * 8])  # a field of type i64 with 40 or 8, zigzag
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    place = data.rindex(in_all, footer)
    while pq.ParquetFile(path).metadata.row_group(2).num_rows == 40:
        path.write_bytes(data[:place] + in_group + data[place + 2 :])
        place = data.rindex(in_all, footer, place)
    with pytest.raises(R3Error, match="promises 120 rows and holds 88; fetch it again"):
        list(read_source_rows(dataset_spec("chartqa"), [path]))


def test_a_column_name_that_is_no_utf8_is_named(write, download):
    path = write()
    path.write_bytes(path.read_bytes().replace(b"query", b"\xffuery"))
    _, said = download()
    assert re.fullmatch(NAMED, said.one_sentence)
