"""Models whose score is known beforehand, on every val question of the embedded sample, through the whole scoring."""

import pytest

from r3pp_core.evaluation.scoring import score_samples
from r3pp_core.evaluation.sweep import PRIMARY
from r3pp_core.sample.config import SampleConfig
from r3pp_core.sample.plan import build_plan
from r3pp_core.sample.questions import ask_about

DATASETS = {"screen": "screenqa", "chart": "chartqa", "infographic": "infovqa"}


@pytest.fixture(scope="module")
def asked():
    """(data set, picture, question) of each val question."""
    return [
        (DATASETS[picture.kind], f"{picture.kind}{picture.number}", question)
        for picture, questions in ask_about(build_plan(SampleConfig()))
        if picture.split == "val"
        for question in questions
    ]


def scores(asked, answer):
    """The leading score of each data set for a model that answers `answer(picture, question)`."""
    samples = [
        {
            "id": str(number),
            "dataset": dataset,
            "arm": "r3",
            "level": 0.0,
            "image_sha256": picture,
            "answers": list(question.answers),
            "prediction": answer(picture, question),
        }
        for number, (dataset, picture, question) in enumerate(asked)
    ]
    results = score_samples(samples, PRIMARY)
    return {
        dataset: arms["r3"]["0"]["metrics"][PRIMARY[dataset]]["mean"] for dataset, arms in results["results"].items()
    }


def test_one_that_always_says_the_reference_scores_1_in_every_data_set(asked):
    assert scores(asked, lambda picture, question: question.answers[-1]) == dict.fromkeys(
        ("chartqa", "infovqa", "screenqa"), 1
    )


def test_one_that_repeats_the_question_scores_about_0(asked):
    said = scores(asked, lambda picture, question: question.text)
    assert all(score < 0.1 for score in said.values()), said


def test_one_that_lists_all_that_may_be_the_answer_earns_little(asked):
    """Every answer to any question about the picture, the right one among them."""
    candidates: dict[str, set[str]] = {}
    for _, picture, question in asked:
        candidates.setdefault(picture, set()).update(question.answers)
    said = scores(asked, lambda picture, question: ", ".join(sorted(candidates[picture])))
    assert min(len(known) for known in candidates.values()) > 3
    assert all(score < 0.3 for score in said.values()), said
