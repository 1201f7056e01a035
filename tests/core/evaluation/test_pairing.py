"""Two evaluations against each other."""

import json

import pytest

from r3pp_core.artefact import Outcome, Request, Target, build
from r3pp_core.cli import main
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.evaluation.pairing import compare, comparison_text
from r3pp_core.evaluation.scoring import score_samples
from r3pp_core.jsonl import write_jsonl

PRIMARY = {"chartqa": "relaxed_accuracy"}


def evaluation(folder, predictions, arm="r3", levels=(0.0, 0.8), damaged=None, **signature):
    """A finished evaluation of questions whose answer is their number; `predictions`: row number -> its answers,
    `damaged`: row number -> what its damage at 0.8 says of itself."""
    samples = [
        {
            "id": f"chartqa/val/{number:03}",
            "dataset": "chartqa",
            "arm": arm,
            "level": level,
            "image_path": f"chartqa/images/{number // 2}.png",
            "image_sha256": f"{number // 2:064}",
            "question": f"How many in {number}?",
            "answers": [f"w{number}"],
            "prediction": told[place],
            **((damaged or {}).get(number, {}) if level else {}),
        }
        for number, told in predictions.items()
        for place, level in enumerate(levels)
    ]

    def make(staging):
        write_jsonl(staging / "samples.jsonl", samples)
        described = {"damage": "both", "seed": 0, "model_hash": folder.name, **signature}
        results = score_samples(samples, PRIMARY, signature=described)
        (staging / "results.json").write_text(json.dumps(results))
        return Outcome({"rows": len(predictions)})

    build(Target(folder), Request("evaluation/r3", "1", signature, {}), make)
    return folder


@pytest.fixture
def two(tmp_path):
    """Forty rows: at level 0.8 B wins back twenty that A lost, and loses row 0; B lacks row 39, A lacks row 40."""
    a = {number: (f"w{number}", f"w{number}" if number == 0 else "lost") for number in range(40)}
    b = {number: (f"w{number}", "lost" if number == 0 or number > 20 else f"w{number}") for number in range(41)}
    del b[39]
    return evaluation(tmp_path / "a", a), evaluation(tmp_path / "b", b)


def test_the_difference_is_paired_and_rows_that_one_lacks_are_counted(two):
    levels = compare(*two)["differences"]["chartqa"]["r3"]
    clean, damaged = levels["0"], levels["0.8"]
    assert (clean["mean"], clean["p"], clean["better"], clean["worse"]) == (0, 1, 0, 0)
    assert (damaged["n"], damaged["only_a"], damaged["only_b"]) == (39, 1, 1)
    assert (damaged["better"], damaged["worse"]) == (20, 1)
    assert damaged["mean"] == pytest.approx(19 / 39)
    assert damaged["mean"] == pytest.approx(damaged["b"] - damaged["a"])
    assert 0 < damaged["low"] < damaged["mean"] < damaged["high"] < 1
    assert damaged["num_clusters"] == 20


def test_turned_round_it_is_the_negative(two):
    there, back = compare(*two), compare(*reversed(two))
    one, other = (found["differences"]["chartqa"]["r3"]["0.8"] for found in (there, back))
    assert (other["mean"], other["low"], other["high"]) == pytest.approx((-one["mean"], -one["high"], -one["low"]))
    assert (other["better"], other["only_a"]) == (one["worse"], one["only_b"])


def test_every_row_that_changed_is_there_with_both_answers(two):
    changed = compare(*two)["changed"]
    assert {row["id"] for row in changed} == {f"chartqa/val/{number:03}" for number in range(21)}
    (lost,) = [row for row in changed if row["b"]["score"] < row["a"]["score"]]
    assert (lost["id"], lost["level"], lost["answers"]) == ("chartqa/val/000", 0.8, ["w0"])
    assert (lost["a"], lost["b"]) == ({"score": 1, "prediction": "w0"}, {"score": 0, "prediction": "lost"})


def test_another_answer_of_the_same_score_is_counted_and_told(tmp_path):
    a = evaluation(tmp_path / "a", {0: ("w0", "lost"), 1: ("w1", "w1"), 2: ("w2", "lost")})
    b = evaluation(tmp_path / "b", {0: ("W0", "gone"), 1: ("w1", "lost"), 2: ("w2", "lost")})
    found = compare(a, b)
    counts = {
        level: (entry["better"], entry["worse"], entry["reworded"])
        for level, entry in found["differences"]["chartqa"]["r3"].items()
    }
    assert counts == {"0": (0, 0, 1), "0.8": (0, 1, 1)}
    assert [(row["id"], row["level"]) for row in found["changed"]] == [("chartqa/val/001", 0.8)]
    told = [(row["id"], row["a"]["prediction"], row["b"]["prediction"]) for row in found["reworded"]]
    assert told == [("chartqa/val/000", "w0", "W0"), ("chartqa/val/000", "lost", "gone")]
    assert "2 answers are other words of the same score; the first 2:" in comparison_text(found)


def test_the_difference_of_the_areas_is_paired_over_the_rows_that_both_have_at_every_level(two, tmp_path):
    area = compare(*two)["areas"]["chartqa"]["r3"]
    assert (area["n"], area["levels"]) == (39, [0.0, 0.8])
    assert area["mean"] == pytest.approx(19 / 39 / 2)
    assert area["mean"] == pytest.approx(area["b"] - area["a"])
    assert 0 < area["low"] < area["mean"] < area["high"]
    one = evaluation(tmp_path / "one", {1: ("w1",)}, levels=(0.0,))
    assert compare(one, two[1])["areas"] == {}


def test_an_evaluation_against_itself_differs_nowhere(two):
    found = compare(two[0], two[0])
    assert (found["changed"], found["reworded"], found["signature"]) == ([], [], {})
    assert all(entry["mean"] == 0 for entry in found["differences"]["chartqa"]["r3"].values())


def test_what_was_evaluated_otherwise_is_named_and_other_damage_is_refused(two, tmp_path):
    assert compare(*two)["signature"] == {"model_hash": {"a": "a", "b": "b"}}
    for name, of_other, told in (
        ("seed", 1, r"\(0 and 1\)"),
        ("code", "9", r"\(None and 9\)"),
    ):
        other = evaluation(tmp_path / name, {1: ("w1", "w1")}, **{name: of_other})
        with pytest.raises(R3Error, match=f"differ in {name} {told}, so that their pictures were damaged otherwise"):
            compare(two[0], other)


@pytest.mark.parametrize(
    ("mine", "theirs", "num_common"),
    [
        ({"pseudo_text": "12 | 40"}, {"pseudo_text": "12 | 40"}, 3),
        ({"pseudo_text": "12 | 40"}, {"pseudo_text": "17 | 40"}, 2),  # read by OCR once more
        ({"pseudo_text": "12 | 40"}, {"pseudo_text": "12 |"}, 3),  # a shorter prompt
        ({"pseudo_text": "12 | 40"}, {"pseudo_text": None}, 3),  # not given to this arm
        ({"operators": [{"name": "crop", "box": [0]}]}, {"operators": [{"name": "crop", "box": [1]}]}, 2),
    ],
)
def test_a_row_that_was_damaged_otherwise_is_no_pair(tmp_path, mine, theirs, num_common):
    said = dict.fromkeys(range(3), ("w1", "w1"))
    a = evaluation(tmp_path / "a", said, damaged={1: mine})
    b = evaluation(tmp_path / "b", said, damaged={1: theirs})
    levels = compare(a, b)["differences"]["chartqa"]["r3"]
    assert (levels["0"]["n"], levels["0.8"]["n"]) == (3, num_common)


def test_other_arms_are_compared_when_named_or_where_none_is_common(two, tmp_path):
    base = evaluation(tmp_path / "base", dict.fromkeys(range(3), ("w1", "w1")), arm="base")
    assert list(compare(base, two[1])["differences"]["chartqa"]) == ["r3 - base"]
    with pytest.raises(UsageError, match=r"--arm_b base: .*b has the arms r3"):
        compare(base, two[1], arm_b="base")


def test_nothing_in_common_is_an_error(two, tmp_path):
    others = evaluation(tmp_path / "others", {90: ("w90", "w90")})
    with pytest.raises(R3Error, match="no scored row at the same level in common"):
        compare(two[0], others)
    with pytest.raises(R3Error, match="run `r3pp evaluate` first"):
        compare(two[0], tmp_path)


def test_the_command_shows_the_table_and_the_rows_and_writes_all(two, tmp_path, capsys):
    assert main(["compare", *map(str, two), "--num-examples", "1", "--json", str(tmp_path / "out" / "all.json")]) == 0
    said = capsys.readouterr().out
    assert "differs in model_hash: a | b" in said
    (line,) = [line for line in said.splitlines() if line.startswith("chartqa") and " 0.8 " in line]
    assert line.split()[:6] == ["chartqa", "r3", "0.8", "relaxed_accuracy", "2.6", "51.3"]
    assert "21 answers changed their score; the first 1:" in said
    assert "\n0 answers are other words of the same score\n" in said
    (area,) = [line for line in said.splitlines() if line.startswith("chartqa") and " area " in line]
    assert area.split()[:6] == ["chartqa", "r3", "area", "relaxed_accuracy", "51.3", "75.6"]
    assert "chartqa/val/000 at level 0.8, r3: How many in 0?\n  A 1.00 'w0'\n  B 0.00 'lost'\n  expected w0" in said
    written = json.loads((tmp_path / "out" / "all.json").read_text())
    assert len(written["changed"]) == 21
    assert comparison_text(written, 1) in said
