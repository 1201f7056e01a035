"""When the production line makes itself anew: told by Dagster's own evaluation, over the real graph."""

import dagster as dg
import pytest
from dagster import AssetKey, AssetMaterialization, DagsterEvent, DagsterEventType
from dagster._core.events import AssetMaterializationPlannedData, StepMaterializationData
from dagster._core.storage.dagster_run import DagsterRun

from r3pp_assets.automation.jobs import PRODUCTION_LINE
from r3pp_assets.automation.on_change import lost_runs
from r3pp_assets.conditions import _UNHANDLED, ON_CHANGE


class Line:
    """The graph on an instance of its own, where tests say what happened and ask what would be launched."""

    def __init__(self, definitions, instance):
        self.definitions, self.instance, self.cursor = definitions, instance, None
        self.graph = definitions.resolve_asset_graph()
        self.keys = PRODUCTION_LINE.resolve(self.graph)

    def versions(self, key):
        """The data versions that the inputs of an asset have now."""
        events = {
            parent: self.instance.get_latest_materialization_event(parent) for parent in self.graph.get(key).parent_keys
        }
        return {
            parent.to_user_string(): event.asset_materialization.tags["dagster/data_version"]
            for parent, event in events.items()
            if event
        }

    def made(self, name, version, made_from=None):
        """Materialize, with every blocking check passed. `made_from`: its inputs' versions, those of now if None."""
        key = AssetKey(name.split("/"))
        tags = {"dagster/data_version": version, "dagster/code_version": self.graph.get(key).code_version}
        for parent, read in (made_from or self.versions(key)).items():
            tags[f"dagster/input_data_version/{parent}"] = read
            tags[f"dagster/input_event_pointer/{parent}"] = "NULL"
        self.instance.report_runless_asset_event(AssetMaterialization(key, tags=tags))
        for check in self.graph.get(key).check_keys:
            self.checked(name, check.name, passed=True)

    def checked(self, name, check, passed):
        self.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=AssetKey(name.split("/")),
                check_name=check,
                passed=passed,
                metadata={},
                severity=dg.AssetCheckSeverity.ERROR,
                blocking=True,
            )
        )

    def all_made(self):
        for level in self.graph.toposorted_asset_keys_by_level:
            for key in level:
                if key in self.keys:
                    self.made(key.to_user_string(), "1")

    def wiped(self, name):
        self.instance.wipe_assets([AssetKey(name.split("/"))])

    def begun(self, name, status=dg.DagsterRunStatus.STARTED):
        """A run that makes the asset, under way unless told."""
        key = AssetKey(name.split("/"))
        run = self.instance.add_run(DagsterRun(job_name="full", status=status, asset_selection=frozenset({key})))
        planned = DagsterEvent.build_asset_materialization_planned_event(
            "full", name.replace("/", "__"), AssetMaterializationPlannedData(key)
        )
        self.instance.report_dagster_event(planned, run.run_id)
        return run

    def ended(self, run, how):
        self.instance.report_dagster_event(DagsterEvent(how.value, "full"), run.run_id)

    def launched(self):
        """What a tick of the sensor asks for."""
        result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        return {key.to_user_string() for key in self.graph.get_all_asset_keys() if result.get_num_requested(key) > 0}


@pytest.fixture(scope="module")
def definitions(tmp_path_factory):
    from r3pp_assets.definitions import defs

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("R3PP_PROFILE", "smoke")
        patch.setenv("R3PP_ROOT", str(tmp_path_factory.mktemp("workspace")))
        return defs()


@pytest.fixture
def line(definitions):
    with dg.DagsterInstance.ephemeral() as instance:
        yield Line(definitions, instance)


@pytest.fixture
def settled(line):
    line.launched()
    line.all_made()
    line.launched()
    assert line.launched() == set()
    return line


def test_the_whole_production_line_and_no_experiment_has_the_condition(line):
    automated = {key for key in line.graph.get_all_asset_keys() if line.graph.get(key).automation_condition}
    assert automated == line.keys
    assert all(line.graph.get(key).automation_condition == ON_CHANGE for key in automated)
    assert not any(key.path[0] == "experiment" for key in automated)


def test_a_tick_asks_once_of_each_asset_what_changed(settled, monkeypatch):
    """Not once for each way that leads down from it: the sensor ticks every half minute, day and night."""
    asked, since = [], type(_UNHANDLED.change)
    evaluate = since.evaluate

    async def noting(condition, context):
        asked.append(context.key)
        return await evaluate(condition, context)

    monkeypatch.setattr(since, "evaluate", noting)
    settled.launched()
    assert sorted(asked) == sorted(settled.keys)


def test_what_was_never_made_waits_for_its_first_time_and_what_reads_it_follows(line):
    """A first download and training may take a day and a GPU; nobody expects them of a switch."""
    assert line.launched() == set()
    line.made("raw/chartqa", "1")
    assert line.launched() == {"ocr/chartqa"}
    assert line.launched() == set(), "what was asked for is not asked for again"


def test_the_same_bytes_again_launch_nothing(settled):
    settled.made("raw/chartqa", "1")
    assert settled.launched() == set()
    settled.made("merged/train", "1")
    assert settled.launched() == set()


def test_other_bytes_launch_what_reads_them_and_nothing_else(settled):
    settled.made("raw/chartqa", "2")
    assert settled.launched() == {"ocr/chartqa"}, "unified waits for OCR"
    settled.made("ocr/chartqa", "2")
    assert settled.launched() == {"unified/chartqa"}
    settled.made("unified/chartqa", "1")
    assert settled.launched() == set(), "OCR read other pictures to the same rows: nothing below is made"


def test_a_new_model_is_evaluated_and_put_to_the_gate_by_itself(settled):
    settled.made("checkpoint/r3", "2")
    seen = []
    for name in ("model/r3", "evaluation/r3", "report", "champion"):
        seen.append(settled.launched())
        settled.made(name, "2")
    assert seen == [{"model/r3"}, {"evaluation/r3"}, {"report"}, {"champion"}]
    assert settled.launched() == set()


@pytest.mark.parametrize("has_control", [False, True])
def test_an_evaluation_waits_for_the_model_that_a_new_index_leads_to(settled, has_control):
    """It reads the index too, but by then the model would be the old one. Nothing waits for the control."""
    if has_control:
        for name in ("control/checkpoint", "control/model", "control/evaluation"):
            settled.made(name, "1")
        assert settled.launched() == {"report"}, "which shows it from now on"
        settled.made("report", "1")
        assert settled.launched() == set()
    settled.made("index/text", "2")
    assert settled.launched() == {"index/neighbours", "index/quality"}
    settled.made("index/quality", "2")
    for name, following in (
        ("index/neighbours", {"checkpoint/r3"}),
        ("checkpoint/r3", {"model/r3"}),
        ("model/r3", {"evaluation/r3"}),
        ("evaluation/r3", {"report"}),
        ("report", {"champion"}),
    ):
        settled.made(name, "2")
        assert settled.launched() == following, name


def test_while_a_check_has_not_passed_nothing_below_goes_ahead_by_a_shorter_way(settled):
    """As between a materialization and the end of its checks in the same run."""
    settled.made("index/text", "2")
    assert settled.launched() == {"index/neighbours", "index/quality"}
    settled.made("index/quality", "2")
    settled.made("index/neighbours", "2")
    settled.checked("index/neighbours", "no_own_picture", passed=False)
    assert settled.launched() == set(), "evaluation/r3 reads index/text too"
    settled.checked("index/neighbours", "no_own_picture", passed=True)
    assert settled.launched() == {"checkpoint/r3"}


def test_nothing_is_built_on_a_failed_check(settled):
    settled.made("report", "2")
    settled.checked("report", "no_regression", passed=False)
    assert "champion" not in settled.launched()
    settled.made("index/text", "2")
    settled.checked("index/text", "no_evaluation_picture", passed=False)
    assert settled.launched() == set()


@pytest.mark.parametrize("name", ["raw/chartqa", "models/clip", "merged/train", "checkpoint/r3", "report", "champion"])
def test_changed_code_makes_its_asset_anew(settled, name):
    """As after a deployment of another version of one stage."""
    deployed(settled, name, "another")
    assert settled.launched() == {name}
    settled.made(name, "1")
    assert settled.launched() == set(), "the same bytes by other code"


def test_changed_code_above_and_below_is_made_from_above(settled):
    deployed(settled, "model/r3", "another")
    deployed(settled, "evaluation/r3", "another")
    assert settled.launched() == {"model/r3"}
    settled.made("model/r3", "2")
    assert settled.launched() == {"evaluation/r3"}


@pytest.mark.parametrize(
    ("name", "readers"),
    [("unified/chartqa", {"merged/train", "merged/val", "merged/test"}), ("report", {"champion"})],
)
def test_what_was_wiped_is_made_again_once_and_its_readers_are_gone_through(settled, name, readers):
    """To Dagster the version that comes back is a new one; the readers' stages find their inputs as they were."""
    settled.wiped(name)
    assert settled.launched() == {name}
    assert settled.launched() == set()
    settled.made(name, "1")
    assert settled.launched() == readers
    for reader in readers:
        settled.made(reader, "1")
    assert settled.launched() == set()


def test_an_asset_that_is_being_made_is_not_asked_for_again_and_nothing_goes_ahead_of_it(settled):
    """Somebody makes the model by hand; other code of its evaluation is deployed, and a new checkpoint comes."""
    read = settled.versions(AssetKey(["model", "r3"]))
    run = settled.begun("model/r3")
    deployed(settled, "evaluation/r3", "another")
    assert settled.launched() == set()
    settled.made("checkpoint/r3", "2")
    assert settled.launched() == set()
    settled.made("model/r3", "1", read)
    settled.ended(run, DagsterEventType.PIPELINE_SUCCESS)
    assert settled.launched() == {"model/r3"}, "it was made from the checkpoint before"
    settled.made("model/r3", "2")
    assert settled.launched() == {"evaluation/r3"}


def test_what_failed_is_not_tried_again_and_nothing_is_built_around_it_until_its_input_changes(settled):
    settled.made("raw/chartqa", "2")
    assert settled.launched() == {"ocr/chartqa"}
    settled.ended(settled.begun("ocr/chartqa"), DagsterEventType.PIPELINE_FAILURE)
    deployed(settled, "unified/chartqa", "another")
    for _ in range(3):
        assert settled.launched() == set()
    settled.made("raw/chartqa", "3")
    assert settled.launched() == {"ocr/chartqa"}
    run = settled.begun("ocr/chartqa")
    settled.made("ocr/chartqa", "3")
    settled.ended(run, DagsterEventType.PIPELINE_SUCCESS)
    assert settled.launched() == {"unified/chartqa"}


@pytest.mark.parametrize("how", [DagsterEventType.PIPELINE_FAILURE, DagsterEventType.PIPELINE_CANCELED])
def test_nothing_goes_ahead_by_a_shorter_way_while_a_run_that_was_lost_waits_to_be_tried_again(settled, how):
    """A retry is planned before it is queued: for a moment it neither goes on nor has failed."""
    settled.made("index/text", "2")
    settled.launched()
    settled.made("index/quality", "2")
    settled.made("index/neighbours", "2")
    assert settled.launched() == {"checkpoint/r3"}
    settled.ended(settled.begun("checkpoint/r3"), how)
    assert settled.launched() == set(), "evaluation/r3 reads index/text too"
    settled.begun("checkpoint/r3", dg.DagsterRunStatus.NOT_STARTED)
    assert settled.launched() == set()
    settled.made("checkpoint/r3", "2")
    assert settled.launched() == {"model/r3"}


def test_what_is_asked_for_at_the_same_tick_goes_ahead_of_what_reads_it(settled):
    deployed(settled, "ocr/chartqa", "another")
    settled.wiped("unified/chartqa")
    assert settled.launched() == {"ocr/chartqa"}
    settled.made("ocr/chartqa", "1")
    assert settled.launched() == {"unified/chartqa"}


def test_a_run_that_a_change_started_says_why(settled):
    """Told by the sensor itself, ticked as Dagster's code server does."""
    settled.made("raw/chartqa", "2")
    deployed(settled, "report", "another")
    repository = settled.definitions.get_repository_def()
    with dg.build_sensor_context(instance=settled.instance, repository_def=repository) as context:
        data = repository.get_sensor_def("retraining_on_change").evaluate_tick(context)
    (request,) = data.run_requests
    assert set(request.asset_selection) == {AssetKey(["ocr", "chartqa"]), AssetKey(["report"])}
    assert request.tags["r3pp/why"] == (
        "ocr/chartqa: has a new dependency data version (raw/chartqa); report: has a new code version"
    )
    assert data.cursor, "what Dagster itself gave stays"
    assert data.automation_condition_evaluations


@pytest.mark.parametrize(
    ("name", "message", "will_retry", "num_requests"),
    [
        ("checkpoint/r3", "Failed to retry run", "false", 1),
        ("checkpoint/r3", "Not retrying run since it failed due to an asset or op failure", "false", 0),
        ("checkpoint/r3", "Retrying the run", "true", 0),
        ("control/checkpoint", "Failed to retry run", "false", 0),
    ],
)
def test_a_lost_run_that_no_code_server_was_there_to_try_again_is_tried_again_once(
    settled, name, message, will_retry, num_requests
):
    run = settled.begun(name)
    settled.ended(run, DagsterEventType.PIPELINE_FAILURE)
    settled.instance.report_engine_event(message, run)
    settled.instance.add_run_tags(run.run_id, {"dagster/will_retry": will_retry})
    repository = settled.definitions.get_repository_def()
    with dg.build_sensor_context(instance=settled.instance, repository_def=repository) as context:
        data = repository.get_sensor_def("retraining_on_change").evaluate_tick(context)
    assert len(data.run_requests or []) == num_requests
    for request in data.run_requests or []:
        assert request.run_key == f"instead of {run.run_id}", "by which Dagster makes one run of all its requests"
        assert request.asset_selection == [AssetKey(name.split("/"))]
        assert request.tags["dagster/max_retries"] == "2"
        assert request.tags["r3pp/why"].startswith(f"run {run.run_id[:8]} was lost")


def test_of_a_lost_run_only_what_is_left_is_tried_again(settled):
    keys = [AssetKey(["index", "neighbours"]), AssetKey(["index", "quality"])]
    run = settled.instance.add_run(
        DagsterRun("full", asset_selection=frozenset(keys), status=dg.DagsterRunStatus.STARTED)
    )
    made = AssetMaterialization(keys[0], tags={"dagster/data_version": "2"})
    event = DagsterEvent("ASSET_MATERIALIZATION", "full", event_specific_data=StepMaterializationData(made, []))
    settled.instance.report_dagster_event(event, run.run_id)
    settled.ended(run, DagsterEventType.PIPELINE_FAILURE)
    settled.instance.report_engine_event("Failed to retry run", run)
    settled.instance.add_run_tags(run.run_id, {"dagster/will_retry": "false"})
    (request,) = lost_runs(settled.graph, settled.instance)
    assert request.asset_selection == keys[1:]
    settled.checked("index/neighbours", "no_own_picture", passed=False)
    (request,) = lost_runs(settled.graph, settled.instance)
    assert request.asset_selection == keys, "its checks have to be seen to pass"


def test_a_change_that_comes_while_the_asset_is_being_made_is_not_lost(settled):
    settled.made("raw/chartqa", "2")
    assert settled.launched() == {"ocr/chartqa"}
    began_with = settled.versions(AssetKey(["ocr", "chartqa"]))
    settled.made("raw/chartqa", "3")
    settled.made("ocr/chartqa", "2", began_with)
    assert settled.launched() == {"ocr/chartqa"}
    settled.made("ocr/chartqa", "3")
    assert settled.launched() == {"unified/chartqa"}


def test_a_change_that_stood_when_the_switch_was_turned_on_is_taken_up(line):
    line.all_made()
    line.made("raw/chartqa", "2")
    assert line.launched() == {"ocr/chartqa"}


def test_who_makes_all_of_it_by_hand_leaves_nothing_to_do(settled):
    settled.made("raw/chartqa", "2")
    settled.made("ocr/chartqa", "2")
    settled.made("unified/chartqa", "1")
    assert settled.launched() == set()


def deployed(line, name, code_version):
    """The line's definitions with another code version of one asset."""
    key = AssetKey(name.split("/"))
    changed = line.definitions.map_resolved_asset_specs(
        func=lambda spec: spec.replace_attributes(code_version=code_version) if spec.key == key else spec
    )
    line.definitions, line.graph = changed, changed.resolve_asset_graph()


def test_code_that_is_deployed_right_after_a_request_is_not_lost(settled):
    """A run of the old code would be under way, and the change would wait for its end; here no run is."""
    settled.made("evaluation/r3", "2")
    assert settled.launched() == {"report"}
    deployed(settled, "report", "another")
    assert settled.launched() == {"report"}
    settled.made("report", "3")
    assert settled.launched() == {"champion"}


def test_code_that_was_changed_when_the_switch_was_turned_on_is_taken_up(line):
    line.all_made()
    deployed(line, "report", "another")
    assert line.launched() == {"report"}
