"""What is lost without evidence and won back by R3, against a slow second calculation."""

import random

import numpy as np
import pytest

from r3pp_core.evaluation.recovery import MEAN, recovery_text
from r3pp_core.evaluation.scoring import score_samples

PRIMARY = {"chartqa": "relaxed_accuracy", "infovqa": "anls", "screenqa": "squad_f1"}
LEVELS = (0, 0.4, 0.8)
# How many of 40 rows are right, by arm and level; infovqa loses half as much.
RIGHT = {"control": {0: 40, 0.4: 30, 0.8: 20}, "r3": {0: 40, 0.4: 34, 0.8: 32}, "base_ocr": {0: 20, 0.4: 12, 0.8: 4}}


def made(arms=("control", "r3"), datasets=("chartqa", "infovqa"), levels=LEVELS, right=RIGHT):
    """Rows that are right are spread over the pictures, four questions each."""
    order = list(range(40))
    random.Random(0).shuffle(order)
    return [
        {
            "id": f"{dataset}/val/{i:02}",
            "dataset": dataset,
            "arm": arm,
            "level": level,
            "image_sha256": f"{dataset} {i // 4}",
            "answers": ["word"],
            "prediction": "word" if order[i] < right[arm][level] else "nothing of it",
        }
        for dataset in datasets
        for arm in arms
        for level in levels
        for i in range(40)
    ]


def test_the_numbers_are_those_of_their_definitions():
    found = score_samples(made(), PRIMARY)["recovery"]
    assert (found["against"], found["level"]) == ("control", "0.8")
    entry = found["datasets"]["chartqa"]
    assert entry["clean"]["mean"] == 1
    assert entry["lost"]["mean"] == entry["lost_share"]["mean"] == 0.5
    assert entry["won_back"]["mean"] == pytest.approx(0.3)
    assert entry["recovered"]["mean"] == pytest.approx(0.6)
    assert entry["clean_difference"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert 0.1 < entry["won_back"]["low"] < 0.3 < entry["won_back"]["high"] < 0.5
    assert (entry["n"], entry["num_pictures"]) == (40, 10)
    assert found[MEAN]["recovered"]["mean"] == pytest.approx(0.6)
    assert (found[MEAN]["n"], found[MEAN]["num_pictures"]) == (80, 20)


def test_the_intervals_are_those_of_drawing_pictures_again_and_again():
    samples = made(datasets=("chartqa",))
    entry = score_samples(samples, PRIMARY)["recovery"]["datasets"]["chartqa"]
    rows = {(s["arm"], s["level"], s["id"]): float(s["prediction"] == "word") for s in samples}
    pictures = {s["image_sha256"]: [] for s in samples}
    for sample in samples:
        if sample["id"] not in pictures[sample["image_sha256"]]:
            pictures[sample["image_sha256"]].append(sample["id"])
    rng, shares = random.Random(1), []
    for _ in range(4000):
        ids = [row for picture in rng.choices(list(pictures), k=len(pictures)) for row in pictures[picture]]
        lost = sum(rows["control", 0, i] - rows["control", 0.8, i] for i in ids)
        won = sum(rows["r3", 0.8, i] - rows["control", 0.8, i] for i in ids)
        shares.append(won / lost)
    low, high = np.quantile(shares, [0.025, 0.975])
    assert entry["recovered"]["low"] == pytest.approx(low, abs=0.05)
    assert entry["recovered"]["high"] == pytest.approx(high, abs=0.05)


def test_the_control_leads_then_the_base_with_text_then_the_base():
    def against(*arms):
        found = score_samples(made((*arms, "r3")), PRIMARY)["recovery"]
        return found and found["against"]

    assert against("base_ocr", "control") == "control"
    assert against("base_ocr") == "base_ocr"
    assert against() is None


def test_where_nothing_is_lost_nothing_can_be_won_back():
    same = {arm: dict.fromkeys(LEVELS, 20) for arm in RIGHT}
    found = score_samples(made(right=same), PRIMARY)["recovery"]
    assert found[MEAN]["recovered"] is None
    assert found[MEAN]["lost_share"]["mean"] == 0
    nothing = {arm: dict.fromkeys(LEVELS, 0) for arm in RIGHT}
    assert score_samples(made(right=nothing), PRIMARY)["recovery"][MEAN]["lost_share"] is None


def test_of_one_picture_no_share_is_told_and_every_bound_is_all_that_is_possible():
    samples = made()
    for sample in samples:
        if sample["dataset"] == "chartqa":
            sample["image_sha256"] = "the only one"
    found = score_samples(samples, PRIMARY)["recovery"]
    for entry in (found["datasets"]["chartqa"], found[MEAN]):
        assert entry["won_back"] == {"mean": pytest.approx(0.3), "low": -1, "high": 1}
        assert (entry["clean"]["low"], entry["clean"]["high"]) == (0, 1)
        assert (entry["lost_share"], entry["recovered"]) == (None, None)
    assert found["datasets"]["infovqa"]["recovered"]["low"] > 0


@pytest.mark.parametrize("levels", [(0,), (0.4, 0.8)])
def test_without_a_clean_and_a_damaged_level_there_is_no_loss_to_speak_of(levels):
    assert score_samples(made(levels=levels), PRIMARY)["recovery"] is None


def test_a_terminal_is_told_a_line_a_data_set_and_their_mean():
    text = recovery_text(score_samples(made(), PRIMARY))
    assert "control at level 0.8, and what r3 wins back:" in text
    assert "60 [" in text
    assert text.count("+30.0 [") == 3
    assert recovery_text(score_samples(made(arms=("r3",)), PRIMARY)) == ""
