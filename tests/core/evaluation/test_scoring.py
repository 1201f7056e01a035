"""From samples to results: what is compared, what is refused, and models whose scores are known beforehand."""

import json
import random

import pytest

from r3pp_core.errors import R3Error
from r3pp_core.evaluation.metric_set import ALWAYS, MetricSet
from r3pp_core.evaluation.metrics import METRICS, METRICS_VERSION
from r3pp_core.evaluation.scoring import score_samples, score_table

PRIMARY = {"chartqa": "relaxed_accuracy", "infovqa": "anls", "screenqa": "squad_f1"}
LEVELS = (0, 0.4, 0.8)
ANSWERS = ("blue", "42", "Settings", "north wind", "<no answer>")


def sample(index, arm="r3", level=0, *, right=True, dataset="chartqa", **changes):
    """One row; four questions share a picture, and each row was damaged by one of two operators."""
    answer = ANSWERS[index % len(ANSWERS)]
    return {
        "id": f"{dataset}/val/{index}",
        "dataset": dataset,
        "split": "val",
        "image_path": f"{dataset}/images/validation_{index // 4}.png",
        "image_sha256": f"{dataset} {index // 4}",
        "question": f"What stands at place {index}?",
        "answers": [answer, f"the {answer}"] if answer[0] != "<" else [answer],
        "prediction": answer if right else "something else entirely",
        "arm": arm,
        "level": level,
        "meta": {"human_or_machine": index % 2} if dataset == "chartqa" else {},
        "operators": [{"name": ("crop", "jpeg")[index % 2], "strength": level}],
        "evidence": [],
        "gate": None,
        "confidence": None,
    } | changes


def run(num_rows=40, base_keeps=0.25, r3_keeps=0.75, datasets=("chartqa",)):
    """Clean, both arms are right on every row; damaged, the first `keeps` share of rows stays right."""
    keeps = {"base": base_keeps, "r3": r3_keeps}
    return [
        sample(i, arm, level, right=level == 0 or i < keeps[arm] * num_rows, dataset=dataset)
        for dataset in datasets
        for arm in keeps
        for level in LEVELS
        for i in range(num_rows)
    ]


def test_a_model_that_answers_the_reference_scores_one_everywhere():
    samples = run(base_keeps=1, r3_keeps=1, datasets=PRIMARY)
    results = score_samples(samples, PRIMARY)
    for arms in results["results"].values():
        for by_level in arms.values():
            for cell in by_level.values():
                assert {entry["mean"] for entry in cell["metrics"].values()} == {1.0}


def test_a_model_that_lists_all_candidates_is_not_rewarded():
    listing = ", ".join(ANSWERS)
    samples = [sample(i, dataset=d, prediction=listing) for d in PRIMARY for i in range(40)]
    results = score_samples(samples, PRIMARY)
    for dataset, metric in PRIMARY.items():
        assert results["results"][dataset]["r3"]["0"]["metrics"][metric]["mean"] < 0.5


def test_a_model_that_repeats_the_question_scores_about_zero():
    samples = [sample(i, dataset=d) for d in PRIMARY for i in range(40)]
    results = score_samples([s | {"prediction": s["question"]} for s in samples], PRIMARY)
    for dataset, metric in PRIMARY.items():
        assert results["results"][dataset]["r3"]["0"]["metrics"][metric]["mean"] < 0.05


def test_scores_come_with_their_rows_pictures_and_seed():
    cell = score_samples(run(), PRIMARY, seed=3)["results"]["chartqa"]["r3"]["0.8"]
    entry = cell["metrics"]["relaxed_accuracy"]
    assert (cell["n"], cell["num_pictures"]) == (40, 10)
    assert (entry["n"], entry["num_clusters"], entry["seed"]) == (40, 10, 3)
    assert entry["mean"] == 0.75
    assert entry["low"] < 0.75 < entry["high"]
    assert set(cell["metrics"]) == set(METRICS)


def test_chartqa_is_scored_apart_for_human_and_augmented_questions():
    samples = [sample(i, right=i % 2 == 0) for i in range(40)]  # human questions have the even numbers here
    subsets = score_samples(samples, PRIMARY)["results"]["chartqa"]["r3"]["0"]["subsets"]
    assert {name: cell["metrics"]["relaxed_accuracy"]["mean"] for name, cell in subsets.items()} == {
        "human": 1.0,
        "augmented": 0.0,
    }
    assert subsets["human"]["n"] == 20


def test_rows_without_answers_are_counted_and_never_scored():
    samples = [
        *run(),
        *(sample(i, arm, level, answers=[]) for i in (90, 91) for arm in ("base", "r3") for level in LEVELS),
    ]
    results = score_samples(samples, PRIMARY)
    assert results["n-samples"]["chartqa"] == {"original": 42, "effective": 40, "answerless": 2, "non_finite": 0}
    assert results["results"]["chartqa"]["r3"]["0"]["n"] == 40
    assert results["results"] == score_samples(run(), PRIMARY)["results"]


def test_rows_with_a_number_that_was_not_finite_are_counted_and_scored_all_the_same():
    unwritten = [
        {"confidence": {"c_vis": None, "c_text": 0.5}},
        {"gate": {"text": None, "image": 0.5, "vision": 0.5}},
        {"evidence": [{"image_path": "a.png", "score": 0.5, "weight": None, "modality": "text"}]},
        {"evidence": [{"image_path": "a.png", "score": 0.5, "modality": "text"}]},  # as samples were once
    ]
    samples = [sample(i, level=level, **(unwritten[i] if i < 4 else {})) for level in LEVELS for i in range(8)]
    results = score_samples(samples, PRIMARY)
    assert results["n-samples"]["chartqa"] == {"original": 8, "effective": 8, "answerless": 0, "non_finite": 3}


def test_a_metric_that_is_not_finite_is_named_with_row_and_data_set():
    broken = MetricSet(
        {**METRICS, "bleu": lambda prediction, answers: float("nan")},
        {**ALWAYS.versions, "bleu": "1"},
        {**ALWAYS.normalisation, "bleu": ""},
    )
    with pytest.raises(R3Error, match=r"row chartqa/val/1 of chartqa scores nan in bleu"):
        score_samples([sample(1)], PRIMARY, metrics=broken)


def test_what_became_of_the_rows_of_the_table_joins_the_counts_and_a_data_set_without_a_row_is_among_them():
    counts = {"in_table": 7, "without_answer": 2, "asked": 5, "left_out": {"picture_missing": 1}}
    none_left = {"in_table": 3, "without_answer": 3, "asked": 0, "left_out": {}}
    told = {"chartqa": counts, "infovqa": none_left}
    results = score_samples([sample(i) for i in range(4)], PRIMARY, row_counts=told)
    no_samples = {"original": 0, "effective": 0, "answerless": 0, "non_finite": 0}
    assert results["n-samples"] == {
        "chartqa": {**no_samples, "original": 4, "effective": 4, **counts},
        "infovqa": {**no_samples, **none_left},
    }
    assert list(results["results"]) == ["chartqa"]
    assert score_table(results).splitlines()[-1].split()[-1] == "0"


def test_a_data_set_whose_answers_are_hidden_has_counts_and_no_scores():
    results = score_samples([sample(i, dataset="infovqa", answers=[]) for i in range(3)], PRIMARY)
    assert results["results"] == {}
    assert results["n-samples"]["infovqa"]["answerless"] == 3
    assert "infovqa" in score_table(results)


def test_the_difference_is_paired_and_r3_minus_base():
    compared = score_samples(run(), PRIMARY)["differences"]["chartqa"]["r3 - base"]
    assert (compared["0"]["mean"], compared["0"]["p"]) == (0, 1)
    assert compared["0.8"]["mean"] == 0.5
    assert compared["0.8"]["low"] > 0
    assert compared["0.8"]["p"] < 0.05


@pytest.mark.parametrize("arm", ["base", "r3"])
def test_a_row_that_one_arm_lacks_is_an_error_that_names_it(arm):
    samples = [s for s in run() if (s["id"], s["arm"], s["level"]) != ("chartqa/val/17", arm, 0.4)]
    with pytest.raises(R3Error, match=rf"chartqa/val/17 .* arm {arm} of chartqa at level 0\.4"):
        score_samples(samples, PRIMARY)


def test_a_row_that_one_level_lacks_is_an_error_that_names_it():
    samples = [s for s in run() if s["arm"] == "r3" and (s["id"], s["level"]) != ("chartqa/val/17", 0.8)]
    with pytest.raises(R3Error, match=r"chartqa/val/17 .* level 0\.8"):
        score_samples(samples, PRIMARY)


def test_robustness_holds_retention_and_area_by_hand():
    robust = score_samples(run(), PRIMARY)["robustness"]["chartqa"]
    assert robust["base"]["retention"] == {"0": 1.0, "0.4": 0.25, "0.8": 0.25}
    assert robust["base"]["area"]["mean"] == pytest.approx((1 / 2 + 0.25 + 0.25 / 2) / 2)
    assert robust["r3"]["area"]["mean"] == pytest.approx((1 / 2 + 0.75 + 0.75 / 2) / 2)
    difference = robust["r3"]["area_differences"]["r3 - base"]
    assert difference["mean"] == pytest.approx(0.375)
    assert difference["low"] > 0


def test_retention_is_none_where_the_clean_score_is_zero():
    samples = [sample(i, level=level, right=level > 0) for level in LEVELS for i in range(8)]
    robust = score_samples(samples, PRIMARY)["robustness"]["chartqa"]["r3"]
    assert set(robust["retention"].values()) == {None}


def test_one_level_alone_has_no_area_and_without_level_zero_there_is_no_retention():
    robust = score_samples([sample(i, level=0.4) for i in range(8)], PRIMARY)["robustness"]["chartqa"]["r3"]
    assert robust["area"] is None
    assert robust["retention"] == {"0.4": None}


def test_operators_are_scored_on_the_damaged_rows_they_touched():
    samples = [sample(i, level=level, right=level == 0 or i % 2 == 0) for level in LEVELS for i in range(40)]
    for one in samples:  # it follows from the others, and is none itself
        one["operators"].append({"name": "coupling", "kind": "coupling", "strength": 1.0})
    by_operator = score_samples(samples, PRIMARY)["operators"]["chartqa"]["r3"]
    assert {name: (entry["mean"], entry["n"]) for name, entry in by_operator.items()} == {
        "crop": (1.0, 40),
        "jpeg": (0.0, 40),
    }


def test_ablations_are_compared_at_the_levels_they_have():
    ablation = [sample(i, "r3-no_gate", level, right=i < 20) for level in (0, 0.8) for i in range(40)]
    results = score_samples([*run(), *ablation], PRIMARY)
    compared = results["differences"]["chartqa"]["r3 - r3-no_gate"]
    assert {level: entry["mean"] for level, entry in compared.items()} == {"0": 0.5, "0.8": 0.25}
    assert "r3 - r3-no_gate" not in results["robustness"]["chartqa"]["r3"]["area_differences"]


def test_every_score_carries_a_signature_with_the_values_of_its_data_set_and_arm():
    signature = {
        "data_hash": {"chartqa": "d1", "infovqa": "d2"},
        "model_hash": {"base": "m1", "r3": "m2"},
        "prompt": "Answer with one word, please, and nothing more than that one word.",
        "max_pixels": 65536,
        "decoding": {"do_sample": False},
    }
    samples = [sample(i, arm) for arm in ("base", "r3", "r3-no_gate") for i in range(4)]
    results = score_samples(samples, PRIMARY, signature=signature)
    texts = {
        arm: by_level["0"]["metrics"]["anls"]["signature"] for arm, by_level in results["results"]["chartqa"].items()
    }
    assert texts["base"].startswith(f"anls|v:{METRICS_VERSION}|norm:lower+strip+spaces|arm:base|level:0|data_hash:d1|")
    assert '|decoding:{"do_sample":false}|max_pixels:65536|model_hash:m1|prompt:' in texts["base"]
    assert texts["r3"] == texts["base"].replace("m1", "m2").replace("arm:base", "arm:r3")
    assert texts["r3-no_gate"] == texts["r3"].replace("arm:r3", "arm:r3-no_gate")
    assert results["signature"]["prompt"] == signature["prompt"]
    for arms in results["results"].values():
        for by_level in arms.values():
            for cell in [*by_level.values(), *by_level["0"]["subsets"].values()]:
                assert all(entry["signature"] for entry in cell["metrics"].values())


def test_results_scored_again_under_their_own_signature_say_the_same():
    stale = {"data_hash": "d1", "metrics_version": "0.1"}
    first = score_samples([sample(0)], PRIMARY, signature=stale)
    again = score_samples([sample(0)], PRIMARY, signature=first["signature"])
    assert first["signature"]["metrics_version"] == METRICS_VERSION
    assert again == first


def test_the_order_of_the_samples_changes_nothing():
    samples = run()
    expected = json.dumps(score_samples(samples, PRIMARY))
    random.Random(2).shuffle(samples)
    assert json.dumps(score_samples(iter(samples), PRIMARY)) == expected


def test_predictions_are_scored_as_they_are():
    samples = [sample(0, prediction="The answer is blue"), sample(1, prediction="42\nbecause")]
    assert score_samples(samples, PRIMARY)["results"]["chartqa"]["r3"]["0"]["metrics"]["exact_match"]["mean"] == 0


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "no sample to score"),
        ([sample(1), sample(1)], "chartqa/val/1 appears twice"),
        ([sample(1, dataset="docvqa")], "'docvqa' is None"),
        ([sample(1, level=1.2)], "level 1.2"),
        ([sample(1, level=float("nan"))], "level nan"),
        ([sample(1, prediction=None)], "chartqa/val/1 has no prediction"),
        ([sample(1, meta={"human_or_machine": 2})], "human_or_machine 2"),
    ],
)
def test_samples_that_cannot_be_scored_are_refused_by_name(samples, message):
    with pytest.raises(R3Error, match=message):
        score_samples(samples, PRIMARY)


def test_a_fourth_data_set_needs_only_the_name_of_its_metric():
    results = score_samples([sample(1, dataset="docvqa")], {"docvqa": "anls"})
    assert results["results"]["docvqa"]["r3"]["0"]["metrics"]["anls"]["mean"] == 1


def test_the_table_has_the_header_and_one_line_a_data_set():
    text = score_table(score_samples(run(datasets=PRIMARY), PRIMARY), "plumbing check: random backbone")
    lines = text.splitlines()
    assert lines[0] == "plumbing check: random backbone"
    assert lines[1].split()[:7] == ["data", "set", "metric", "base@0", "r3@0", "base@0.8", "r3@0.8"]
    assert [line.split()[0] for line in lines[3:]] == list(PRIMARY)
    assert lines[3].split()[2:7] == ["100.0", "100.0", "25.0", "75.0", "+50.0"]
    assert lines[3].split()[-1] == "40"


def test_an_arm_that_was_not_run_is_a_dash_in_the_table():
    text = score_table(score_samples([sample(i, "base") for i in range(4)], PRIMARY))
    assert text.splitlines()[-1].split() == ["chartqa", "relaxed_accuracy", "100.0", "-", "-", "4"]
