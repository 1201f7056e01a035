"""Five hundred malformed pictures: each row is kept or rejected with a reason, and OCR survives those that are kept."""

from collections import Counter
from types import SimpleNamespace

import pytest
from accounts import balanced, files_below
from chart_rows import row, write_parquet
from malformed_pictures import malformed_pictures

from r3pp_core.artefact import Target
from r3pp_core.ingest import ocr, ocr_engine
from r3pp_core.ingest.ocr_engine import read_picture
from r3pp_core.jsonl import read_jsonl
from r3pp_core.pictures import open_picture

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")

NUM_PICTURES = 500
NEEDED = ["another suffix", "PNG that inflates far beyond its dimensions", "PNG of 1 x 60000"]
REFUSED = [
    *("PNG of huge dimensions", "JPEG of huge dimensions", "GIF of huge dimensions", "BMP of huge dimensions"),
    *("WEBP of huge dimensions", "TIFF of huge dimensions", "PostScript", "empty", "zero bytes", "random"),
]


@pytest.fixture(scope="module")
def pictures(round_number) -> list[tuple[str, bytes]]:
    return list(malformed_pictures(NUM_PICTURES, seed=round_number))


@pytest.fixture
def source(pictures, tmp_path):
    """All in the val split, each asked about once; beside it a folder that nobody may touch."""
    write_parquet(tmp_path / "source", "val", [row(data, f"{number}?") for number, (_, data) in enumerate(pictures)])
    (tmp_path / "bystander").mkdir()
    (tmp_path / "bystander" / "file").write_text("mine")
    return tmp_path / "source"


@pytest.fixture
def seen(monkeypatch) -> list[tuple[int, int]]:
    """Width and height of what OCR gives to an engine that finds no text; reading happens in this process."""
    shapes: list[tuple[int, int]] = []

    def engine(pixels):
        shapes.append((pixels.shape[1], pixels.shape[0]))
        return SimpleNamespace(boxes=None, txts=None, scores=None)

    monkeypatch.setattr(ocr_engine, "_engine", engine)
    monkeypatch.setattr(ocr, "read_shard", lambda *arguments: 0)
    return shapes


@pytest.mark.parametrize("image_format", ["png", "original"])
def test_every_malformed_picture_is_kept_or_rejected_with_a_reason(r3pp, pictures, source, tmp_path, image_format):
    before = files_below(tmp_path)
    out_dir = tmp_path / "raw"
    arguments = ("--source", source, "--out_dir", out_dir, "--splits", "val", "--num_workers", 2)
    said = r3pp("download", "chartqa", *arguments, "--image_format", image_format)
    assert said.code == 0
    assert "Traceback" not in said.err
    manifest = balanced(Target(out_dir), NUM_PICTURES)
    assert manifest.counts["rows"] > NUM_PICTURES // 10 and sum(manifest.left_out.values()) > NUM_PICTURES // 3
    assert set(manifest.left_out) == {"picture_missing", "picture_undecodable", "picture_too_large"}

    kinds = Counter(pictures[_number(line)][0] for line in read_jsonl(out_dir / "chartqa_raw_val.jsonl"))
    assert all(kinds[kind] for kind in NEEDED)
    assert not any(kinds[kind] for kind in REFUSED)
    assert {name: data for name, data in files_below(tmp_path).items() if not name.startswith("raw/")} == before
    images = {path.name for path in (out_dir / "images").iterdir()}
    assert images == {line["image"].removeprefix("images/") for line in read_jsonl(out_dir / "chartqa_raw_val.jsonl")}


def _number(line) -> int:
    return int(line["id"].rpartition("/")[2])


def test_what_download_lets_through_is_read_or_rejected_by_ocr_and_stays_accounted_for(r3pp, source, tmp_path, seen):
    raw_dir, unified_dir = tmp_path / "raw", tmp_path / "unified"
    chart = ("--dataset", "chartqa", "--raw_dir", raw_dir)
    tables = ("--unified_dir", unified_dir, "--val", "chartqa_unified_val.jsonl", "--splits", "val")
    r3pp("download", "chartqa", "--source", source, "--out_dir", raw_dir, "--splits", "val", "--num_workers", 2)
    assert r3pp("ocr", *chart).code == 0
    assert r3pp("unify", *chart, "--out_dir", unified_dir).code == 0
    assert r3pp("merge", *tables).code == 0

    num_downloaded = balanced(Target(raw_dir), NUM_PICTURES).counts["rows"]
    rejected = {line["id"]: line["reason"] for line in read_jsonl(raw_dir / "ocr.rejected.jsonl")}
    read = {line["image_path"]: (line["width"], line["height"]) for line in read_jsonl(raw_dir / "ocr.jsonl")}
    assert rejected and set(rejected.values()) == {"picture_undecodable"}
    assert len(seen) == len(read)
    assert {*read, *rejected} == {line["image"] for line in read_jsonl(raw_dir / "chartqa_raw_val.jsonl")}
    assert all(open_picture(raw_dir / path).size == size for path, size in read.items())

    unified = balanced(Target(unified_dir, "chartqa_unified"), num_downloaded)
    assert unified.counts["rows"] == num_downloaded - unified.left_out["picture_undecodable"]
    assert unified.left_out["picture_undecodable"] >= len(rejected)
    assert balanced(Target(unified_dir, "val"), unified.counts["rows"]).counts["rows"] > 0


def test_ocr_gives_its_engine_pictures_of_bounded_size_and_shape(tmp_path, seen):
    """The engine enlarges by the short side without a bound: 1000 x 1 pixels would take tens of gigabytes."""
    from PIL import Image

    for size in ((1, 1), (1, 1000), (1000, 1), (60_000, 300), (400_000, 20), (20, 400_000), (3000, 3000), (640, 480)):
        Image.new("RGB", size).save(tmp_path / "x.png", compress_level=1)
        record = read_picture(tmp_path / "x.png")
        assert (record["width"], record["height"]) == size
        width, height = seen[-1]
        assert width * height <= 4_100_000
        assert max(width, height) <= 17 * min(width, height)
    assert seen[-1] == (640, 480)


@pytest.mark.parametrize("size", [(1, 1), (1000, 1), (60_000, 300)])
def test_the_real_engine_reads_the_narrowest_pictures(tmp_path, size):
    """Too flat for it: without a bound it fails, or is killed for want of memory."""
    from PIL import Image

    Image.new("RGB", size, "white").save(tmp_path / "x.png")
    assert read_picture(tmp_path / "x.png")["lines"] == []
