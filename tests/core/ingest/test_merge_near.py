"""A train picture that is an evaluation picture in another encoding is left out; one that merely looks alike stays."""

import io

import pytest
from hub_files import page, row, write_parquet
from PIL import Image

from r3pp_core.ingest.config import MergeConfig, UnifyConfig
from r3pp_core.ingest.merge import merge_split
from r3pp_core.ingest.perceptual import perceptual_hash
from r3pp_core.ingest.unify import unify
from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.pictures import open_picture

ONE = MergeConfig(
    train=["chartqa_unified_train.jsonl"], val=["chartqa_unified_val.jsonl"], test=["chartqa_unified_test.jsonl"]
)
LOOK = "a5" * 32
NEARLY = "a4" * 12 + "a5" * 20  # 12 bits away
NOT_QUITE = "a4" * 13 + "a5" * 19


@pytest.fixture
def unified_dir(tmp_path):
    return tmp_path / "unified"


def rejected(unified_dir, split="train"):
    return {line["id"].split("/")[-1]: line["reason"] for line in read_jsonl(unified_dir / f"{split}.rejected.jsonl")}


def as_jpeg(png):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(buffer, "JPEG", quality=40)
    return buffer.getvalue()


def test_real_pictures_encoded_again_go_with_all_their_rows_and_others_stay(fetch, tmp_path, unified_dir):
    """From Parquet to the merged table; only the reading of words is left out."""
    sales, shops = page([(20, 20, "Sales 2020"), (60, 120, "42")]), page([(90, 80, "Shops"), (20, 150, "7 of 9")])
    write_parquet(tmp_path, "val", [row(sales, "How much?"), row(shops, "How many?")])
    train = [
        row(as_jpeg(sales), " how  MUCH?"),
        row(as_jpeg(sales), "Which year?"),
        row(as_jpeg(shops), "Which part?"),
        row(page([(150, 20, "Rain"), (10, 100, "12 mm")]), "How much?"),
    ]
    write_parquet(tmp_path, "train", train)
    raw_dir = tmp_path / "raw"
    fetch(tmp_path, raw_dir, splits=["train", "val"])
    write_jsonl(
        tmp_path / "ocr.jsonl",
        [
            {
                "image_path": f"images/{path.name}",
                "ocr_text": "",
                "ocr_conf": None,
                "phash": perceptual_hash(open_picture(path)),
            }
            for path in sorted((raw_dir / "images").iterdir())
        ],
    )
    unify("chartqa", raw_dir, unified_dir, UnifyConfig(ocr=str(tmp_path / "ocr.jsonl")))
    manifest = merge_split("train", unified_dir, ONE)
    assert rejected(unified_dir) == {"0": "near_picture_in_evaluation", "1": "near_picture_in_evaluation"}
    assert [line["id"] for line in read_jsonl(unified_dir / "train.jsonl")] == ["chartqa/train/2", "chartqa/train/3"]
    assert manifest.counts["rows_without_phash"] == 0


def test_a_picture_that_merely_looks_alike_stays_and_is_counted(unified_dir, write_unified):
    """Charts of one style may have the same hash: without the same question they are two charts."""
    write_unified("chartqa", "train", [("a", "Who?", ("1",), LOOK), ("a", "When?", ("1",), LOOK), ("b",)])
    write_unified("chartqa", "val", [("c", "What?", ("1",), LOOK), ("d", "Who?", ("1",))])
    manifest = merge_split("train", unified_dir, ONE)
    assert rejected(unified_dir) == {}
    assert manifest.counts["pictures_alike_in_evaluation"] == 1
    assert (manifest.counts["pictures"], manifest.counts["rows_without_phash"]) == (2, 1)


def test_the_same_question_about_a_nearly_equal_picture_takes_all_rows_of_that_picture(unified_dir, write_unified):
    train = [
        ("a", "How many?", ("1",), NEARLY),
        ("a", "Another question?", ("1",), NEARLY),
        ("b", "How many?", ("1",), NOT_QUITE),
        ("c", "How many?", ("1",)),
    ]
    write_unified("chartqa", "train", train)
    write_unified("chartqa", "val", [("z", "how   many?", ("1",), LOOK)])
    manifest = merge_split("train", unified_dir, ONE)
    assert rejected(unified_dir) == {"0": "near_picture_in_evaluation", "1": "near_picture_in_evaluation"}
    assert manifest.left_out == {"near_picture_in_evaluation": 2}
    assert (manifest.counts["rows"], manifest.counts["pictures_alike_in_evaluation"]) == (2, 0)


def test_hidden_test_rows_guard_by_their_looks_as_well(unified_dir, write_unified):
    write_unified("chartqa", "train", [("a", "How many?", ("1",), NEARLY)])
    write_unified("chartqa", "test", [("z", "How many?", (), LOOK)])
    assert merge_split("train", unified_dir, ONE).left_out == {"near_picture_in_evaluation": 1}


def test_a_test_picture_that_is_nearly_one_of_val_is_left_out_and_val_stays(unified_dir, write_unified):
    write_unified("chartqa", "test", [("a", "How many?", ("1",), NEARLY), ("b", "How many?", ("1",), NOT_QUITE)])
    write_unified("chartqa", "val", [("z", "How many?", ("1",), LOOK)])
    merge_split("test", unified_dir, ONE)
    assert rejected(unified_dir, "test") == {"0": "near_picture_in_val"}
    assert merge_split("val", unified_dir, ONE).left_out == {}


def test_the_first_reason_that_fits_is_the_one_that_counts(unified_dir, write_unified):
    rows = [
        ("same", "How many?", ("1",), LOOK),
        ("near", "How many?", ("1",), NEARLY),
        ("near", "How many?", ("1",), NEARLY),
        ("near", "Who?", (), NEARLY),
        ("own", "How many?", ("1",)),
        ("own", "How many?", ("1",)),
    ]
    write_unified("chartqa", "train", rows)
    write_unified("chartqa", "val", [("same", "How many?", ("1",), LOOK)])
    merge_split("train", unified_dir, ONE)
    assert rejected(unified_dir) == {
        "0": "picture_in_evaluation",
        "1": "near_picture_in_evaluation",
        "2": "near_picture_in_evaluation",
        "3": "answer_missing",
        "5": "duplicate",
    }
