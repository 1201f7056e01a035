"""Nonsense is refused where a run is asked for, before it exists; what the launchpad begins with is not.

Through the UI's GraphQL and a code server, with dagster.yaml. No daemon is there to start what is queued.
"""

import json
import re
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.selector import JobSubsetSelector
from dagster._core.errors import DagsterUserCodeProcessError
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_graphql.test.utils import execute_dagster_graphql

PROJECT = Path(__file__).resolve().parents[2]
LAUNCH = """
mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { status } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def ui_workspace(root):
    """The code location in a server's process, as webserver and daemon see it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DAGSTER_HOME", str(PROJECT / "dagster_home"))
        environment.setenv("R3PP_STORAGE", str(root / ".dagster"))
        environment.setenv("R3PP_ROOT", str(root))
        environment.setenv("R3PP_PROFILE", "smoke")
        with (
            dg.DagsterInstance.get() as instance,
            WorkspaceProcessContext(instance, WorkspaceFileTarget([str(PROJECT / "workspace.yaml")])) as workspace,
        ):
            yield workspace


@pytest.fixture
def ui(ui_workspace, root):
    """`ui(job, run_config)`: the answer to a click on Launch, and how many runs there are more. Nothing is made."""

    def launch(job: str, run_config: dict) -> tuple[dict, int]:
        before = ui_workspace.instance.get_runs_count()
        selector = {"repositoryLocationName": "r3pp", "repositoryName": "__repository__", "jobName": job}
        params = {"selector": selector, "runConfigData": json.dumps(run_config)}
        context = ui_workspace.create_request_context()
        answer = execute_dagster_graphql(context, LAUNCH, {"params": params}).data["launchRun"]
        assert [path.name for path in root.iterdir()] == [".dagster"]
        return answer, ui_workspace.instance.get_runs_count() - before

    return launch


def of(op: str, **config) -> dict:
    return {"ops": {op: {"config": config}}}


REFUSED = {
    "max_steps: .* at least 1": of("checkpoint__r3", max_steps=0),
    "lora_lr: .* more than 0 and at most 1": of("checkpoint__r3", lora_lr=3.0),
    "r3.nope: .*not permitted": of("checkpoint__r3", overrides={"r3": {"nope": 1}}),
    "eval_every: .*greater than or equal to 1": of("checkpoint__r3", overrides={"eval_every": 0}),
    "choose one of bf16 and fp16": of("checkpoint__r3", bf16=True, fp16=True),
    "recipe not in enum type one of sample, .*, stage5_robust got nope": of("checkpoint__r3", recipe="nope"),
    "backend not in enum type one of single, fsdp, deepspeed got mpi": of("checkpoint__r3", backend="mpi"),
    r"split not in enum type Literal\['val', 'test'\] got train": of("evaluation__r3", split="train"),
    r"levels: levels lie in 0..1 \(got \[2.0\]\)": of("evaluation__base", levels=[2.0]),
    "max_new_tokens: .* at least 1": of("evaluation__base", max_new_tokens=0),
    "splits.* not in enum type one of train, val, test got all": of("raw__chartqa", splits=["all"]),
    r"index_type: .*\(got 'Tree'\)": of("index__text", index_type="Tree"),
    r"search_parameters: .*\(got 'nodes=3'\)": of("index__text", search_parameters="nodes=3"),
    "device: .* cpu, cuda or cuda:<n>": of("index__image", device="tpu"),
    "roll_back_to is for roll_back": of("champion", roll_back_to=2),
    "candidate: ": of("champion", candidate="../r3"),
    "num_processes: .* at least 1": {"resources": {"launcher": {"config": {"num_processes": 0}}}},
    "slurm.node: ": {"resources": {"launcher": {"config": {"slurm": {"node": 2}}}}},
    "min_row: ": {"resources": {"workspace": {"config": {"root": "/w", "gate": {"min_row": 2}}}}},
}


@pytest.mark.parametrize("words", REFUSED)
def test_nonsense_starts_nothing_and_is_told_with_the_field_and_what_it_may_be(ui, words):
    answer, num_runs = ui("full", REFUSED[words])
    assert num_runs == 0
    told = answer.get("message") or answer["errors"][0]["message"]
    assert re.search(words, told), told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "config"),
    [
        ("name: 'r3' cannot name results", {"name": "r3"}),
        ("arms.* not in enum type one of r3, .*, control got base", {"arms": ["base"]}),
    ],
)
def test_so_is_nonsense_for_the_evaluation_of_a_checkpoint(ui, words, config):
    answer, num_runs = ui("evaluate_only", of("evaluate_checkpoint", **config))
    assert num_runs == 0
    assert re.search(words, answer.get("message") or answer["errors"][0]["message"])


JOBS = ["ingest", "index", "train", "evaluate", "full", "retrain", "control", "proof", "promote", "rollback"]
JOBS += ["evaluate_only"]
BEGINS_WITH = {"rollback": of("champion", roll_back=True), "retrain": of("checkpoint__r3", force=True)}


@pytest.mark.parametrize("job", JOBS)
def test_what_the_launchpad_begins_with_is_accepted_and_waits_for_its_turn(ui, job):
    from r3pp_assets.definitions import defs

    given = defs().resolve_job_def(job).run_config or {}
    assert given == BEGINS_WITH.get(job, {})
    assert ui(job, given) == ({"__typename": "LaunchRunSuccess", "run": {"status": "QUEUED"}}, 1)


def test_a_run_that_a_sensor_asks_for_is_refused_as_well(ui_workspace):
    """The daemon asks the code server for a plan, as the webserver does, before it creates a run."""
    context = ui_workspace.create_request_context()
    job = context.get_full_job(JobSubsetSelector("r3pp", "__repository__", "train", None))
    with pytest.raises(DagsterUserCodeProcessError, match=r"nothing was started: batch_size: .* at least 1"):
        context.get_execution_plan(job, of("checkpoint__r3", batch_size=0), None, None)
