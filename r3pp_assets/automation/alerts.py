"""Says that a run failed, or that the gate closed: in the log, and to a webhook where R3PP_WEBHOOK names one."""

import json
import os
import urllib.request
from collections.abc import Sequence

import dagster as dg
from dagster import DagsterEventType

TIMEOUT_S = 10
WEBHOOK = "R3PP_WEBHOOK"


@dg.run_failure_sensor(
    name="failed_runs",
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Says which run failed and why, a closed gate with its reasons: in the log, and as JSON with `text` "
    f"(as Slack and Mattermost take it) to the address in {WEBHOOK}. Off until turned on.",
)
def failed_runs(context: dg.RunFailureSensorContext) -> None:
    text = message(context.dagster_run, context.failure_event.message or "", failed_checks(context))
    context.log.error(text)
    if address := os.environ.get(WEBHOOK):
        post(address, {"text": text, "job": context.dagster_run.job_name, "run_id": context.dagster_run.run_id})


def failed_checks(context: dg.RunFailureSensorContext) -> list[str]:
    """What the run's failed checks said, `<asset> <check>: <description>` each."""
    entries = context.instance.all_logs(context.dagster_run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [entry.dagster_event.asset_check_evaluation_data for entry in entries if entry.dagster_event]
    return [
        f"{check.asset_key.to_user_string()} {check.check_name}: {check.description or 'failed'}"
        for check in found
        if not check.passed
    ]


def message(run: dg.DagsterRun, error: str, checks: Sequence[str]) -> str:
    why = "; ".join(checks) or error
    return f"run {run.run_id[:8]} of {run.job_name} failed: {why}"


def post(address: str, content: dict[str, str]) -> None:
    """Raises OSError or ValueError, which the sensor's tick shows, where the address does not take it."""
    if not address.startswith(("http://", "https://")):
        raise ValueError(f"{WEBHOOK} is {address!r}; give an address that begins with http:// or https://")
    request = urllib.request.Request(
        address, json.dumps(content).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S):
        pass
