"""What a sample says of its answer is what the model was shown."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from r3pp_core.evaluation.shards import sample
from r3pp_core.model.config import ARMS, PromptConfig, R3Config
from r3pp_core.model.evidence import RowEvidence, RowHits
from r3pp_core.model.preparation import PreparedRow
from r3pp_core.retrieval.metadata import IndexEntry

WORDS = "[1] evidence of text0\n[2] evidence of text1"
ROW = dict.fromkeys(("id", "dataset", "split", "image_path", "image_sha256", "question", "answers", "meta"))


def hits(kind, scores):
    """A hit for each of `scores` in places for three; the weights are 0.75, 0.25."""
    entries = [
        IndexEntry(f"{kind}{n}.png", f"sha of {kind}{n}", "chartqa", f"evidence of {kind}{n}")
        for n in range(len(scores))
    ]
    filled, mask = np.zeros(3, np.float32), np.arange(3) < len(scores)
    filled[mask] = scores
    return RowHits(np.arange(3), filled, np.array([0.75, 0.25, 0], np.float32), mask, np.zeros((3, 4)), entries)


def prepared(text_scores=(0.5, 0.25), pseudo_text="Sales\nof 2019  are 37"):
    damaged = SimpleNamespace(
        row=ROW, level=0.4, question="How mnay?", operators=[], pseudo_text=pseudo_text, c_vis=0.5, c_text=0.25
    )
    return PreparedRow(damaged, RowEvidence(hits("text", text_scores), hits("image", (0.5,)), np.zeros(4)))


def told(arm, row=None, confidence=None, **prompt):
    answer = SimpleNamespace(text="37", is_cut=True, gate=None, confidence=confidence)
    return sample(row or prepared(), arm, answer, R3Config(prompt=PromptConfig(**{"max_ocr_chars": 100, **prompt})))


@pytest.mark.parametrize("arm", ARMS)
def test_evidence_that_the_arm_takes_out_is_not_listed(arm):
    kinds = {hit["modality"] for hit in told(arm)["evidence"]}
    without = {"base", "base_ocr", "control", "r3-no_evidence"}
    taken_out = {"r3-no_text_evidence": "text", "r3-no_image_evidence": "image", "r3-no_visual_memory": "image"}.get(
        arm
    )
    expected = set() if arm in without else {"text", "image"} - {taken_out}
    assert kinds == expected


def test_a_hit_is_named_by_its_picture_with_score_and_weight():
    assert told("r3")["evidence"][1] == {
        "image_path": "text1.png",
        "image_sha256": "sha of text1",
        "score": 0.25,
        "weight": 0.25,
        "modality": "text",
    }


def test_the_damaged_text_is_told_as_the_prompt_holds_it():
    assert told("r3")["pseudo_text"] == told("base_ocr")["pseudo_text"] == "Sales | of 2019 are 37"
    assert told("r3", max_ocr_chars=7)["pseudo_text"] == "Sales |"
    assert told("base")["pseudo_text"] is None


def test_what_is_not_finite_is_null():
    line = told("r3", prepared((math.nan, 0.25)), confidence={"c_vis": math.inf, "c_text": 0.25})
    assert [hit["score"] for hit in line["evidence"]] == [None, 0.25, 0.5]
    assert line["confidence"] == {"c_vis": None, "c_text": 0.25}


def test_whether_evidence_was_given_as_words_is_told():
    assert told("r3")["words"] == WORDS
    assert told("r3", max_context_chars=9)["words"] == WORDS[:13]
    assert told("r3", replace(prepared(), has_words=False))["words"] is None
    assert told("r3", prepared(text_scores=()))["words"] is None, "nothing was found"
    assert told("r3-no_words")["words"] is told("base_ocr")["words"] is None


def test_whether_an_answer_came_to_its_end_is_told():
    assert told("r3")["is_cut"] is True
