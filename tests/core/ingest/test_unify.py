"""Raw rows and OCR text become rows of one schema; what cannot be a row is kept with its reason."""

import pytest
from hub_files import QUESTION

from r3pp_core.errors import R3Error, UsageError
from r3pp_core.ingest import unify as stage
from r3pp_core.ingest.checks import unified_schema_problems
from r3pp_core.ingest.config import UnifyConfig
from r3pp_core.ingest.schema import UnifiedRow
from r3pp_core.ingest.unify import unified_table, unify
from r3pp_core.jsonl import read_jsonl, write_jsonl

NONE = UnifyConfig(ocr="none")


def ocr_file(path, raw_dir, text="Sales 2020\nShop 7"):
    rows = [
        {"image_path": f"images/{picture.name}", "ocr_text": f"{text} {picture.name}", "ocr_conf": 0.75}
        for picture in sorted((raw_dir / "images").iterdir())
    ]
    write_jsonl(path, rows)
    return rows


@pytest.fixture
def out_dir(tmp_path):
    return tmp_path / "unified"


def rows_of(out_dir, split="train"):
    return list(read_jsonl(unified_table(out_dir, "chartqa", split)))


def test_every_row_has_the_schema_in_its_order(raw_dir, out_dir, tmp_path):
    ocr_file(tmp_path / "ocr.jsonl", raw_dir)
    unify("chartqa", raw_dir, out_dir, UnifyConfig(ocr=str(tmp_path / "ocr.jsonl")))
    assert unified_schema_problems(unified_table(out_dir, "chartqa", split) for split in ("train", "val", "test")) == []
    first = rows_of(out_dir)[0]
    assert list(first) == list(UnifiedRow.__struct_fields__)
    assert first == {
        "id": "chartqa/train/0",
        "dataset": "chartqa",
        "split": "train",
        "image_path": "chartqa/images/train_0.png",
        "image_sha256": first["image_sha256"],
        "question": "One?",
        "answer": "1",
        "answers": ["1", "one"],
        "ocr_text": "Sales 2020\nShop 7 train_0.png",
        "ocr_conf": 0.75,
        "pseudo_text": "Sales 2020\nShop 7 train_0.png",
        "meta": {"human_or_machine": 0},
    }


def test_pseudo_text_is_what_ocr_said_and_nothing_else(raw_dir, out_dir, tmp_path):
    ocr_file(tmp_path / "ocr.jsonl", raw_dir)
    unify("chartqa", raw_dir, out_dir, UnifyConfig(ocr=str(tmp_path / "ocr.jsonl")))
    for split in ("train", "val", "test"):
        for row in rows_of(out_dir, split):
            assert row["pseudo_text"] == row["ocr_text"] == f"Sales 2020\nShop 7 {row['image_path'].split('/')[-1]}"


def test_without_ocr_every_text_is_empty_and_counted(raw_dir, out_dir):
    manifest = unify("chartqa", raw_dir, out_dir, NONE)
    rows = [row for split in ("train", "val", "test") for row in rows_of(out_dir, split)]
    assert {(row["ocr_text"], row["ocr_conf"], row["pseudo_text"]) for row in rows} == {("", None, "")}
    assert manifest.counts["rows_without_text"] == len(rows)


def test_rows_that_cannot_be_used_are_rejected_with_their_reason(raw_dir, out_dir):
    manifest = unify("chartqa", raw_dir, out_dir, NONE)
    rejected = {row["id"]: row["reason"] for row in read_jsonl(out_dir / "chartqa_unified.rejected.jsonl")}
    assert rejected == {"chartqa/train/7": "question_empty", "chartqa/train/8": "answer_missing"}
    assert manifest.left_out == {"question_empty": 1, "answer_missing": 1}
    assert manifest.counts["rows_in"] == manifest.counts["rows"] + 2 == 10


@pytest.mark.parametrize("question", [None, "", " \n\t"])
def test_a_blank_question_is_rejected(own_raw_dir, out_dir, question):
    change(own_raw_dir, question=question)
    assert unify("chartqa", own_raw_dir, out_dir, NONE).left_out["question_empty"] == 2


@pytest.mark.parametrize(
    "fields, detail",
    [
        ({"answers": ["1", 2]}, "Expected `str`, got `int` - at `$.answers[1]`"),
        ({"answers": [""]}, "Expected `str` of length >= 1 - at `$.answers[0]`"),
        ({"question": 5}, "Expected `str | null`, got `int` - at `$.question`"),
        ({"hint": "42"}, "Object contains unknown field `hint`"),
    ],
)
def test_a_row_of_another_shape_is_rejected_with_what_is_wrong(own_raw_dir, out_dir, fields, detail):
    change(own_raw_dir, **fields)
    assert unify("chartqa", own_raw_dir, out_dir, NONE).left_out["schema"] == 1
    first = next(read_jsonl(out_dir / "chartqa_unified.rejected.jsonl"))
    assert (first["id"], first["detail"]) == ("chartqa/train/0", detail)


def change(raw_dir, **fields):
    """Change the first train row by hand, as a user might."""
    path = raw_dir / "chartqa_raw_train.jsonl"
    first, *others = read_jsonl(path)
    write_jsonl(path, [{**first, **fields}, *others])


def test_hidden_test_answers_stay_as_rows_without_answers_and_are_counted(raw_dir, out_dir):
    manifest = unify("chartqa", raw_dir, out_dir, NONE)
    hidden, seen = rows_of(out_dir, "test")
    assert (hidden["question"], hidden["answer"], hidden["answers"]) == ("Hidden?", "", [])
    assert seen["answers"] == ["13"]
    assert manifest.counts["rows_without_answer"] == 1


def test_the_image_prefix_leads_the_path(raw_dir, out_dir):
    unify("chartqa", raw_dir, out_dir, UnifyConfig(ocr="none", image_prefix="charts"))
    assert rows_of(out_dir)[0]["image_path"] == "charts/images/train_0.png"


@pytest.mark.parametrize("prefix", ["a/b", "..", "/abs"])
def test_an_image_prefix_that_is_no_folder_name_is_refused(raw_dir, out_dir, prefix):
    with pytest.raises(UsageError, match="must be one folder name, such as chartqa"):
        unify("chartqa", raw_dir, out_dir, UnifyConfig(ocr="none", image_prefix=prefix))


def test_an_ocr_file_is_matched_by_picture_hash_before_its_path(raw_dir, out_dir, tmp_path):
    rows = ocr_file(tmp_path / "ocr.jsonl", raw_dir)
    unify("chartqa", raw_dir, out_dir, NONE)
    sha = rows_of(out_dir)[0]["image_sha256"]
    moved = {"image_path": "elsewhere/x.png", "image_sha256": sha, "ocr_text": "by hash", "ocr_conf": None}
    write_jsonl(tmp_path / "ocr.jsonl", [*rows, moved])
    unify("chartqa", raw_dir, out_dir, UnifyConfig(ocr=str(tmp_path / "ocr.jsonl")))
    assert rows_of(out_dir)[0]["ocr_text"] == "by hash"
    assert rows_of(out_dir)[1]["ocr_text"] == "by hash", "the same picture again"
    assert rows_of(out_dir, "val")[0]["ocr_text"].endswith("validation_0.png")


def test_an_ocr_file_that_does_not_exist_is_a_usage_error(raw_dir, out_dir, tmp_path):
    with pytest.raises(UsageError, match=r"--ocr .*gone.jsonl is neither auto nor none nor a JSONL file"):
        unify("chartqa", raw_dir, out_dir, UnifyConfig(ocr=str(tmp_path / "gone.jsonl")))


@pytest.mark.parametrize(
    "row, words",
    [
        ({"image_path": "a", "text": "x"}, "Object missing required field `ocr_text`"),
        ({"image_path": "a", "ocr_text": ["x"], "ocr_conf": None}, r"Expected `str \| null`, got `array` .*ocr_text"),
        ({"image_path": None, "ocr_text": "x", "ocr_conf": None}, "Expected `str`, got `null` .*image_path"),
        ({"image_path": "a", "ocr_text": "x", "ocr_conf": 87}, "Expected `float` <= 1.0 .*ocr_conf"),
        ({"image_path": "a", "ocr_text": "x", "ocr_conf": 1, "phash": "a9"}, "Expected `str` matching .*phash"),
    ],
)
def test_an_ocr_file_with_a_bad_row_is_named_and_no_table_is_written(raw_dir, out_dir, tmp_path, row, words):
    good = {"image_path": "images/train_0.png", "ocr_text": "x", "ocr_conf": 1}
    write_jsonl(tmp_path / "ocr.jsonl", [good, row])
    with pytest.raises(R3Error, match=rf"ocr.jsonl line 2: {words}.*; an OCR file has image_path, ocr_text and ocr_c"):
        unify("chartqa", raw_dir, out_dir, UnifyConfig(ocr=str(tmp_path / "ocr.jsonl")))
    assert [path.name for path in out_dir.iterdir()] == [".lock-chartqa_unified"]


def test_auto_reads_pictures_that_were_not_read_and_reuses_what_was(own_raw_dir, out_dir, monkeypatch):
    num_runs = []

    def read(dataset, raw_dir, config, progress):
        num_runs.append(dataset)
        ocr_file(raw_dir / "ocr.jsonl", raw_dir)

    monkeypatch.setattr(stage, "run_ocr", read)
    unify("chartqa", own_raw_dir, out_dir)
    assert num_runs == ["chartqa"]
    assert rows_of(out_dir)[0]["ocr_text"]


def test_a_second_run_does_nothing_until_the_text_changes(raw_dir, out_dir, tmp_path):
    path = tmp_path / "ocr.jsonl"
    config = UnifyConfig(ocr=str(path))
    ocr_file(path, raw_dir)
    said: list[str] = []
    first = unify("chartqa", raw_dir, out_dir, config)
    assert unify("chartqa", raw_dir, out_dir, config, said.append) == first
    assert "nothing to do" in said[-1]
    ocr_file(path, raw_dir, "Other text")
    assert unify("chartqa", raw_dir, out_dir, config).content_hash != first.content_hash


def test_the_parent_of_the_raw_folder_will_do(raw_dir, out_dir):
    assert unify("chartqa", raw_dir.parent, out_dir, NONE).counts["rows"] == 8


def test_raw_data_that_are_not_there_are_asked_for_by_their_command(tmp_path, out_dir):
    with pytest.raises(R3Error, match="run `r3pp download chartqa"):
        unify("chartqa", tmp_path, out_dir, NONE)
    with pytest.raises(UsageError, match="unknown data set"):
        unify("mnist", tmp_path, out_dir, NONE)
    assert not out_dir.exists()


def test_questions_and_answers_never_leak_into_any_other_field(raw_dir, out_dir):
    unify("chartqa", raw_dir, out_dir, NONE)
    for row in rows_of(out_dir):
        rest = {key: value for key, value in row.items() if key not in ("question", "answer", "answers")}
        assert row["question"] not in str(rest)
        assert QUESTION not in str(rest)


def test_a_raw_table_that_lost_rows_or_is_gone_is_no_silent_loss(own_raw_dir, out_dir):
    table = own_raw_dir / "chartqa_raw_train.jsonl"
    whole = table.read_bytes()
    table.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    with pytest.raises(R3Error, match=r"chartqa_raw_train.jsonl has 2 rows, but 6 were written; put it back"):
        unify("chartqa", own_raw_dir, out_dir, NONE)
    table.unlink()
    with pytest.raises(R3Error, match=r"chartqa_raw_train.jsonl is gone; run `r3pp download chartqa .* --force`"):
        unify("chartqa", own_raw_dir, out_dir, NONE)
    table.write_bytes(whole)
    assert unify("chartqa", own_raw_dir, out_dir, NONE).counts["rows"] == 8


def test_a_raw_table_that_was_edited_is_unified_again(own_raw_dir, out_dir):
    before = unify("chartqa", own_raw_dir, out_dir, NONE)
    change(own_raw_dir, question="Edited?")
    assert unify("chartqa", own_raw_dir, out_dir, NONE).content_hash != before.content_hash
    assert rows_of(out_dir)[0]["question"] == "Edited?"


@pytest.mark.parametrize(
    "image", ["../../etc/passwd", "/etc/passwd", "images//x.png", "images/./x.png", "images/x\0.png"]
)
def test_a_picture_path_that_is_not_below_its_folder_is_a_counted_rejection(own_raw_dir, out_dir, image):
    change(own_raw_dir, image=image)
    assert unify("chartqa", own_raw_dir, out_dir, NONE).left_out["schema"] == 1
    assert "is not one below its folder" in next(read_jsonl(out_dir / "chartqa_unified.rejected.jsonl"))["detail"]


def test_an_ocr_file_of_other_pictures_is_refused(raw_dir, out_dir, tmp_path):
    write_jsonl(tmp_path / "ocr.jsonl", [{"image_path": "elsewhere.png", "ocr_text": "x", "ocr_conf": 1}])
    with pytest.raises(R3Error, match="knows the picture of none of the 8 rows; its image_path must be as in the raw"):
        unify("chartqa", raw_dir, out_dir, UnifyConfig(ocr=str(tmp_path / "ocr.jsonl")))
