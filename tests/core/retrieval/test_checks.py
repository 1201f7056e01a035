"""Each check is silent for a sound index and names what is wrong in a faulty one."""

import numpy as np
import pytest

from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.retrieval.checks import (
    count_problems,
    leak_problems,
    recall_problems,
    reencoding_problems,
    self_hit_problems,
    vector_problems,
)
from r3pp_core.retrieval.search import Index


def test_a_sound_index_has_no_problems(image_index_dir, text_index_dir, corpus, clip, minilm, tmp_path) -> None:
    write_jsonl(tmp_path / "val.jsonl", [{"image_sha256": "0" * 64}])
    for folder, encoder in ((image_index_dir, clip), (text_index_dir, minilm)):
        index = Index.load(folder, encoder)
        assert count_problems(index.image_sha256s, corpus.jsonl) == []
        assert vector_problems(index.all_vectors) == []
        assert leak_problems(index.image_sha256s, [tmp_path / "val.jsonl"]) == []
        assert reencoding_problems(index, corpus.image_root, encoder) == []
        assert recall_problems(index) == []


def test_a_picture_too_few_too_many_or_twice_is_named(corpus) -> None:
    sha256s = corpus.sha256s
    assert count_problems(sha256s[1:], corpus.jsonl)[0].endswith("are not in the index: chartqa/images/train_0.png")
    assert "1 of 13 pictures in the index are not in" in count_problems([*sha256s, "f" * 64], corpus.jsonl)[0]
    assert "more than once" in count_problems([*sha256s, sha256s[3]], corpus.jsonl)[0]


def test_vectors_that_are_not_finite_or_not_unit_are_counted(random_unit) -> None:
    vectors = random_unit(20, 8, 0)
    assert vector_problems(vectors) == []
    vectors[3, 2] = np.nan
    vectors[5, 1] = np.inf
    vectors[7] *= 1.01
    assert vector_problems(vectors) == [
        "2 of 20 vectors are not finite: 3, 5",
        "1 of 20 vectors are not of unit length: 7",
    ]


def test_an_evaluation_picture_in_the_index_is_a_leak(image_index_dir, corpus, tmp_path) -> None:
    rows = list(read_jsonl(corpus.jsonl))
    write_jsonl(tmp_path / "val.jsonl", [{**rows[4], "split": "val"}, {"image_sha256": "0" * 64}])
    write_jsonl(tmp_path / "test.jsonl", [{"image_sha256": "1" * 64}])
    problems = leak_problems(
        Index.load(image_index_dir).image_sha256s, [tmp_path / "val.jsonl", tmp_path / "test.jsonl"]
    )
    assert len(problems) == 1
    assert "val.jsonl" in problems[0] and rows[4]["image_sha256"] in problems[0]


def test_two_swapped_vectors_are_found_by_encoding_again(image_index_dir, corpus, clip) -> None:
    index = Index.load(image_index_dir)
    swapped = np.array(index.all_vectors)
    swapped[[2, 9]] = swapped[[9, 2]]
    problems = reencoding_problems(
        Index(swapped, index._faiss, index._metadata, index.details), corpus.image_root, clip
    )
    assert len(problems) == 1
    assert problems[0].startswith("2 of 12") and "train_2.png" in problems[0] and "train_9.png" in problems[0]


def test_a_picture_deleted_after_the_build_is_named(image_index_dir, own_corpus, clip) -> None:
    (own_corpus.image_root / "chartqa" / "images" / "train_6.png").unlink()
    problems = reencoding_problems(Index.load(image_index_dir), own_corpus.image_root, clip)
    assert len(problems) == 1 and "train_6.png" in problems[0]


def test_a_self_hit_is_found_and_minus_one_is_not_one(index_of, random_unit) -> None:
    index = index_of(random_unit(4, 8, 0))
    assert self_hit_problems(index, np.array([[1, 2], [0, -1]]), ["sha-0", "sha-3"]) == []
    assert "sha-2" in self_hit_problems(index, np.array([[1, 2], [0, -1]]), ["sha-2", "sha-3"])[0]


@pytest.mark.parametrize(("recall", "holds"), [(0.95, True), (0.9, True), (0.89, False)])
def test_recall_below_the_bound_is_a_problem(recall: float, holds: bool, index_of, random_unit) -> None:
    index = index_of(random_unit(4, 8, 0))
    index.details["recall_at_10"] = recall
    assert (recall_problems(index, bound=0.9) == []) is holds
