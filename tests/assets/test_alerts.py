"""What is told of a run that failed, and that it arrives: a closed gate with its reasons, and whether it is retried."""

import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest
from dagster._core.storage.tags import MAX_RETRIES_TAG

from r3pp_assets.automation import alerts
from r3pp_assets.automation.alerts import failed_runs, post
from r3pp_core.errors import R3Error


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
    plain = urllib.request.urlopen
    answers = [ConnectionResetError(), None]

    def shaky(request, timeout):
        answer = answers.pop(0)
        if answer:
            raise answer
        return plain(request, timeout=timeout)

    monkeypatch.setattr(urllib.request, "urlopen", shaky)
    post(webhook[0], {"text": "x"})
    assert (webhook[1], answers) == ([{"text": "x"}], [])


def test_the_real_gate_that_closes_reaches_the_webhook_by_the_sensors_tick(
    broken, webhook, monkeypatch, tmp_path, any_model_passes
):
    address, posted = webhook
    monkeypatch.setenv("R3PP_WEBHOOK", address)
    gate = {**any_model_passes, "min_robustness_gain": 1.0}
    more_than_any = {"root": str(broken.root), "source": str(broken.source), "gate": gate}
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:

        def tick(cursor):
            with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
                return failed_runs.evaluate_tick(context)

        turned_on = tick(None)
        result = broken.definitions.resolve_job_def("evaluate").execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(["report"])],
            raise_on_error=False,
            run_config={"loggers": {"brief": {}}, "resources": {"workspace": {"config": more_than_any}}},
        )
        assert not result.success
        later = tick(turned_on.cursor)
        (told_once,) = posted
        tick(later.cursor)
    assert told_once["run_id"] == result.run_id
    assert " failed: report robustness_above_base: " in told_once["text"]
    assert "whose lower bound has to be above +100.0" in told_once["text"]
    assert posted == [told_once], "each failure is told once"


def test_a_run_that_dagster_tries_again_is_told_as_such_and_its_last_try_as_failed(webhook, monkeypatch, tmp_path):
    monkeypatch.setenv("R3PP_WEBHOOK", webhook[0])

    @dg.asset
    def training() -> None:
        raise dg.Failure("its rank was lost")

    retries = {"run_retries": {"enabled": True, "max_retries": 2}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=retries) as instance:
        for max_retries in (1, 0):
            result = dg.materialize(
                [training], instance=instance, raise_on_error=False, tags={MAX_RETRIES_TAG: str(max_retries)}
            )
            event = next(event for event in result.all_events if event.event_type_value == "PIPELINE_FAILURE")
            run = instance.get_run_by_id(result.run_id)
            failed_runs(
                dg.build_run_status_sensor_context(
                    sensor_name="failed_runs", dagster_instance=instance, dagster_run=run, dagster_event=event
                ).for_run_failure()
            )
    again, last = [told["text"].split(" ", 4)[-1] for told in webhook[1]]
    assert again == "failed and will be retried: training: its rank was lost"
    assert last == "failed: training: its rank was lost"
