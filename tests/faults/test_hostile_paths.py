"""Picture paths in the rows of others: nothing outside of the data set's folder is read, and nothing written."""

import pytest
from accounts import balanced, files_below
from chart_rows import picture, row, write_parquet

from r3pp_core.artefact import Target
from r3pp_core.jsonl import read_jsonl, write_jsonl

OWN, SECRET = picture(0), picture(1)


@pytest.fixture
def world(tmp_path):
    """A folder as the runbook's scripts leave it, and a picture outside of it that must not get in."""
    (tmp_path / "chartqa" / "images").mkdir(parents=True)
    (tmp_path / "chartqa" / "images" / "own.png").write_bytes(OWN)
    (tmp_path / "chartqa" / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "chartqa" / "images" / "folder.png").mkdir()
    (tmp_path / "secret.png").write_bytes(SECRET)
    return tmp_path


@pytest.fixture
def hostile(world) -> list[object]:
    return [
        *("../../etc/passwd", "/etc/passwd", "../secret.png", "images/../../secret.png", str(world / "secret.png")),
        *("link.png", "folder.png", "a\x00b.png", "\x00", "..", ".", "", "/", "images/", "\udcff.png", "😀.png"),
        *("x" * 5000 + ".png", "file:///etc/passwd", "~/secret.png", "C:\\secret.png", "con", None, 7, ["own.png"]),
    ]


def outside(world) -> dict[str, bytes]:
    return {name: data for name, data in files_below(world).items() if not name.startswith("chartqa/")}


def test_an_adopted_table_leads_to_no_picture_outside_and_loses_no_row(world, hostile, r3pp):
    folder, table = world / "chartqa", world / "chartqa" / "chartqa_raw_train.jsonl"
    lines = [{"image": name, "query": "Q?", "label": ["1"]} for name in ["own.png", *hostile] if name != "\udcff.png"]
    write_jsonl(table, lines)
    before = outside(world)
    said = r3pp("download", "chartqa", "--out_dir", folder)
    assert (said.code, said.err) == (0, "")
    manifest = balanced(Target(folder), len(lines))
    assert manifest.left_out == {"picture_missing": len(lines) - 1}
    assert [line["image"] for line in read_jsonl(table)] == ["images/own.png"]
    assert outside(world) == before


def test_a_lone_surrogate_in_an_adopted_table_is_named_with_its_line(world, r3pp):
    """JSON can spell it, UTF-8 cannot."""
    table = world / "chartqa" / "chartqa_raw_train.jsonl"
    table.write_text('{"image": "own.png", "query": "\\udcff", "label": ["1"]}\n')
    said = r3pp("download", "chartqa", "--out_dir", world / "chartqa")
    assert f"{table} line 1 is not JSON" in said.one_sentence


def test_paths_in_a_source_name_no_file(world, hostile, r3pp):
    """Downloaded pictures are named by split and number, whatever their rows say."""
    rows = [row(picture(number), f"{number}?") for number in range(len(hostile))]
    for line, name in zip(rows, hostile, strict=True):
        line["image"]["path"] = name if isinstance(name, str) and name.isprintable() else None
    write_parquet(world / "source", "train", rows)
    before = outside(world)
    arguments = ("--source", world / "source", "--out_dir", world / "chartqa" / "raw", "--splits", "train")
    assert r3pp("download", "chartqa", *arguments, "--num_workers", 1).code == 0
    balanced(Target(world / "chartqa" / "raw"), len(rows))
    images = sorted(path.name for path in (world / "chartqa" / "raw" / "images").iterdir())
    assert images == sorted(f"train_{number}.png" for number in range(len(rows)))
    assert outside(world) == before


@pytest.mark.parametrize("name", ["../secret.png", "images/../../secret.png", "/etc/passwd"])
def test_ocr_reads_no_picture_outside_that_somebody_wrote_into_a_raw_table(world, r3pp, name):
    raw_dir = world / "chartqa" / "raw"
    write_parquet(world / "source", "train", [row(OWN)])
    r3pp("download", "chartqa", "--source", world / "source", "--out_dir", raw_dir, "--splits", "train")
    table = raw_dir / "chartqa_raw_train.jsonl"
    write_jsonl(table, [{**line, "image": name} for line in read_jsonl(table)])
    said = r3pp("ocr", "--dataset", "chartqa", "--raw_dir", raw_dir)
    assert f"{table}: row chartqa/train/0 names no picture below {raw_dir}" in said.one_sentence


@pytest.mark.parametrize("prefix", ["..", ".", "a/b", "/etc"])
def test_a_prefix_that_is_no_folder_name_is_refused(world, r3pp, prefix):
    write_parquet(world / "source", "train", [row(OWN)])
    raw_dir = world / "chartqa" / "raw"
    r3pp("download", "chartqa", "--source", world / "source", "--out_dir", raw_dir, "--splits", "train")
    arguments = ("--raw_dir", raw_dir, "--out_dir", world / "unified", "--image_prefix", prefix, "--ocr", "none")
    said = r3pp("unify", "--dataset", "chartqa", *arguments)
    assert said.code == 2
    assert "must be one folder name" in said.err
    assert not (world / "unified").exists()


@pytest.mark.parametrize("table", ["../secret.jsonl", "/etc/passwd", "inner/secret.jsonl"])
def test_a_table_outside_of_the_unified_folder_is_refused(world, r3pp, table):
    said = r3pp("merge", "--unified_dir", world, "--val", table, "--splits", "val")
    assert said.code == 2
    assert "is not the name of a file" in said.err
