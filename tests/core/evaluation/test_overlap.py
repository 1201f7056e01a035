"""BLEU and ROUGE-L: there on request only, as their libraries compute them, and of finished samples."""

import sys

import pytest

from r3pp_core.errors import R3Error
from r3pp_core.evaluation.metric_set import ALWAYS, chosen_metrics
from r3pp_core.evaluation.metrics import METRICS
from r3pp_core.evaluation.overlap import overlap_metrics, overlap_versions
from r3pp_core.evaluation.scoring import score_samples

PRIMARY = {"chartqa": "relaxed_accuracy"}
BY_HAND = [
    # Precisions 2/3, 1/2 and, smoothed, 1/2 of the three orders that three words have.
    ("bleu", "the cat sat", ["the cat ran"], (2 / 3 * 1 / 2 * 1 / 2) ** (1 / 3)),
    ("bleu", "dark blue sky over here", ["dark blue sky over here"], 1),
    ("bleu", "42", ["42"], 1),  # the orders that one word has
    ("bleu", "Blue", ["blue"], 0),  # case counts
    ("bleu", "", [""], 0),
    ("rouge_l", "the cat sat", ["the cat ran"], 2 / 3),
    ("rouge_l", "cat the sat", ["the cat ran"], 1 / 3),  # a subsequence keeps its order
    ("rouge_l", "the cat", ["the cat sat on"], 2 / 3),  # precision 1, recall 1/2
    ("rouge_l", "Blue!", ["blue"], 1),
    ("rouge_l", "東京", ["東京"], 0),  # only ASCII letters and digits are tokens
    ("rouge_l", "", [""], 0),
]


@pytest.mark.parametrize(("metric", "prediction", "references", "expected"), BY_HAND)
def test_each_edge_has_the_value_computed_by_hand(metric, prediction, references, expected):
    assert overlap_metrics()[metric](prediction, references) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", ["bleu", "rouge_l"])
def test_the_best_of_several_references_counts_and_none_is_above_one(metric):
    score = overlap_metrics()[metric]
    one_by_one = [score("a dark blue sky", [text]) for text in ("a sky", "a dark sky", "a dark blue sky")]
    assert one_by_one == sorted(one_by_one)
    assert score("a dark blue sky", ["a sky", "a dark blue sky", "a dark sky"]) == one_by_one[-1] == 1.0


@pytest.mark.parametrize("metric", ["bleu", "rouge_l"])
def test_a_row_without_references_is_refused(metric):
    with pytest.raises(R3Error, match="without a reference"):
        overlap_metrics()[metric]("42", [])


def sample(index, prediction):
    return {
        "id": f"chartqa/val/{index}",
        "dataset": "chartqa",
        "image_sha256": str(index),
        "answers": ["the cat ran", "a dog"],
        "prediction": prediction,
        "arm": "r3",
        "level": 0.0,
    }


def test_on_request_each_score_stands_beside_the_others_with_its_librarys_version():
    samples = [sample(0, "the cat sat"), sample(1, "a dog")]
    usual = score_samples(samples, PRIMARY)
    results = score_samples(samples, PRIMARY, metrics=chosen_metrics(True))
    cell, plain = (r["results"]["chartqa"]["r3"]["0"]["metrics"] for r in (results, usual))
    assert list(cell) == [*METRICS, "bleu", "rouge_l"]
    assert {name: cell[name] for name in METRICS} == plain
    assert cell["rouge_l"]["mean"] == pytest.approx((2 / 3 + 1) / 2)
    versions = overlap_versions()
    assert cell["bleu"]["signature"].startswith(f"bleu|v:{versions['bleu']}|norm:tok:13a+case:mixed+")
    assert cell["rouge_l"]["signature"].startswith(f"rouge_l|v:{versions['rouge_l']}|norm:lower+ascii")
    assert results["signature"]["libraries"] == versions == {n: results["versions"][n] for n in versions}
    assert versions["bleu"].startswith("sacrebleu-")


def test_results_scored_again_under_their_own_signature_say_the_same():
    first = score_samples([sample(0, "a cat")], PRIMARY, metrics=chosen_metrics(True))
    again = score_samples([sample(0, "a cat")], PRIMARY, signature=first["signature"], metrics=chosen_metrics(True))
    assert again == first


@pytest.mark.parametrize("module", ["sacrebleu", "rouge_score"])
def test_without_its_extra_the_request_ends_in_the_command_that_installs_it(module, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(R3Error, match=rf"text_overlap needs the package of {module}.*pip install 'r3pp\[overlap\]'"):
        chosen_metrics(True)
    assert chosen_metrics(False) is ALWAYS
