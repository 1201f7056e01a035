"""Retrieval quality: ranks of the first picture that states the fact, against chance, over damage."""

import shutil
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.retrieval.quality import (
    Found,
    QualityConfig,
    Query,
    chance,
    chosen_rows,
    fused,
    known_facts,
    measure_quality,
    quality,
    quality_problems,
    read_quality,
)

CONFIG = QualityConfig(levels=[0.0, 0.5])


class StandIn:
    """As much of an index as scoring asks of it: entries by number, named by their picture's hash."""

    def __init__(self, sha256s):
        self.image_sha256s = sha256s

    def __len__(self):
        return len(self.image_sha256s)

    def entry(self, number):
        return type("Entry", (), {"image_sha256": self.image_sha256s[number]})()


INDICES = {"text": StandIn(list("abcdef")), "image": StandIn(list("fedcba"))}
PLACES = {sha256: place for place, sha256 in enumerate("abcdef")}


def query(relevant, level=0.0):
    return Query({"id": "x"}, level, Image.new("RGB", (1, 1)), "?", relevant)


def ids(*rows):
    return np.array([[*row, *[-1] * (10 - len(row))] for row in rows], np.int64)


def scored(text, image, *relevant):
    """Two questions at two levels; the fused ids are those of the text index."""
    queries = [query(one, level) for level in CONFIG.levels for one in relevant]
    both = ids(*[fused(np.array(t), np.array(i), INDICES, PLACES) for t, i in zip(text, image, strict=True)])
    found = Found({"text": ids(*text), "image": ids(*image), "fused": both[:, :10]}, {})
    return quality(queries, found, INDICES, CONFIG)


def test_hits_and_reciprocal_ranks_count_the_first_picture_with_the_fact():
    first, second = frozenset("c"), frozenset("f")
    results = scored([[2, 0, 1], [0, 1, 5], [0, 2], [1]], [[0], [0], [1], [2]], first, second)
    clean, damaged = results["levels"]["0.0"]["text"], results["levels"]["0.5"]["text"]
    assert (clean["hit@1"], clean["hit@3"]) == (0.5, 1.0)
    assert clean["mrr@10"] == pytest.approx((1 + 1 / 3) / 2)
    assert (damaged["hit@1"], damaged["hit@3"], damaged["mrr@10"]) == (0.0, 0.5, 0.25)
    assert results["levels"]["0.0"]["image"]["hit@1"] == 0.5, "entry 0 of the image index is picture f"


def test_questions_without_known_facts_count_in_agreement_only():
    results = scored([[0, 1, 2], [3, 4, 5], [0, 1, 3], [3, 4, 5]], [[0]] * 4, None, None)
    assert results["num_with_facts"] == 0
    assert set(results["levels"]["0.5"]["text"]) == {"agreement@3"}
    assert results["levels"]["0.5"]["text"]["agreement@3"] == pytest.approx((2 / 3 + 1) / 2)
    assert quality_problems(results) == []


def test_fusion_puts_first_what_both_lists_name():
    # picture c is second in both; a and f lead one list each
    assert fused(np.array([0, 2]), np.array([0, 3]), INDICES, PLACES)[:3].tolist() == [2, 0, 5]
    assert fused(np.array([-1, -1]), np.array([-1, -1]), INDICES, PLACES).tolist() == [-1] * 10


@pytest.mark.parametrize(("relevant", "entries", "k"), [(1, 6, 1), (2, 6, 3), (6, 6, 2), (0, 6, 3), (2, 2, 10)])
def test_chance_is_the_share_of_all_draws_that_hold_a_relevant_entry(relevant, entries, k):
    draws = list(combinations(range(entries), min(k, entries)))
    assert chance(relevant, entries, k) == pytest.approx(sum(min(draw) < relevant for draw in draws) / len(draws))


def test_queries_that_find_no_more_than_chance_are_a_problem():
    good = scored([[2], [5], [2], [5]], [[3], [0]] * 2, frozenset("c"), frozenset("f"))
    poor = scored([[0], [0], [0], [0]], [[5], [5]] * 2, frozenset("c"), frozenset("f"))
    assert quality_problems(good) == []
    assert any(problem.startswith("text queries hit at 3: 0.0%") for problem in quality_problems(poor))


def test_facts_name_train_pictures_only_and_questions_of_every_split(tmp_path):
    line = {"dataset": "chartqa", "image_sha256": "t", "fact_ids": ["p:1", "p:2"], "questions": []}
    asked = {"question": "How much?", "fact_ids": ["p:2", "p:3"], "looks": False}
    looks = {"question": "Which color?", "fact_ids": [], "looks": True}
    write_jsonl(
        tmp_path / "facts.jsonl",
        [
            {**line, "split": "train"},
            {**line, "split": "val", "image_sha256": "v", "fact_ids": ["p:3"], "questions": [asked, looks]},
        ],
    )
    facts = known_facts(tmp_path / "facts.jsonl")
    assert facts.relevant({"image_sha256": "v", "question": "How much?"}) == {"t"}
    assert facts.relevant({"image_sha256": "v", "question": "Which color?"}) is None
    assert facts.relevant({"image_sha256": "v", "question": "Never asked"}) is None


def test_rows_are_spread_over_each_data_set(tmp_path):
    rows = [{"id": f"{name}/{number}", "dataset": name} for name in ("a", "b") for number in range(10)]
    write_jsonl(tmp_path / "val.jsonl", rows)
    chosen = [row["id"] for row in chosen_rows(tmp_path / "val.jsonl", QualityConfig(rows_per_dataset=3))]
    assert chosen == ["a/0", "a/4", "a/9", "b/0", "b/4", "b/9"]


def test_the_curve_has_every_level_and_the_grid_eight_queries_clean_and_damaged_with_three_hits(
    corpus, image_index_dir, text_index_dir, minilm_dir, clip_dir, tmp_path, monkeypatch
):
    from matplotlib.axes import Axes

    from r3pp_core.retrieval import quality_pictures

    for folder in (image_index_dir, text_index_dir):
        shutil.copytree(folder, tmp_path / "indices" / folder.name)
    table = tmp_path / "val.jsonl"
    asked = [{**row, "id": row["id"].replace("train", "val"), "ocr_conf": 0.9} for row in read_jsonl(corpus.jsonl)]
    write_jsonl(table, asked)
    drawn, tiles = [], []
    plot, tile = Axes.plot, quality_pictures._tile
    monkeypatch.setattr(Axes, "plot", lambda axes, x, y, **style: (drawn.append((x, y)), plot(axes, x, y, **style))[1])
    monkeypatch.setattr(quality_pictures, "_tile", lambda *args: (tiles.append(args[4]), tile(*args)))
    levels = [0.0, 0.4, 0.8]
    folders = (tmp_path / "indices", minilm_dir, clip_dir, table, corpus.image_root, tmp_path / "quality")
    measure_quality(*folders, config=QualityConfig(levels=levels))
    results = read_quality(tmp_path / "quality")
    assert [x for x, _ in drawn] == [levels] * 3
    for kind, (_, y) in zip(("text", "image", "fused"), drawn, strict=True):
        assert y == [100 * results["levels"][str(level)][kind]["agreement@3"] for level in levels]
    # Of each index eight pairs: the query, then what it found, by score or "no hit".
    assert len(tiles) == 2 * 8 * 2 * (1 + 3)
    assert [label for label in tiles if label.startswith("level")] == ["level 0.0", "level 0.8"] * 16
    scores = [label for label in tiles if not label.startswith("level") and label != "no hit"]
    assert scores
    assert all(-1 <= float(score) <= 1 for score in scores)
    for name in ("quality.png", "grid_text.png", "grid_image.png"):
        assert Image.open(tmp_path / "quality" / name).width > 300
