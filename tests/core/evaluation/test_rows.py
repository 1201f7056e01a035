"""Which rows are evaluated depends on the seed and the rows, not on their order."""

import random

import pytest

from r3pp_core.errors import R3Error
from r3pp_core.evaluation.rows import choose_rows
from r3pp_core.jsonl import write_jsonl


def made_rows(num_pictures=10, questions=4, dataset="chartqa", answers=("1",)):
    return [
        {
            "id": f"{dataset}/val/{picture}-{question}",
            "dataset": dataset,
            "split": "val",
            "image_path": f"{dataset}/images/{picture}.png",
            "image_sha256": f"{dataset} {picture}",
            "question": "How many?",
            "answers": list(answers),
            "pseudo_text": "",
            "ocr_conf": None,
            "meta": {},
        }
        for picture in range(num_pictures)
        for question in range(questions)
    ]


@pytest.fixture
def choose(tmp_path):
    """`choose(rows, number, seed)` -> ids and numbers of answerless rows, through a table on disk."""

    def call(rows, number, seed=0):
        write_jsonl(tmp_path / "val.jsonl", rows)
        chosen = choose_rows(tmp_path / "val.jsonl", number, seed)
        return [row["id"] for row in chosen.rows], chosen.num_answerless

    return call


def test_the_choice_is_the_same_whatever_the_order_of_the_table(choose):
    rows = made_rows()
    shuffled = random.Random(3).sample(rows, len(rows))
    assert set(choose(rows, 7)[0]) == set(choose(shuffled, 7)[0])


def test_the_seed_decides_the_choice(choose):
    assert choose(made_rows(), 7, seed=1) == choose(made_rows(), 7, seed=1)
    assert len({tuple(choose(made_rows(), 7, seed)[0]) for seed in range(5)}) > 1


@pytest.mark.parametrize("number, most", [(10, 1), (17, 2), (20, 2), (33, 4)])
def test_every_picture_is_asked_about_once_before_any_is_asked_twice(choose, number, most):
    ids, _ = choose(made_rows(), number)
    counts = [sum(f"/{picture}-" in row_id for row_id in ids) for picture in range(10)]
    assert sum(counts) == number
    assert max(counts) == most
    assert max(counts) - min(counts) <= 1


def test_human_and_augmented_questions_keep_their_shares(choose):
    """Ten human questions on ten pictures, thirty augmented ones on three others."""
    human, augmented = made_rows(10, 1), made_rows(3, 10)
    for rows, kind in ((human, 0), (augmented, 1)):
        for row in rows:
            row |= {"id": f"{row['id']} {kind}", "image_sha256": f"{row['image_sha256']} {kind}"}
            row["meta"] = {"human_or_machine": kind}
    for number in (4, 8, 20):
        ids, _ = choose(human + augmented, number)
        assert sum(row_id.endswith(" 0") for row_id in ids) == number // 4


def test_a_larger_choice_contains_the_smaller_one(choose):
    small, large = (set(choose(made_rows(), number)[0]) for number in (6, 25))
    assert small < large


def test_the_number_counts_for_each_data_set_and_rows_stay_in_table_order(choose):
    rows = made_rows() + made_rows(dataset="infovqa")
    ids, _ = choose(rows, 5)
    assert len(ids) == 10
    assert ids == [row["id"] for row in rows if row["id"] in set(ids)]


def test_none_takes_every_row_with_an_answer(choose):
    rows = made_rows() + made_rows(2, 2, "infovqa", answers=())
    assert choose(rows, None) == ([row["id"] for row in made_rows()], {"chartqa": 0, "infovqa": 4})


def test_a_table_without_answers_is_refused(choose):
    with pytest.raises(R3Error, match=r"none of the 40 rows of .*val.jsonl has a reference answer"):
        choose(made_rows(answers=()), 5)


def test_a_table_without_a_row_is_refused(choose):
    """An empty split."""
    with pytest.raises(R3Error, match=r"val.jsonl has no row; merge the unified tables first"):
        choose([], 5)


def test_an_id_that_stands_twice_is_refused_with_both_lines(choose):
    rows = made_rows()
    rows[7]["id"] = rows[2]["id"]
    with pytest.raises(R3Error, match=r"val.jsonl lines 3 and 8 have the same id chartqa/val/0-2"):
        choose(rows, 1)


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("answers", "42", r"line 4 has the answers '42'; they are a list of texts"),
        ("answers", [42], r"line 4 has the answers \[42\]"),
        ("answers", None, "line 4 has the answers None"),
        ("dataset", "docvqa", "line 4 is of data set 'docvqa'; the known ones are screenqa, chartqa, infovqa"),
    ],
)
def test_what_no_evaluation_can_use_is_named_by_its_line(choose, field, value, words):
    rows = made_rows()
    rows[3][field] = value
    with pytest.raises(R3Error, match=words):
        choose(rows, 5)


def test_a_table_of_another_kind_is_named_by_its_first_bad_line(choose):
    rows = made_rows()
    del rows[1]["pseudo_text"], rows[1]["answers"], rows[1]["ocr_conf"]
    with pytest.raises(
        R3Error, match=r"val.jsonl line 2 lacks answers, pseudo_text, ocr_conf; give a table that `r3pp merge`"
    ):
        choose(rows, 5)
