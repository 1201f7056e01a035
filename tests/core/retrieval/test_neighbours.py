"""Neighbours of train rows: made once, of the indices that stand, never a row's own picture."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from r3pp_core.errors import R3Error
from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.retrieval.build import build_index
from r3pp_core.retrieval.config import NeighboursConfig
from r3pp_core.retrieval.neighbours import Neighbours, build_neighbours, self_neighbour_problems
from r3pp_core.retrieval.search import Index


@pytest.fixture
def indices(image_index_dir, text_index_dir, tmp_path):
    for kind, folder in (("image", image_index_dir), ("text", text_index_dir)):
        shutil.copytree(folder, tmp_path / "indices" / kind)
    return tmp_path / "indices"


def test_every_row_has_neighbours_and_never_its_own_picture(corpus, indices, minilm_dir):
    manifest = build_neighbours(corpus.jsonl, indices, minilm_dir)
    rows = list(read_jsonl(corpus.jsonl))
    assert manifest.counts["rows"] == len(rows)
    neighbours = Neighbours.load(indices)
    for kind in ("text", "image"):
        index = Index.load(indices / kind)
        for row in rows:
            found = neighbours.hits(kind, neighbours.find([row["id"]]), 3, None)
            assert found.mask.any()
            assert row["image_sha256"] not in {index.image_sha256s[entry] for entry in found.ids[found.mask]}
    assert self_neighbour_problems(corpus.jsonl, indices) == []


def test_they_are_made_once_with_the_same_bytes_and_again_when_an_index_changes(corpus, indices, minilm_dir):
    said: list[str] = []
    first = build_neighbours(corpus.jsonl, indices, minilm_dir)
    assert build_neighbours(corpus.jsonl, indices, minilm_dir, progress=said.append) == first
    assert "nothing to do" in said[-1]
    assert build_neighbours(corpus.jsonl, indices, minilm_dir, force=True) == first


def test_those_of_older_indices_do_not_count(corpus, own_corpus, indices, minilm_dir):
    build_neighbours(corpus.jsonl, indices, minilm_dir)
    rows = list(read_jsonl(own_corpus.jsonl))
    write_jsonl(own_corpus.jsonl, [{**row, "pseudo_text": "other words"} for row in rows])
    build_index("text", own_corpus.jsonl, own_corpus.image_root, indices, minilm_dir)
    assert Neighbours.load(indices) is None
    assert "no neighbours of the present indices" in self_neighbour_problems(corpus.jsonl, indices)[0]


def test_those_of_other_questions_do_not_count(own_corpus, tmp_path, minilm_dir, clip_dir):
    """The same pictures and texts make the same indices."""
    rows, indices = list(read_jsonl(own_corpus.jsonl)), tmp_path / "i"

    def build():
        for kind, encoder in (("text", minilm_dir), ("image", clip_dir)):
            build_index(kind, own_corpus.jsonl, own_corpus.image_root, indices, encoder)

    build()
    build_neighbours(own_corpus.jsonl, indices, minilm_dir)
    assert Neighbours.load(indices) is not None
    write_jsonl(own_corpus.jsonl, [{**row, "question": "Which one?"} for row in rows])
    with pytest.raises(R3Error, match="was made from corpus"):
        build_neighbours(own_corpus.jsonl, indices, minilm_dir)
    build()
    assert Neighbours.load(indices) is None
    build_neighbours(own_corpus.jsonl, indices, minilm_dir)
    assert Neighbours.load(indices) is not None


@pytest.mark.parametrize("kind", ["text", "image"])
def test_a_row_that_finds_its_own_picture_is_named(corpus, indices, minilm_dir, monkeypatch, kind):
    build_neighbours(corpus.jsonl, indices, minilm_dir)
    whole, row = Neighbours.load(indices), next(read_jsonl(corpus.jsonl))
    ids = {name: np.array(values) for name, values in whole.ids.items()}
    own = Index.load(indices / kind).image_sha256s.index(row["image_sha256"])
    ids[kind][whole.find([row["id"]]), 0] = own
    monkeypatch.setattr(Neighbours, "load", lambda _: replace(whole, ids=ids))
    (problem,) = self_neighbour_problems(corpus.jsonl, indices)
    assert problem.startswith(f"by {kind}: ")
    assert "own" in problem


def test_an_empty_table_has_no_neighbours_and_no_problem(tmp_path, minilm_dir, clip_dir):
    (tmp_path / "train.jsonl").touch()
    for kind, encoder in (("text", minilm_dir), ("image", clip_dir)):
        build_index(kind, tmp_path / "train.jsonl", tmp_path, tmp_path / "i", encoder)
    assert build_neighbours(tmp_path / "train.jsonl", tmp_path / "i", minilm_dir).counts["rows"] == 0
    neighbours = Neighbours.load(tmp_path / "i")
    assert neighbours.find(["chartqa/train/0"]) is None
    assert len(neighbours.find([])) == 0
    assert self_neighbour_problems(tmp_path / "train.jsonl", tmp_path / "i") == []


@pytest.mark.parametrize("fault", ["cut short", "swapped"])
def test_a_file_that_is_not_the_one_that_was_made_is_named(corpus, indices, minilm_dir, fault):
    build_neighbours(corpus.jsonl, indices, minilm_dir)
    path = indices / "neighbours" / "text_ids.npy"
    other = path.with_name("image_ids.npy").read_bytes()
    path.write_bytes(path.read_bytes()[:-8] if fault == "cut short" else other)
    with pytest.raises(R3Error, match=r"text_ids.npy"):
        Neighbours.load(indices)
    assert "text_ids.npy" in self_neighbour_problems(corpus.jsonl, indices)[0]


def test_rows_that_found_nothing_are_counted(corpus, indices, minilm_dir, monkeypatch):
    build_neighbours(corpus.jsonl, indices, minilm_dir)
    whole = Neighbours.load(indices)
    nothing = {**whole.ids, "image": np.full_like(whole.ids["image"], -1)}
    monkeypatch.setattr(Neighbours, "load", lambda _: replace(whole, ids=nothing))
    (problem,) = self_neighbour_problems(corpus.jsonl, indices)
    assert problem.startswith("by image: ")
    assert "found nothing among" in problem


def test_fewer_pictures_than_neighbours_leave_places_without_a_hit_and_without_weight(corpus, indices, minilm_dir):
    build_neighbours(corpus.jsonl, indices, minilm_dir, NeighboursConfig(k=50))
    neighbours = Neighbours.load(indices)
    found = neighbours.hits("image", np.array([0]), 50, None)
    assert found.mask.sum() == len(Index.load(indices / "image")) - 1
    assert found.weights[~found.mask].sum() == 0
    assert found.weights.sum() == pytest.approx(1)


def test_hits_below_the_least_score_are_dropped(corpus, indices, minilm_dir):
    build_neighbours(corpus.jsonl, indices, minilm_dir)
    found = Neighbours.load(indices).hits("text", np.array([0, 1]), 3, min_score=2.0)
    assert not found.mask.any()
    assert (found.ids == -1).all()


def test_two_rows_of_one_id_are_refused(own_corpus, indices, minilm_dir, clip_dir):
    rows = list(read_jsonl(own_corpus.jsonl))
    write_jsonl(own_corpus.jsonl, [*rows, rows[0]])
    for kind, encoder in (("text", minilm_dir), ("image", clip_dir)):
        build_index(kind, own_corpus.jsonl, own_corpus.image_root, indices, encoder)
    with pytest.raises(R3Error, match="two rows of one id"):
        build_neighbours(own_corpus.jsonl, indices, minilm_dir)
