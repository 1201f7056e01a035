"""Controls put other evidence in the place of what was retrieved, and nothing else changes."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from r3pp_core.evaluation.controls import EvidenceControls, says
from r3pp_core.jsonl import write_jsonl
from r3pp_core.model.evidence import Retriever, RowEvidence
from r3pp_core.model.preparation import PreparedRow
from r3pp_core.sample.backbones import build_small_clip

NUM_PICTURES = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Pictures that each say the price of one shop, two of them of shop 3; a retriever over them; their rows."""
    from r3pp_core.retrieval.build import build_index
    from r3pp_core.retrieval.minilm import copy_packaged_minilm

    root = tmp_path_factory.mktemp("controls")
    rows = []
    for number in range(NUM_PICTURES):
        path = root / "images" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (64, 48), (20 * number, 90, 200)).save(path)
        shop = 3 if number == 9 else number
        rows.append(
            {
                "id": f"chartqa/train/{number}",
                "dataset": "chartqa",
                "image_path": path.name,
                "image_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "question": f"What is the price in shop {shop}?",
                "answers": [str(1000 + 37 * shop)],
                "pseudo_text": f"Price in shop {shop} is {1000 + 37 * shop}, seen {number} times",
            }
        )
    write_jsonl(root / "train.jsonl", rows)
    copy_packaged_minilm(root / "minilm")
    build_small_clip(root / "clip")
    for kind, encoder in (("text", "minilm"), ("image", "clip")):
        build_index(kind, root / "train.jsonl", root / "images", root / "indices", root / encoder)
    return Retriever.load(root / "indices", root / "minilm", root / "clip", k=3), root / "images", rows


@pytest.fixture
def prepared(world):
    """The rows of pictures 0 to 5 with what was retrieved for them."""
    retriever, images, rows = world
    asked = rows[:6]
    found = retriever.look_up(
        [row["question"] for row in asked],
        [Image.open(images / row["image_path"]) for row in asked],
        [row["image_sha256"] for row in asked],
    )
    return [PreparedRow(SimpleNamespace(row=row), evidence) for row, evidence in zip(asked, found, strict=True)]


def shas(hits):
    return [entry.image_sha256 for entry in hits.entries]


def test_shuffled_evidence_has_the_same_scores_and_none_of_the_pictures(world, prepared):
    for before, after in zip(prepared, EvidenceControls(world[0]).apply("shuffled", prepared), strict=True):
        for kind in ("text", "image"):
            old, new = getattr(before.evidence, kind), getattr(after.evidence, kind)
            assert np.array_equal(old.scores, new.scores)
            assert np.allclose(old.weights, new.weights)
            assert not set(shas(new)) & {*shas(before.evidence.text), *shas(before.evidence.image)}
            assert before.damaged.row["image_sha256"] not in shas(new)
            assert len(new.entries) == 3
        assert shas(after.evidence.text) == shas(after.evidence.image), "words and vectors are of one picture"
        assert np.array_equal(after.evidence.image_query, before.evidence.image_query)


def test_what_is_drawn_depends_on_the_row_alone(world, prepared):
    together = EvidenceControls(world[0]).apply("shuffled", prepared)
    (alone,) = EvidenceControls(world[0]).apply("shuffled", prepared[3:4])
    assert shas(alone.evidence.text) == shas(together[3].evidence.text)
    assert len({tuple(shas(row.evidence.text)) for row in together}) > 1


def test_the_oracle_is_another_picture_that_says_the_answer(world, prepared):
    retriever, _, rows = world
    after = EvidenceControls(retriever).apply("oracle", prepared)
    evidence = after[3].evidence
    assert shas(evidence.text) == shas(evidence.image) == [rows[9]["image_sha256"]]
    assert evidence.text.mask.tolist() == [True, False, False]
    assert evidence.text.weights.tolist() == [1, 0, 0]
    expected = retriever.text_index.vectors(np.array([9])) @ retriever.text_encoder.encode([rows[3]["question"]])[0]
    assert evidence.text.scores[0] == pytest.approx(float(expected[0]), abs=1e-5)


def test_where_nobody_says_the_answer_the_oracle_leaves_what_was_retrieved(world, prepared):
    after = EvidenceControls(world[0]).apply("oracle", prepared)
    assert [row.evidence is old.evidence for row, old in zip(after, prepared, strict=True)] == [True] * 3 + [
        False,
        True,
        True,
    ]


def test_a_row_without_hits_stays_without_shuffled_ones(world, prepared):
    nothing = PreparedRow(prepared[0].damaged, RowEvidence.none(3, 384, 64))
    (after,) = EvidenceControls(world[0]).apply("shuffled", [nothing])
    assert not after.evidence.text.mask.any()
    assert after.evidence.text.entries == []


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("price 12 euro", "12", True),
        ("price 123 euro", "12", False),
        ("price 12%", "12%", True),
        ("a (b) c", "(b)", True),
        ("", "12", False),
    ],
)
def test_words_are_said_whole(text, answer, expected):
    assert says(text, answer) is expected
