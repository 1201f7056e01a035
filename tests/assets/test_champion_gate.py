"""The gate in Dagster: a closed one leaves report and champion as they are, and a rollback is a materialization."""

import json
from dataclasses import replace

import dagster as dg
import pytest

from r3pp_assets.defs.evaluate.checks import CRITERIA
from r3pp_assets.demo import GATE_STEPS, gate_reasons
from r3pp_core.artefact import hash_file, hash_json
from r3pp_core.champion.history import current, entries
from r3pp_core.champion.promotion import promote
from r3pp_core.model.backbone import weights_hash


@pytest.fixture
def run(broken):
    """`run(job, config, gate)`: a job over the copied workspace, and what it said of assets and checks."""

    def execute(job, config=None, gate=None):
        workspace = {"config": {"root": str(broken.root), "source": str(broken.source), "gate": gate or {}}}
        with dg.DagsterInstance.ephemeral() as instance:
            return broken.definitions.resolve_job_def(job).execute_in_process(
                instance=instance,
                raise_on_error=False,
                run_config={
                    "loggers": {"brief": {}},
                    "resources": {"workspace": workspace},
                    "ops": {**SWEEPS, **(config or {})} if job == "evaluate" else (config or {}),
                },
            )

    return execute


SWEEP = {"config": {"rows_per_dataset": 3, "levels": [0.0, 0.8]}}
SWEEPS = {"evaluation__base": SWEEP, "evaluation__r3": SWEEP}


def materialized(result):
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}


def test_a_closed_gate_leaves_the_champion_and_the_report_shows_it(
    broken, run, any_model_passes, tmp_path, monkeypatch
):
    before, more_than_any = entries(broken.paths.champion_dir), {**any_model_passes, "min_robustness_gain": 1.0}
    result = run("evaluate", gate=more_than_any)
    assert not result.success
    assert materialized(result) == {"evaluation/base", "evaluation/r3", "report"}
    failed = {one.check_name: one for one in result.get_asset_check_evaluations() if not one.passed}
    assert set(failed) == {"robustness_above_base"}
    assert "whose lower bound has to be above +100.0" in failed["robustness_above_base"].description
    assert entries(broken.paths.champion_dir) == before
    steps = {event.step_key for event in result.all_events if event.is_step_failure}
    assert steps <= GATE_STEPS, "which `r3pp demo` tells from a fault"
    monkeypatch.setenv("R3PP_ROOT", str(broken.root))
    (tmp_path / "gate.json").write_text(json.dumps(more_than_any))
    monkeypatch.setenv("R3PP_GATE", str(tmp_path / "gate.json"))
    assert gate_reasons()[0] == failed["robustness_above_base"].description


def test_the_checks_tell_the_differences_they_judged_by(made):
    shown = {one.check_name: one for one in made.result.get_asset_check_evaluations() if one.check_name in CRITERIA}
    assert set(shown) == set(CRITERIA)
    assert "chartqa: clean +" in shown["clean_not_below_base"].metadata["differences"].value
    assert "there is no champion yet" in shown["no_regression"].description


def forge_card(entry, **changes):
    """Another card in an entry that is whole all the same."""
    (entry.folder / "champion.json").write_text(json.dumps({**entry.card, **changes}))
    manifest = json.loads((entry.folder / "manifest.json").read_text())
    manifest["files"]["champion.json"]["sha256"] = hash_file(entry.folder / "champion.json")
    manifest["content_hash"] = hash_json({name: file["sha256"] for name, file in manifest["files"].items()})
    (entry.folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_rollback_is_a_job_whose_materialization_says_what_and_why(broken, run):
    result = run("rollback", {"champion": {"config": {"roll_back": True, "reason": "it swears"}}})
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "is the first; there is none to go back to" in failure.step_failure_data.error.message
    first = current(broken.paths.champion_dir)
    forge_card(first, model_hash="another")  # as if a second model had been promoted since
    from r3pp_assets.defs.evaluate.assets import candidate_of
    from r3pp_core.champion.config import GateConfig

    anything = GateConfig(
        min_rows=1, min_pictures=1, clean_margin=1.01, min_robustness_gain=-1.01, champion_margin=1.01
    )
    promote(candidate_of(broken.paths, "r3"), broken.paths.champion_dir, anything)
    result = run("rollback", {"champion": {"config": {"roll_back": True, "reason": "it swears"}}})
    assert result.success
    (event,) = result.get_asset_materialization_events()
    shown = event.materialization.metadata
    assert shown["change"].value == "rolled back"
    assert shown["model_hash"].value == "another"
    assert "it swears" in shown["card"].value
    assert event.materialization.tags["dagster/data_version"] == "another"
    assert current(broken.paths.champion_dir).number == 3


def test_an_experiment_becomes_the_champion_by_the_job_promote_and_through_the_gate_only(
    broken, run, any_model_passes, run_experiment
):
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_experiment(replace(broken, instance=instance), "bold", SWEEP["config"]).success
    before = entries(broken.paths.champion_dir)
    to_gate = {"champion": {"config": {"candidate": "bold"}}}
    result = run("promote", to_gate, gate={**any_model_passes, "min_robustness_gain": 1.0})
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "has to be above +100.0" in failure.step_failure_data.error.message
    assert entries(broken.paths.champion_dir) == before
    result = run("promote", to_gate, gate=any_model_passes)
    assert result.success
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["change"].value == "promoted"
    champion = current(broken.paths.champion_dir)
    assert champion.number == 2
    assert champion.model_hash == weights_hash(broken.paths.model_dir("bold"))
    assert champion.model_hash != before[0].model_hash
