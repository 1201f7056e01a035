"""The schedule, the sensors and the alerts, each ticked; what they say where nothing is to be done."""

import json
import os
import shutil
import threading
from dataclasses import replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from r3pp_assets.automation import alerts, sources, weekly
from r3pp_assets.automation.alerts import failed_runs, post
from r3pp_assets.automation.evaluate_only import evaluate_only
from r3pp_assets.automation.sources import new_revisions, watch_source
from r3pp_assets.automation.weekly import told, weekly_retraining
from r3pp_assets.resources.launchers import LauncherResource
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_assets.staleness import NOT_PASSED
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.ingest import revisions
from r3pp_core.ingest.revisions import Place


def test_everything_but_the_jobs_is_off_until_it_is_turned_on(made):
    repository = made.definitions.get_repository_def()
    assert {schedule.default_status.value for schedule in repository.schedule_defs} == {"STOPPED"}
    assert {sensor.default_status.value for sensor in repository.sensor_defs} == {"STOPPED"}
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "retraining_on_change",
        "new_source_data",
        "new_revisions",
        "failed_runs",
    }
    jobs = {"ingest", "index", "train", "evaluate", "full", "promote", "rollback", "evaluate_only"}
    assert jobs <= {job.name for job in repository.get_all_jobs()}
    assert all(thing.description for thing in [*repository.schedule_defs, *repository.sensor_defs])


def test_only_what_trains_or_starts_by_itself_goes_on_when_its_process_is_lost(made, watch):
    repository = made.definitions.get_repository_def()
    goes_on = {job.name for job in repository.get_all_jobs() if job.tags.get("dagster/max_retries")}
    assert goes_on == {"train", "full", "control", "proof"}
    assert repository.get_sensor_def("retraining_on_change").run_tags["dagster/max_retries"] == "2"
    watch(), watch()
    next((watch.folder / "infovqa" / "data").glob("train*.parquet")).unlink()
    watch()
    assert watch().run_requests[0].tags["dagster/max_retries"] == "2"


@pytest.fixture
def tick(made):
    """`tick(workspace)`: what the schedule asks for on the finished instance."""

    def ask(workspace=made.workspace, instance=made.instance):
        with dg.build_schedule_context(  # it opens the instance once more, and must close it before `instance` closes
            instance=instance,
            repository_def=made.definitions.get_repository_def(),
            resources={"workspace": workspace},
            scheduled_execution_time=datetime(2026, 1, 5, 3),
        ) as context:
            return weekly_retraining(context)

    return ask


def test_the_weekly_retraining_skips_with_its_reason(made, tick):
    skipped = tick()
    assert isinstance(skipped, dg.SkipReason)
    run_id = made.result.run_id[:8]
    assert skipped.skip_message.startswith(f"no new data or code since run {run_id} of 20")


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


def test_a_gate_that_is_closed_to_what_there_is_does_not_start_a_run_a_week(tick, monkeypatch):
    closed = {weekly.REPORT: NOT_PASSED, weekly.CHAMPION: "never made"}
    monkeypatch.setattr(weekly, "stale_reasons", lambda *arguments: dict(closed))
    assert dg.AssetKey(["report"]) in tick().asset_selection, "its checks never ran, or crashed"
    monkeypatch.setattr(weekly, "failed_assets", lambda *arguments: {weekly.REPORT})
    assert tick().skip_message.endswith("; the gate is closed to what there is")
    monkeypatch.setattr(weekly, "stale_reasons", lambda *arguments: {**closed, dg.AssetKey(["model", "r3"]): "changed"})
    request = tick()
    assert request.tags["r3pp/why"] == "model/r3: changed"
    assert dg.AssetKey(["champion"]) in request.asset_selection


@pytest.fixture
def watch(made, tmp_path):
    """`watch()`: one look of the sensor at a copy of the source, which the workspace was made from."""
    source = shutil.copytree(made.source, tmp_path / "source")
    workspace = WorkspaceResource(root=str(made.root), profile="smoke", source=str(source))

    class Watch:
        cursor, folder = None, source

        def __call__(self):
            with (
                dg.DagsterInstance.ephemeral() as instance,
                dg.build_sensor_context(
                    instance=instance, cursor=self.cursor, resources={"workspace": workspace}
                ) as context,
            ):
                result = watch_source(30)(context)
            self.cursor = result.cursor
            return result

    return Watch()


def test_files_that_are_what_was_taken_in_launch_nothing(watch):
    assert "waiting until they are still" in watch().skip_reason.skip_message
    for _ in range(2):
        assert watch().skip_reason.skip_message == "no file changed"
    for path in watch.folder.rglob("*.parquet"):
        os.utime(path)  # other times, the same bytes
    watch()
    assert watch().run_requests == []


def test_other_bytes_are_taken_in_once_they_are_still_and_once_only(watch):
    watch(), watch()
    file = next((watch.folder / "chartqa" / "data").glob("train*.parquet"))
    whole = file.read_bytes()
    file.write_bytes(whole + b"\0")
    assert watch().skip_reason.skip_message == "files of chartqa changed; waiting until they are still"
    file.write_bytes(whole + b"\0\0")
    assert watch().run_requests == [], "still being copied"
    (request,) = watch().run_requests
    assert request.asset_selection == [dg.AssetKey(["raw", "chartqa"])]
    assert request.tags["r3pp/why"] == "files of chartqa changed"
    assert watch().run_requests == []


def test_a_file_that_is_gone_launches_the_run_that_says_so(watch):
    watch(), watch()
    next((watch.folder / "infovqa" / "data").glob("train*.parquet")).unlink()
    watch()
    (request,) = watch().run_requests
    assert request.asset_selection == [dg.AssetKey(["raw", "infovqa"])]


def test_a_folder_that_is_gone_is_said_and_the_others_are_looked_at(watch):
    watch(), watch()
    shutil.rmtree(watch.folder / "infovqa" / "data")
    file = next((watch.folder / "chartqa" / "data").glob("train*.parquet"))
    file.write_bytes(file.read_bytes() + b"\0")
    assert watch().skip_reason.skip_message.startswith("infovqa: no Parquet file in ")
    (request,) = watch().run_requests
    assert request.asset_selection == [dg.AssetKey(["raw", "chartqa"])]


def test_without_a_folder_there_is_nothing_to_watch(made):
    workspace = WorkspaceResource(root=str(made.root), profile="smoke")
    for sensor, words in ((watch_source(30), "no local folder"), (new_revisions, "nothing of this workspace")):
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(instance=instance, resources={"workspace": workspace}) as context,
        ):
            result = sensor(context)
        assert words in result.skip_reason.skip_message


@pytest.fixture
def ask_hub(tmp_path, monkeypatch):
    """`ask_hub(places)`: a look of the sensor at a Hub where these revisions are the newest."""
    workspace = WorkspaceResource(root=str(tmp_path), profile="full")

    def look(places, cursor=None):
        def found(models, paths):
            if isinstance(places, Exception):
                raise places
            return places

        monkeypatch.setattr(revisions, "newest_revisions", found)
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(instance=instance, cursor=cursor, resources={"workspace": workspace}) as context,
        ):
            return new_revisions(context)

    return look


def test_a_branch_that_moved_is_taken_in_and_a_pinned_one_is_told(ask_hub):
    pinned = Place("models", "clip", "", "openai/clip", "a" * 40, "b" * 40, is_pinned=True)
    moved = Place("raw", "infovqa", "train", "vidore/infovqa_train", "c" * 40, "d" * 40, is_pinned=False)
    result = ask_hub([pinned, moved])
    (request,) = result.run_requests
    assert request.asset_selection == [dg.AssetKey(["raw", "infovqa"])]
    assert request.run_config == {"ops": {"raw__infovqa": {"config": {"force": True}}}}
    (observation,) = result.asset_events
    assert observation.asset_key == dg.AssetKey(["models", "clip"])
    assert observation.metadata["is_newest"].value is False
    again = ask_hub([pinned, moved], result.cursor)
    assert again.asset_events == [], "each revision is told once"
    (retried,) = again.run_requests
    assert retried.run_key != request.run_key, "what was not taken in is asked for again"
    there = ask_hub([replace(moved, held="d" * 40)], again.cursor)
    assert there.run_requests == []


def test_a_cursor_of_the_first_version_is_understood(ask_hub):
    place = Place("models", "clip", "", "openai/clip", "a" * 40, "b" * 40, is_pinned=True)
    assert ask_hub([place], json.dumps({"models/clip": "b" * 40})).asset_events == []


def test_what_was_never_fetched_or_adopted_is_not_downloaded_by_a_switch(ask_hub):
    never = Place("raw", "infovqa", "train", "vidore/infovqa_train", None, "d" * 40, is_pinned=False)
    result = ask_hub([never])
    assert result.run_requests == []
    assert [event.metadata["revision"].value for event in result.asset_events] == ["none"]


def test_a_hub_that_does_not_answer_is_a_skip_and_is_asked_again(ask_hub):
    result = ask_hub(R3Error("the Hub cannot be asked for openai/clip: no route"), cursor="{}")
    assert result.skip_reason.skip_message == "the Hub cannot be asked for openai/clip: no route"
    assert result.cursor == "{}"


def test_every_repository_is_asked_and_pins_are_known(monkeypatch, tmp_path):
    from r3pp_core.profiles import PROFILES
    from r3pp_core.workspace import Workspace

    monkeypatch.setattr(revisions, "newest_revision", lambda repo, repo_type: f"newest of {repo_type} {repo}")
    found = {
        place.name: place for place in revisions.newest_revisions(PROFILES["full"].hub_models, Workspace(tmp_path))
    }
    assert {"raw/screenqa train", "raw/infovqa test", "models/backbone"} <= set(found)
    assert found["raw/infovqa train"].is_pinned is False
    assert [name for name, place in found.items() if not place.is_pinned] == ["raw/infovqa train"]
    assert found["models/clip"].newest == "newest of model openai/clip-vit-base-patch32"


@pytest.fixture
def webhook():
    """An address that keeps what was posted to it."""
    posted = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", posted
    server.shutdown()
    thread.join()
    server.server_close()


def failed(asset_checks=(), body=lambda: None):
    """The context of the sensor for a run that failed."""

    @dg.asset
    def report() -> None:
        body()

    checks = [check(report) for check in asset_checks]
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([report, *checks], instance=instance, raise_on_error=False)
        assert not result.success
        event = next(event for event in result.all_events if event.event_type_value == "PIPELINE_FAILURE")
        yield dg.build_run_status_sensor_context(
            sensor_name="failed_runs", dagster_instance=instance, dagster_run=result.dagster_run, dagster_event=event
        ).for_run_failure()


def test_a_closed_gate_is_told_with_its_reason(webhook, monkeypatch):
    address, posted = webhook
    monkeypatch.setenv("R3PP_WEBHOOK", address)

    def gate(report):
        @dg.asset_check(asset=report, blocking=True)
        def no_regression() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=False, description="chartqa: clean -3.0 points")

        return no_regression

    for context in failed([gate]):
        failed_runs(context)
        run_id = context.dagster_run.run_id
    (told_once,) = posted
    assert told_once["text"].endswith(" failed: report no_regression: chartqa: clean -3.0 points")
    assert told_once["run_id"] == run_id


def test_a_failed_run_is_told_with_its_error_and_without_an_address_in_the_log(webhook, monkeypatch):
    monkeypatch.delenv("R3PP_WEBHOOK", raising=False)

    def wrong():
        raise dg.Failure("no image column")

    for context in failed(body=wrong):
        failed_runs(context)
        assert webhook[1] == []
        monkeypatch.setenv("R3PP_WEBHOOK", webhook[0])
        failed_runs(context)
    (told_once,) = webhook[1]
    assert told_once["text"].endswith(" failed: report: no image column")


def test_a_check_that_only_warns_is_no_reason_for_a_failure(webhook, monkeypatch):
    monkeypatch.setenv("R3PP_WEBHOOK", webhook[0])

    def warning(report):
        @dg.asset_check(asset=report)
        def drift() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description="moved")

        return drift

    def refusal(report):
        @dg.asset_check(asset=report, blocking=True)
        def schema() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=False, description="a column is gone")

        return schema

    for context in failed([warning, refusal]):
        failed_runs(context)
    assert webhook[1][0]["text"].endswith(" failed: report schema: a column is gone")


def test_an_address_that_is_none_or_does_not_answer_shows_in_the_tick_but_for_the_address(monkeypatch):
    monkeypatch.setattr(alerts, "PAUSES_S", (0, 0))
    with pytest.raises(R3Error, match="begins with http"):
        post("file:///etc/passwd", {"text": "x"})
    for address in ("http://127.0.0.1:9/secret", "http://secret host/secret"):
        with pytest.raises(R3Error, match="did not take an alert") as caught:
            post(address, {"text": "x"})
        assert "secret" not in str(caught.value)


def test_an_address_that_hangs_up_once_is_asked_again(webhook, monkeypatch):
    monkeypatch.setattr(alerts, "PAUSES_S", (0, 0))
    plain = alerts.urllib.request.urlopen
    answers = [ConnectionResetError(), None]

    def shaky(request, timeout):
        answer = answers.pop(0)
        if answer:
            raise answer
        return plain(request, timeout=timeout)

    monkeypatch.setattr(alerts.urllib.request, "urlopen", shaky)
    post(webhook[0], {"text": "x"})
    assert (webhook[1], answers) == ([{"text": "x"}], [])


def test_one_checkpoint_is_evaluated_beside_the_line(broken):
    config = {"checkpoint": "models/r3", "name": "by_hand", "rows_per_dataset": 2, "levels": [0.0], "max_new_tokens": 2}
    resources = {"workspace": broken.workspace, "launcher": LauncherResource()}

    def run(**changes):
        ops = {"evaluate_checkpoint": {"config": {**config, **changes}}}
        return evaluate_only.execute_in_process({"ops": ops}, resources=resources, raise_on_error=False)

    before = (broken.paths.results_dir("r3") / "manifest.json").read_bytes()
    assert run().success
    assert (broken.paths.results_dir("by_hand") / "results.json").is_file()
    with pytest.raises(UsageError, match="cannot name results"):
        run(name="r3")
    (failure,) = [event for event in run(checkpoint="nowhere").all_events if event.is_step_failure]
    assert "holds no model" in failure.step_failure_data.error.message
    assert (broken.paths.results_dir("r3") / "manifest.json").read_bytes() == before


def test_the_look_at_a_folder_reads_no_file(tmp_path, monkeypatch):
    folder = tmp_path / "chartqa" / "data"
    folder.mkdir(parents=True)
    (folder / "train-0.parquet").write_bytes(b"x")
    seen = sources.look(tmp_path, "chartqa")
    assert seen.startswith("train-0.parquet:1:")
    assert sources.look(tmp_path, "screenqa") == ""
