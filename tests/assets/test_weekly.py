"""The weekly retraining and what forces it; the monthly look, and how old the line may get without one."""

import asyncio
import json
import shutil
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions import freshness_evaluator
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.loader import LoadingContextForTest

from r3pp_assets.automation import behind
from r3pp_assets.automation.monthly import monthly_look
from r3pp_assets.automation.weekly import _last_run, weekly_retraining
from r3pp_assets.automation.why import told
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_assets.staleness import NOT_PASSED
from r3pp_core.ingest import revisions
from r3pp_core.ingest.revisions import Look, Place
from r3pp_core.model.backbone import weights_hash

SMALL_SWEEP = {"rows_per_dataset": 3, "levels": [0.0, 0.8]}
GATE = json.loads((Path(__file__).parents[1] / "any_model_passes.json").read_text())


@pytest.fixture
def tick(made):
    """`tick(workspace)`: what a schedule asks for on the finished instance."""

    def ask(workspace=made.workspace, instance=made.instance, schedule=weekly_retraining):
        with dg.build_schedule_context(  # it opens the instance once more, and must close it before `instance` closes
            instance=instance,
            repository_def=made.definitions.get_repository_def(),
            resources={"workspace": workspace},
            scheduled_execution_time=datetime(2026, 1, 5, 3),
        ) as context:
            return schedule(context)

    return ask


@pytest.fixture
def closed_gate(monkeypatch):
    """The gate has said no to what there is; nothing else is behind, but for what is added to this."""
    reasons = {behind.REPORT: NOT_PASSED, behind.CHAMPION: "never made"}
    monkeypatch.setattr(behind, "stale_reasons", lambda *arguments: dict(reasons))
    monkeypatch.setattr(behind, "failed_assets", lambda *arguments: {behind.REPORT})
    return reasons


def test_the_weekly_retraining_skips_with_its_reason(made, tick):
    skipped = tick()
    assert isinstance(skipped, dg.SkipReason)
    run_id = made.result.run_id[:8]
    assert skipped.skip_message.startswith(f"no new data or code since run {run_id} of 20")
    assert skipped.skip_message.endswith(" UTC")


def test_the_run_that_is_named_is_the_newest_that_made_the_report_whoever_started_it(broken, tick, tmp_path):
    """The sensor's runs are of no job of ours."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert _last_run(instance) == "the assets were made"
        result = broken.definitions.get_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[behind.REPORT],
            run_config={
                "resources": {"workspace": {"config": {"root": str(broken.root), "source": str(broken.source)}}}
            },
            raise_on_error=False,
        )
        assert _last_run(instance).startswith(f"run {result.run_id[:8]} of 20")
        instance.report_runless_asset_event(dg.AssetMaterialization(behind.CHAMPION))
        assert _last_run(instance).startswith("what was reported by hand of 20")


def test_a_changed_source_is_retrained_with_all_below_and_says_why(made, tick, tmp_path):
    source = shutil.copytree(made.source, tmp_path / "source")
    file = next((source / "chartqa" / "data").glob("train*.parquet"))
    file.write_bytes(file.read_bytes() + b"\0")
    request = tick(WorkspaceResource(root=str(made.root), profile="smoke", source=str(source)))
    assert isinstance(request, dg.RunRequest)
    names = {key.to_user_string() for key in request.asset_selection}
    assert {"raw/chartqa", "ocr/chartqa", "merged/train", "checkpoint/r3", "report", "champion"} <= names
    assert not names & {"raw/screenqa", "ocr/infovqa", "models/clip"}
    assert request.tags["r3pp/why"] == "raw/chartqa: its source changed"


def test_what_was_never_made_is_named_by_its_roots(tick, tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        request = tick(instance=instance)
    assert "raw/chartqa: never made" in request.tags["r3pp/why"]
    assert "champion" not in request.tags["r3pp/why"]
    assert len(told({dg.AssetKey(["a" * 300]): "x"})) == 250


def test_a_gate_that_is_closed_to_what_there_is_does_not_start_a_run_a_week(tick, monkeypatch, closed_gate):
    assert tick().skip_message.endswith("; the gate is closed to what there is")
    assert "the gate is closed" in tick(schedule=monthly_look).skip_message
    closed_gate[dg.AssetKey(["model", "r3"])] = "changed"
    request = tick()
    assert request.tags["r3pp/why"] == "model/r3: changed"
    assert dg.AssetKey(["champion"]) in request.asset_selection
    monkeypatch.setattr(behind, "failed_assets", lambda *arguments: set())
    del closed_gate[dg.AssetKey(["model", "r3"])]
    assert dg.AssetKey(["report"]) in tick().asset_selection, "its checks never ran, or crashed"


@pytest.fixture
def history(made, tmp_path):
    """The finished instance, copied: what a test does to it stays its own."""
    shutil.copytree(made.instance.root_directory, tmp_path / "history")
    with dg.DagsterInstance.local_temp(str(tmp_path / "history")) as instance:
        yield instance


@pytest.mark.parametrize(
    ("name", "gate"), [("report", {"min_robustness_gain": 2}), ("evaluation/r3", {"min_rows": 10**6})]
)
def test_what_its_checks_turned_away_does_not_start_a_run_a_week_unless_it_was_set_by_hand(
    broken, tick, history, name, gate
):
    assert "no new data or code" in tick(broken.workspace, history).skip_message
    gate = {**GATE, **gate}
    result = broken.definitions.get_implicit_global_asset_job_def().execute_in_process(
        instance=history,
        asset_selection=[dg.AssetKey(name.split("/"))],
        run_config={
            "loggers": {"brief": {}},
            "resources": {
                "workspace": {"config": {"root": str(broken.root), "source": str(broken.source), "gate": gate}}
            },
            "ops": {"evaluation__r3": {"config": SMALL_SWEEP}} if name == "evaluation/r3" else {},
        },
        raise_on_error=False,
    )
    assert result.get_asset_materialization_events(), "its checks alone fail the run"
    then = tick(broken.workspace, history)
    if name == "report":
        assert then.skip_message.startswith("no new data or code since run ")
        assert then.skip_message.endswith("; the gate is closed to what there is")
    else:  # few rows were asked for in the launchpad; the profile asks more
        assert set(then.asset_selection) == {dg.AssetKey(["evaluation", "r3"]), behind.REPORT, behind.CHAMPION}


def test_nothing_is_made_of_what_was_turned_away_whatever_else_is_behind(tick, monkeypatch):
    unified, infovqa = dg.AssetKey(["unified", "chartqa"]), dg.AssetKey(["raw", "infovqa"])
    reasons = {unified: NOT_PASSED, infovqa: "changed", behind.REPORT: "changed"}
    monkeypatch.setattr(behind, "stale_reasons", lambda *arguments: dict(reasons))
    monkeypatch.setattr(behind, "failed_assets", lambda *arguments: {unified})
    monkeypatch.setattr(behind, "made_with", lambda *arguments: {})
    request = tick()
    names = {key.to_user_string() for key in request.asset_selection}
    assert names == {"raw/infovqa", "ocr/infovqa", "unified/infovqa"}
    assert request.tags["r3pp/why"] == "raw/infovqa: changed"
    del reasons[infovqa]
    assert tick().skip_message.endswith("; unified/chartqa did not pass its checks")
    assert tick(schedule=monthly_look).skip_message == "unified/chartqa did not pass its checks: it would be so again"
    reasons[dg.AssetKey(["raw", "chartqa"])] = "changed"
    assert {"unified/chartqa", "champion"} <= {key.to_user_string() for key in tick().asset_selection}


def test_what_a_run_is_at_already_is_not_asked_for_twice(tick, history, made, tmp_path):
    source = shutil.copytree(made.source, tmp_path / "source")
    file = next((source / "chartqa" / "data").glob("train*.parquet"))
    file.write_bytes(file.read_bytes() + b"\0")
    changed = WorkspaceResource(root=str(made.root), profile="smoke", source=str(source))
    elsewhere = frozenset([dg.AssetKey(["control", "model"])])
    history.add_run(dg.DagsterRun("control", status=dg.DagsterRunStatus.STARTED, asset_selection=elsewhere))
    assert isinstance(tick(changed, history), dg.RunRequest)
    other = history.add_run(dg.DagsterRun("full", status=dg.DagsterRunStatus.STARTED))
    assert tick(changed, history).skip_message == (
        f"run {other.run_id[:8]} is at it already: raw/chartqa: its source changed"
    )


def test_a_model_that_was_rolled_back_from_is_not_put_to_the_gate_every_week(made, tick, monkeypatch):
    reasons = {behind.CHAMPION: "updated dependency"}
    monkeypatch.setattr(behind, "stale_reasons", lambda *arguments: dict(reasons))
    assert tick().asset_selection == [behind.CHAMPION]
    left = {weights_hash(made.paths.model_dir("r3")): None}
    monkeypatch.setattr("r3pp_core.champion.history.withdrawn", lambda history: left)
    assert tick().skip_message.startswith("no new data or code since run ")
    reasons[dg.AssetKey(["model", "r3"])] = "changed"
    assert behind.CHAMPION in tick().asset_selection, "another one by now"


def test_the_hub_is_asked_before_it_is_said_that_nothing_is_new(made, tick, monkeypatch):
    workspace = WorkspaceResource(root=str(made.root), profile="full")
    moved = Place("raw", "infovqa", "train", "vidore/infovqa_train", "c" * 40, "d" * 40, is_pinned=False)
    pinned = Place("models", "clip", "", "openai/clip", "a" * 40, "b" * 40, is_pinned=True)
    hub = {"places": [pinned], "not_asked": ["the Hub cannot be asked for Qwen/Qwen3: no route"]}
    monkeypatch.setattr(revisions, "look_at_hub", lambda models, paths, datasets: Look(**hub))
    skipped = tick(workspace).skip_message
    assert skipped.startswith("no new data or code since run ")
    assert skipped.endswith("; the Hub cannot be asked for Qwen/Qwen3: no route"), "of it nobody knows"
    hub["places"] = [pinned, moved]
    request = tick(workspace)
    assert {dg.AssetKey(["raw", "infovqa"]), dg.AssetKey(["champion"])} <= set(request.asset_selection)
    assert dg.AssetKey(["models", "clip"]) not in request.asset_selection
    assert request.run_config == {"ops": {"raw__infovqa": {"config": {"force": True}}}}
    assert request.tags["r3pp/why"] == "raw/infovqa: vidore/infovqa_train moved to dddddddddddd"
    assert request.tags["r3pp/takes_in"] == "raw/infovqa train", "so that `new_revisions` does not fetch it too"


def test_the_job_retrain_trains_although_nothing_changed(broken, tmp_path):
    """On a copy: the same run without `force` finds what stands."""
    job = broken.definitions.resolve_job_def("retrain")
    full = set(broken.definitions.resolve_job_def("full").asset_layer.executable_asset_keys)
    assert set(job.asset_layer.executable_asset_keys) == full
    forced = job.run_config["ops"]["checkpoint__r3"]["config"]
    small = {"max_steps": 4, "overrides": {"eval_rows": 2, "save_every": 2}}
    folder = broken.paths.checkpoint_dir()
    with dg.DagsterInstance.ephemeral() as instance:
        for config, is_new in ((small, False), ({**small, **forced}, True)):
            result = job.execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(["checkpoint", "r3"])],
                run_config={
                    "loggers": {"brief": {}},
                    "ops": {"checkpoint__r3": {"config": config}},
                    "resources": {"workspace": {"config": broken.workspace.model_dump()}},
                },
            )
            assert result.success
            assert (folder / "replaced" / "step_4").is_dir() == is_new
    assert (folder / "step_4" / "manifest.json").is_file()


def test_a_quiet_line_is_looked_at_without_making_anything_anew(broken, tick):
    request = tick(schedule=monthly_look)
    names = [key.to_user_string() for key in request.asset_selection]
    assert names == ["evaluation/r3", "report", "champion"]
    assert request.run_config["ops"]["evaluation__r3"]["config"] == {"rows_per_dataset": 3, "levels": [0.0, 0.8]}
    made = [broken.paths.results_dir(name) / "manifest.json" for name in ("r3", "report")]
    before = [path.stat().st_mtime_ns for path in made], len(list((broken.paths.champion_dir / "history").iterdir()))
    with dg.DagsterInstance.ephemeral() as instance:
        result = broken.definitions.resolve_job_def("evaluate").execute_in_process(
            instance=instance,
            asset_selection=request.asset_selection,
            run_config={
                **request.run_config,
                "loggers": {"brief": {}},
                "resources": {"workspace": {"config": {**broken.workspace.model_dump(), "gate": GATE}}},
            },
        )
    assert {event.asset_key for event in result.get_asset_materialization_events()} == set(request.asset_selection)
    after = [path.stat().st_mtime_ns for path in made], len(list((broken.paths.champion_dir / "history").iterdir()))
    assert after == before


def test_a_champion_that_was_chosen_by_hand_is_not_looked_at(broken, tick):
    """The line's own model would be put to the gate in its place."""
    card = broken.paths.champion_dir / "current" / "champion.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "model_hash": "of an experiment"}))
    request = tick(broken.workspace, schedule=monthly_look)
    assert dg.AssetKey(["champion"]) not in request.asset_selection
    assert dg.AssetKey(["evaluation", "r3"]) in request.asset_selection


def test_what_is_behind_is_made_and_not_looked_at(tick, tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        skipped = tick(instance=instance, schedule=monthly_look).skip_message
    assert skipped.startswith("what is behind is made and not looked at: ")
    assert "raw/chartqa: never made" in skipped


@pytest.mark.parametrize("name", ["champion", "evaluation/r3"])
def test_freshness_turns_yellow_only_where_a_monthly_look_is_overdue(made, name, monkeypatch):
    key = dg.AssetKey(name.split("/"))
    node = made.definitions.resolve_asset_graph().get(key)
    made_at = made.instance.get_latest_materialization_event(key).timestamp

    def state(days):
        monkeypatch.setattr(freshness_evaluator, "get_current_timestamp", lambda: made_at + 86400 * days)
        evaluator = freshness_evaluator.TimeWindowFreshnessPolicyEvaluator()
        context = LoadingContextForTest(made.instance)
        return asyncio.run(evaluator.evaluate_freshness(context=context, node=node))

    assert [state(days) for days in (0, 31.1)] == [FreshnessState.PASS] * 2, "from one first of a month to the next"
    assert [state(days) for days in (33, 65)] == [FreshnessState.WARN, FreshnessState.FAIL]


def test_the_schedules_say_in_which_timezone_they_tick(made):
    for schedule in made.definitions.get_repository_def().schedule_defs:
        assert schedule.execution_timezone == "UTC"
        assert "UTC" in schedule.description
