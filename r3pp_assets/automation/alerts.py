"""Says that a run failed, or that the gate closed: in the log, and to a webhook where R3PP_WEBHOOK names one."""

import json
import os
import time
from collections.abc import Sequence

import dagster as dg
from dagster import DagsterEventType
from dagster._core.storage.tags import WILL_RETRY_TAG

from r3pp_core.errors import R3Error

TIMEOUT_S = 10
PAUSES_S = (1, 5)
WEBHOOK = "R3PP_WEBHOOK"


@dg.run_failure_sensor(
    name="failed_runs",
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Says which run failed and why, a closed gate with its reasons, and whether it will be retried: in the "
    f"log, and as JSON with `text` (as Slack and Mattermost take it) to the address in {WEBHOOK}. Off until turned on.",
)
def failed_runs(context: dg.RunFailureSensorContext) -> None:
    run = context.dagster_run  # read after the failure, so that it holds what Dagster then decided of a retry
    text = message(run, failed_checks(context), failed_steps(context), context.failure_event.message or "")
    context.log.error(text)
    if address := os.environ.get(WEBHOOK):
        post(address, {"text": text, "job": run.job_name, "run_id": run.run_id})


def failed_checks(context: dg.RunFailureSensorContext) -> list[str]:
    """What the run's failed checks said, `<asset> <check>: <description>` each; not those that only warn."""
    entries = context.instance.all_logs(context.dagster_run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [entry.dagster_event.asset_check_evaluation_data for entry in entries if entry.dagster_event]
    return [
        f"{check.asset_key.to_user_string()} {check.check_name}: {check.description or 'failed'}"
        for check in found
        if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR
    ]


def failed_steps(context: dg.RunFailureSensorContext) -> list[str]:
    """What stopped the run's steps, `<step>: <error>` each; not what a failed check led to."""
    found = []
    for event in context.get_step_failure_events():
        error = event.step_failure_data.error
        while error is not None and error.cause is not None and error.cls_name == "DagsterExecutionStepExecutionError":
            error = error.cause
        if error is not None and error.cls_name != "DagsterAssetCheckFailedError":
            said = error.message.strip().removeprefix("dagster._core.definitions.events.").removeprefix("Failure: ")
            found.append(f"{event.step_key}: {said}")
    return found


def message(run: dg.DagsterRun, checks: Sequence[str], steps: Sequence[str], otherwise: str) -> str:
    what = "failed and will be retried" if run.tags.get(WILL_RETRY_TAG) == "true" else "failed"
    return f"run {run.run_id[:8]} of {run.job_name} {what}: {'; '.join([*checks, *steps]) or otherwise}"


def post(address: str, content: dict[str, str]) -> None:
    """Tried three times: Dagster does not come back to a failure that was told. The address holds a secret often, so
    that no error shows it.

    Raises R3Error, which the sensor's tick shows, where the address does not take it.
    """
    import urllib.request
    from http.client import HTTPException
    from urllib.error import HTTPError

    if not address.startswith(("http://", "https://")):
        raise R3Error(f"{WEBHOOK} is no address; give one that begins with http:// or https://")
    headers = {"Content-Type": "application/json"}
    for pause_s in (*PAUSES_S, None):
        try:
            request = urllib.request.Request(address, json.dumps(content).encode(), headers, method="POST")
            with urllib.request.urlopen(request, timeout=TIMEOUT_S):
                return
        except (OSError, ValueError, HTTPException) as error:
            why = f"{error.code} {error.reason}" if isinstance(error, HTTPError) else _plain(error)
            if pause_s is None:
                raise R3Error(f"the address in {WEBHOOK} did not take an alert: {why}") from None
            time.sleep(pause_s)


def _plain(error: Exception) -> str:
    """What is wrong, without what it was asked for."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, str):
        return "it cannot be used"
    return getattr(reason, "strerror", None) or type(reason).__name__
