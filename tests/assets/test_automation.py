"""The sensors, each ticked; what they ask for and why, and what they say where nothing is to be done."""

import json
import os
import shutil
from dataclasses import replace

import dagster as dg
import pytest

from r3pp_assets.automation import sources
from r3pp_assets.automation.evaluate_only import evaluate_only
from r3pp_assets.automation.sources import new_revisions, watch_source
from r3pp_assets.resources.launchers import LauncherResource
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.errors import UsageError
from r3pp_core.ingest import revisions
from r3pp_core.ingest.revisions import Look, Place


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
    jobs = {"ingest", "index", "train", "evaluate", "full", "retrain", "promote", "rollback", "evaluate_only"}
    assert jobs <= {job.name for job in repository.get_all_jobs()}
    assert all(thing.description for thing in [*repository.schedule_defs, *repository.sensor_defs])


def test_only_what_trains_or_starts_by_itself_goes_on_when_its_process_is_lost(made, watch):
    repository = made.definitions.get_repository_def()
    goes_on = {job.name for job in repository.get_all_jobs() if job.tags.get("dagster/max_retries")}
    assert goes_on == {"train", "full", "retrain", "control", "proof"}
    assert repository.get_sensor_def("retraining_on_change").run_tags["dagster/max_retries"] == "2"
    watch(), watch()
    next((watch.folder / "infovqa" / "data").glob("train*.parquet")).unlink()
    watch()
    assert watch().run_requests[0].tags["dagster/max_retries"] == "2"


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

    def look(places, cursor=None, not_asked=()):
        monkeypatch.setattr(revisions, "look_at_hub", lambda models, paths, datasets: Look(places, list(not_asked)))
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(instance=instance, cursor=cursor, resources={"workspace": workspace}) as context,
        ):
            return new_revisions(context)

    return look


@pytest.mark.parametrize(
    "profile, source, asked",
    [
        (
            "full",
            None,
            {"raw/screenqa", "raw/chartqa", "raw/infovqa", "models/clip", "models/minilm", "models/backbone"},
        ),
        ("full", "/pictures", {"models/clip", "models/minilm", "models/backbone"}),
        ("sample", None, None),
    ],
)
def test_the_hub_is_asked_for_what_comes_from_it(tmp_path, monkeypatch, profile, source, asked):
    """Data sets of a local source do not, though the profile's models may."""
    from r3pp_assets.automation.sources import look_at_hub

    monkeypatch.setattr(revisions, "newest_revision", lambda repo, repo_type: "b" * 40)
    look = look_at_hub(WorkspaceResource(root=str(tmp_path), profile=profile, source=source))
    assert (look and {f"{place.group}/{place.asset}" for place in look.places}) == asked


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


def test_a_repository_that_cannot_be_asked_is_named_and_the_others_are_taken_in(ask_hub):
    mute = "the Hub cannot be asked for openai/clip: no route"
    moved = Place("raw", "infovqa", "train", "vidore/infovqa_train", "c" * 40, "d" * 40, is_pinned=False)
    (request,) = ask_hub([moved], not_asked=[mute]).run_requests
    assert request.tags["r3pp/why"] == "vidore/infovqa_train moved to dddddddddddd"
    known = json.dumps({"models/clip": {"newest": "b" * 40, "times": 0}})
    result = ask_hub([replace(moved, held="d" * 40)], known, [mute])
    assert result.skip_reason.skip_message.startswith(f"{mute}; no branch moved")
    assert json.loads(result.cursor)["models/clip"]["newest"] == "b" * 40, "what was told of it before stays known"


def test_one_checkpoint_is_evaluated_beside_the_line(broken):
    config = {"checkpoint": "models/r3", "name": "by_hand", "rows_per_dataset": 2, "levels": [0.0], "max_new_tokens": 2}
    resources = {"workspace": broken.workspace, "launcher": LauncherResource()}

    def run(instance=None, **changes):
        ops = {"evaluate_checkpoint": {"config": {**config, **changes}}}
        return evaluate_only.execute_in_process(
            {"ops": ops}, resources=resources, raise_on_error=False, instance=instance
        )

    before = (broken.paths.results_dir("r3") / "manifest.json").read_bytes()
    assert run().success
    assert (broken.paths.results_dir("by_hand") / "results.json").is_file()
    with pytest.raises(UsageError, match="cannot name results"):
        run(name="r3")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("experiment", ["bold"])
        (failure,) = [event for event in run(instance, name="bold").all_events if event.is_step_failure]
        assert "results/bold are those of the experiment bold" in failure.step_failure_data.error.message
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
