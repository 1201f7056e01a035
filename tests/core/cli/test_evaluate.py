"""`r3pp evaluate` from end to end, on a very small world with models as they are drawn."""

import json

import pytest
from small_world import write_r3, write_world_with_r3

from r3pp_core.evaluation.reporting import read_results
from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.model.config import ALL_OFF, PARTS

ABLATIONS = {"no_text_evidence", "no_image_evidence", "no_soft_tokens", "no_evidence", *(f"no_{one}" for one in PARTS)}
CONTROLS = {"shuffled_evidence", "oracle_evidence"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = write_world_with_r3(tmp_path_factory.mktemp("world"))
    write_r3(root, root / "models" / "control", **ALL_OFF)
    return root


@pytest.fixture
def evaluate(r3pp, world, monkeypatch):
    """`evaluate(flags)` in the world's folder."""
    monkeypatch.chdir(world)
    places = "--val_jsonl val.jsonl --image_root data --index_dir indices --model_name models/backbone"
    return lambda flags: r3pp(f"evaluate --checkpoint_dir models/r3 {places} --max_new_tokens 2 {flags}")


def arms_of(world, folder):
    results = read_results(world / folder)
    return {arm: list(levels) for arm, levels in results["results"]["chartqa"].items()}


def test_every_ablation_is_asked_at_both_ends_without_being_named_and_the_number_comes_first(evaluate, world):
    said = evaluate("--out_dir plain")
    assert (said.code, said.err) == (0, "")
    levels = ["0", "0.2", "0.4", "0.6", "0.8"]
    ablated = {f"r3-{name}": ["0", "0.8"] for name in ABLATIONS | CONTROLS}
    assert arms_of(world, "plain/report") == {"r3": levels, "base": levels, "base_ocr": levels} | ablated
    first, *lines = said.out.splitlines()
    assert first.endswith("] evaluate: 2 rows, 78 answers (58 by r3, 20 by base)")
    assert any("] evaluation/r3: 58 answers, about " in line for line in lines)
    assert lines[-1].endswith("] report: plain/report/report.html")
    assert (world / "plain/report/report.html").is_file()
    again = evaluate("--out_dir plain")
    assert again.out.count("nothing to do") == 3


def test_ablations_are_turned_off_by_none_and_asked_of_no_level_that_is_not_swept(evaluate, world):
    assert evaluate("--out_dir off --levels 0 --ablations none").code == 0
    assert arms_of(world, "off/report") == {"r3": ["0"], "base": ["0"], "base_ocr": ["0"]}
    assert evaluate("--out_dir clean --levels 0").code == 0
    assert {level for levels in arms_of(world, "clean/report").values() for level in levels} == {"0"}
    assert evaluate("--out_dir one --levels 0 --ablations r3-no_evidence --ablation_levels 0.4").code == 0
    assert arms_of(world, "one/r3") == {"r3": ["0"], "r3-no_evidence": ["0.4"]}


def test_controls_of_evidence_and_the_control_are_asked_at_every_level(evaluate, world):
    flags = "--levels 0 0.8 --ablations none --evidence oracle shuffled none --control_dir models/control"
    said = evaluate(f"--out_dir controls {flags}")
    assert (said.code, said.err) == (0, "")
    asked = ["base", "base_ocr", "control", "r3", "r3-no_evidence", "r3-oracle_evidence", "r3-shuffled_evidence"]
    assert arms_of(world, "controls/report") == {arm: ["0", "0.8"] for arm in asked}
    assert "evaluate: 2 rows, 28 answers (16 by r3, 8 by base, 4 by control)\n" in said.out
    assert "control at level 0.8, and what r3 wins back:" in said.out
    assert read_results(world / "controls/report")["recovery"]["against"] == "control"


def test_a_model_that_retrieves_is_no_control(evaluate):
    said = evaluate("--out_dir refused --control_dir models/r3")
    assert said.code == 2
    assert "it is no control" in said.err


def test_rows_whose_answers_are_hidden_get_a_submission_file_and_no_score(evaluate, world):
    rows = [{**row, "answers": [], "meta": {"question_id": n}} for n, row in enumerate(read_jsonl(world / "val.jsonl"))]
    write_jsonl(world / "hidden.jsonl", rows)
    flags = "--val_jsonl hidden.jsonl --levels 0 --ablations none"
    assert "none of the 2 rows of hidden.jsonl has a reference answer" in evaluate(f"--out_dir hidden {flags}").err
    said = evaluate(f"--out_dir hidden {flags} --unanswered")
    assert (said.code, said.err) == (0, "")
    submitted = [
        entry
        for dataset in {row["dataset"] for row in rows}
        for entry in json.loads((world / f"hidden/r3/submission_{dataset}_r3.json").read_text())
    ]
    assert sorted(entry["questionId"] for entry in submitted) == [0, 1]
    assert read_results(world / "hidden/report")["results"] == {}
