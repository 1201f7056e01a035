"""One small workspace, materialized once through the real graph: eighteen drawn pictures, four training steps."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.sample.config import SampleConfig
from r3pp_core.sample.write import write_sample
from r3pp_core.workspace import Workspace

SMALL_SWEEP = {"rows_per_dataset": 3, "levels": [0.0, 0.8]}
ANY_MODEL_PASSES = Path(__file__).parents[1] / "any_model_passes.json"
SMALL_RUN = {
    "loggers": {"brief": {}},
    "ops": {
        "checkpoint__r3": {"config": {"max_steps": 4, "overrides": {"eval_rows": 2, "save_every": 2}}},
        "control__checkpoint": {"config": {"max_steps": 4, "overrides": {"eval_rows": 2, "save_every": 2}}},
        "control__evaluation": {"config": SMALL_SWEEP},
        "index__quality": {"config": {"rows_per_dataset": 3, "levels": [0.0, 0.8]}},
        "evaluation__base": {"config": SMALL_SWEEP},
        "evaluation__r3": {"config": SMALL_SWEEP},
    },
}


@dataclass
class Made:
    """A finished run: its result, the instance that holds its events, and the workspace it wrote."""

    root: Path
    source: Path
    instance: dg.DagsterInstance
    definitions: dg.Definitions
    result: dg.ExecuteInProcessResult

    @property
    def paths(self) -> Workspace:
        return Workspace(self.root)

    @property
    def workspace(self) -> WorkspaceResource:
        return WorkspaceResource(root=str(self.root), profile="smoke", source=str(self.source))


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Iterator[Made]:
    source = tmp_path_factory.mktemp("source")
    root = tmp_path_factory.mktemp("workspace")
    write_sample(source, SampleConfig(num_screens=6, num_charts=6, num_infographics=6))
    before = dict(os.environ)
    where = {"R3PP_ROOT": str(root), "R3PP_SOURCE": str(source), "R3PP_GATE": str(ANY_MODEL_PASSES)}
    os.environ.update({"R3PP_PROFILE": "smoke", **where})
    try:
        from r3pp_assets.definitions import defs

        definitions = defs()
        with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
            result = definitions.resolve_job_def("proof").execute_in_process(
                instance=instance, run_config=SMALL_RUN, raise_on_error=False
            )
            yield Made(root, source, instance, definitions, result)
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="session")
def any_model_passes() -> dict:
    """A gate that opens to any model; a test that wants it closed says by which criterion."""
    found: dict = json.loads(ANY_MODEL_PASSES.read_text())
    return found


@pytest.fixture
def broken(made, tmp_path) -> Made:
    """A copy of the workspace that a test may damage."""
    root = tmp_path / "workspace"
    shutil.copytree(made.root, root, symlinks=True)
    return Made(root, made.source, made.instance, made.definitions, made.result)


@pytest.fixture(scope="session")
def run_experiment():
    """`run_experiment(made, name, sweep)`: two steps, export and evaluation by the assets, on its instance."""
    parts = [dg.AssetKey(["experiment", part]) for part in ("checkpoint", "model", "evaluation")]
    job = dg.define_asset_job("experiment", dg.AssetSelection.assets(*parts))

    def run(made: Made, name: str, sweep: dict) -> dg.ExecuteInProcessResult:
        made.instance.add_dynamic_partitions("experiment", [name])
        definitions = dg.Definitions.merge(made.definitions, dg.Definitions(jobs=[job]))
        return definitions.resolve_job_def("experiment").execute_in_process(
            instance=made.instance,
            partition_key=name,
            run_config={
                "loggers": {"brief": {}},
                "resources": {"workspace": {"config": {"root": str(made.root), "source": str(made.source)}}},
                "ops": {
                    "experiment__checkpoint": {"config": {"max_steps": 2, "overrides": {"eval_rows": 0}}},
                    "experiment__evaluation": {"config": sweep},
                },
            },
        )

    return run
