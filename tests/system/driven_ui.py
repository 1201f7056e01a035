"""The UI's own interface, as a person's clicks use it: launch, cancel, turn sensors on, and wait."""

import json
import time
import urllib.error
import urllib.request

WAIT_S = 240
LAUNCH = """
mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }
"""
RUNS = """
query { runsOrError { ... on Runs { results { runId parentRunId status jobName tags { key value }
  assetSelection { path } } } } }
"""
CANCEL = "mutation ($run: String!) { terminateRun(runId: $run) { __typename ... on PythonError { message } } }"
TURN_ON = """
mutation ($selector: SensorSelector!) { startSensor(sensorSelector: $selector) { __typename
  ... on Sensor { sensorState { status } } ... on PythonError { message } } }
"""
TICKS = """
query ($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) { __typename
  ... on Sensor { sensorState { ticks(limit: 200) { status timestamp skipReason } } } } }
"""
FAILURES = """
query ($run: ID!) { runOrError(runId: $run) { ... on Run { eventConnection { events { __typename
  ... on ExecutionStepFailureEvent { error { message causes { message } } } } } } } }
"""
CODE = {"repositoryLocationName": "r3pp", "repositoryName": "__repository__"}


class DrivenUi:
    """A running UI at `address`."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, query: str, **variables) -> dict:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.address}/graphql", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()[-3000:]) from error

    def launch(self, job: str, assets: list[str], ops: dict, *, checks: bool = False) -> str:
        """Launch part of a job, with the assets' checks or without; the run's id."""
        selection = [{"path": name.split("/")} for name in assets]
        params = {
            "selector": {
                **CODE,
                "jobName": job,
                "assetSelection": selection,
                **({} if checks else {"assetCheckSelection": []}),
            },
            "runConfigData": json.dumps({"ops": ops}),
        }
        launched = self.ask(LAUNCH, params=params)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]

    def runs(self) -> list[dict]:
        return self.ask(RUNS)["runsOrError"]["results"]

    def status(self, run: str) -> str:
        return next(found["status"] for found in self.runs() if found["runId"] == run)

    def errors(self, run: str) -> list[str]:
        """What its failed steps said."""
        events = self.ask(FAILURES, run=run)["runOrError"]["eventConnection"]["events"]
        found = [event["error"] for event in events if event["__typename"] == "ExecutionStepFailureEvent"]
        return ["\n".join([error["message"], *(one["message"] for one in error["causes"])]) for error in found]

    def turn_on(self, sensor: str) -> None:
        found = self.ask(TURN_ON, selector={**CODE, "sensorName": sensor})["startSensor"]
        assert found["__typename"] == "Sensor", found

    def ticks(self, sensor: str) -> list[dict]:
        """The last ticks that ended, newest first."""
        found = self.ask(TICKS, selector={**CODE, "sensorName": sensor})["sensorOrError"]["sensorState"]["ticks"]
        return [tick for tick in found if tick["status"] != "STARTED"]

    def wait_for(self, is_so, what: str, wait_s: float = WAIT_S) -> None:
        deadline = time.monotonic() + wait_s
        while not is_so():
            assert time.monotonic() < deadline, f"no {what} within {wait_s:.0f} s: {self.told()}"
            time.sleep(0.5)

    def told(self) -> str:
        """What helps to see why nothing happened."""
        return str(self.runs())
