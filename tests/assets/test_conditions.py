"""When the production line makes itself anew: told by Dagster's own evaluation, over the real graph."""

import dagster as dg
import pytest
from dagster import AssetKey, AssetMaterialization

from r3pp_assets.automation.jobs import PRODUCTION_LINE
from r3pp_assets.conditions import ON_CHANGE


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

    def launched(self):
        """What a tick of the sensor asks for."""
        result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        return {key.to_user_string() for key in self.graph.get_all_asset_keys() if result.get_num_requested(key) > 0}


@pytest.fixture
def line(monkeypatch, tmp_path):
    from r3pp_assets.definitions import defs

    monkeypatch.setenv("R3PP_PROFILE", "smoke")
    monkeypatch.setenv("R3PP_ROOT", str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Line(defs(), instance)


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


def test_changed_code_makes_its_asset_anew(settled):
    """As after a deployment of another version of the report."""
    deployed(settled, "report", "another")
    assert settled.launched() == {"report"}


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
