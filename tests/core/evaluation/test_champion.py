"""A model becomes the champion through the gate, and the old one stays when the gate is closed."""

import json

import pytest

from r3pp_core.artefact import Outcome, Request, Target, build
from r3pp_core.errors import R3Error
from r3pp_core.evaluation.champion import GateClosedError, crown, score_problems, size_problems
from r3pp_core.model.backbone import weights_hash


def made_results(mean=0.5, n=120):
    cell = {"n": n, "metrics": {"relaxed_accuracy": {"mean": mean}, "squad_f1": {"mean": 0.25}}}
    return {"results": {"chartqa": {"r3": {"0": cell, "0.8": cell}}}}


@pytest.fixture
def model(tmp_path):
    """`model(weights)`: a finished exported folder."""

    def make(weights):
        def write(staging):
            (staging / "config.json").write_text("{}")
            (staging / "r3.safetensors").write_text(weights)
            (staging / "adapter").mkdir()
            (staging / "adapter" / "adapter.safetensors").write_text(weights)
            return Outcome(counts={"step": 1})

        build(Target(tmp_path / weights), Request("model/r3", "1", {"weights": weights}, {}), write)
        return tmp_path / weights

    return make


@pytest.fixture
def evaluation(tmp_path):
    """`evaluation(model_dir, results)`: what the sweep leaves of that model."""

    def make(model_dir, results):
        def write(staging):
            (staging / "results.json").write_text(json.dumps(results))
            return Outcome(counts={})

        folder = tmp_path / f"scores of {model_dir.name}"
        build(Target(folder), Request("evaluation/r3", "1", {}, {"model": weights_hash(model_dir)}), write, force=True)
        return folder

    return make


def champion_weights(folder):
    return (folder / "model" / "r3.safetensors").read_text()


def test_an_open_gate_copies_the_whole_model_with_its_scores(tmp_path, model, evaluation):
    candidate = model("first")
    manifest = crown(candidate, evaluation(candidate, made_results()), tmp_path / "champion")
    assert champion_weights(tmp_path / "champion") == "first"
    assert (tmp_path / "champion" / "model" / "adapter" / "adapter.safetensors").read_text() == "first"
    card = json.loads((tmp_path / "champion" / "champion.json").read_text())
    assert card["model_content_hash"] == manifest.details["model_hash"]
    assert card["scores"]["chartqa r3 at level 0.8"] == {"relaxed_accuracy": 0.5, "squad_f1": 0.25}


def test_a_better_candidate_replaces_the_champion_as_a_whole(tmp_path, model, evaluation):
    for name in ("first", "second"):
        crown(model(name), evaluation(model(name), made_results()), tmp_path / "champion")
    assert champion_weights(tmp_path / "champion") == "second"
    assert weights_hash(tmp_path / "champion" / "model") == weights_hash(model("second"))


@pytest.mark.parametrize(
    "results, words",
    [
        (made_results(n=99), "chartqa r3 at level 0: scored on 99 rows, at least 100 are needed"),
        (made_results(mean=float("nan")), "chartqa r3 at level 0: relaxed_accuracy is nan"),
        (made_results(mean=1.01), "chartqa r3 at level 0: relaxed_accuracy is 1.01"),
        (made_results(mean=-0.1), "chartqa r3 at level 0: relaxed_accuracy is -0.1"),
        ({"results": {}}, "nothing was scored"),
    ],
)
def test_a_closed_gate_says_why_and_keeps_the_old_champion(tmp_path, model, evaluation, results, words):
    crown(model("first"), evaluation(model("first"), made_results()), tmp_path / "champion")
    with pytest.raises(GateClosedError, match=f"the gate is closed, the champion stays: {words}"):
        crown(model("second"), evaluation(model("second"), results), tmp_path / "champion")
    assert champion_weights(tmp_path / "champion") == "first"


def test_scores_of_another_model_do_not_open_the_gate(tmp_path, model, evaluation):
    with pytest.raises(GateClosedError, match=r"holds the scores of another model than .*second; evaluate it first"):
        crown(model("second"), evaluation(model("first"), made_results()), tmp_path / "champion")
    assert not (tmp_path / "champion").exists()


def test_the_number_of_rows_that_the_gate_asks_for_can_be_set(tmp_path, model, evaluation):
    scores = evaluation(model("first"), made_results(n=5))
    crown(model("first"), scores, tmp_path / "champion", min_rows=5)
    assert champion_weights(tmp_path / "champion") == "first"


def test_the_same_candidate_is_not_crowned_twice(tmp_path, model, evaluation):
    said: list[str] = []
    scores = evaluation(model("first"), made_results())
    crown(model("first"), scores, tmp_path / "champion")
    crown(model("first"), scores, tmp_path / "champion", progress=said.append)
    assert "nothing to do" in said[-1]


def test_a_model_or_evaluation_that_is_not_there_is_asked_for(tmp_path, model):
    with pytest.raises(R3Error, match="run `r3pp export` first"):
        crown(tmp_path / "gone", tmp_path, tmp_path / "champion")
    with pytest.raises(R3Error, match="run `r3pp evaluate` first"):
        crown(model("first"), tmp_path / "gone", tmp_path / "champion")


def test_problems_name_data_set_arm_and_level():
    assert score_problems(made_results()) == size_problems(made_results()) == []
    assert len(score_problems(made_results(mean=2))) == 2
    assert size_problems(made_results(n=1), min_rows=2)[1].startswith("chartqa r3 at level 0.8: scored on 1 rows")
