"""Loading the definitions is light, and both ways of loading them agree."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "datasets", "faiss", "pandas")
# What an asset's function, an evaluation of automation or a run imports by itself.
THIRD_PARTY = ("numpy", "PIL", "pyarrow", "orjson", "msgspec", "matplotlib", "huggingface_hub", "psutil")
NOT_FOR_LOADING = (*HEAVY, *THIRD_PARTY, "sqlalchemy", "alembic")
STAGES = ("ingest", "retrieval", "model", "training", "evaluation", "champion", "sample", "corruption")
# What may be chosen in the launchpad, and the words for it.
LIGHT = ("config", "curriculum", "index_type", "levels", "reasons")


def run_python(code: str, **env: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, env={**os.environ, **env}
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules that loading the definitions imports."""
    found = run_python(
        "import sys, json, r3pp_assets.definitions as d\n"
        "assert d.defs().resolve_all_asset_specs()\n"
        "print(json.dumps(list(sys.modules)))"
    )
    return set(json.loads(found))


def test_loading_the_definitions_imports_nothing_heavy(loaded):
    assert loaded.isdisjoint(NOT_FOR_LOADING), loaded & set(NOT_FOR_LOADING)


def test_loading_the_definitions_imports_of_a_stage_only_what_the_launchpad_shows(loaded):
    of_stages = {name for name in loaded for stage in STAGES if name.startswith(f"r3pp_core.{stage}.")}
    assert {name for name in of_stages if name.split(".")[-1] not in LIGHT} == set()
    assert "r3pp_core.ingest.config" in of_stages


@pytest.mark.parametrize("module", ["r3pp_core.cli", "r3pp_core.training.__main__", "r3pp_assets.demo"])
def test_commands_start_without_anything_heavy(module):
    found = run_python(
        f"import sys, json, {module}\nprint(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    assert json.loads(found) == []


def test_workspace_yaml_and_pyproject_name_the_same_location_and_module():
    """Schedule and sensor state is keyed by the location's name."""
    loaded = yaml.safe_load((PROJECT / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert loaded["location_name"] == project["code_location_name"]
    assert loaded["module_name"] == project["code_location_target_module"]
    assert project["defs_module"] == "r3pp_assets.defs"  # as r3pp_assets/definitions.py has it


def test_a_profile_selects_the_root_and_an_unknown_one_is_refused():
    code = (
        "from r3pp_assets.resources.environment import workspace_from_environment as r\n"
        "w = r(); print(w.root, w.settings.recipe)"
    )
    assert run_python(code, R3PP_PROFILE="full", R3PP_ROOT="").split()[0].endswith("workspace/full")
    assert run_python(code, R3PP_PROFILE="full").split()[1] == "qwen3vl_8b_lora"
    with pytest.raises(AssertionError, match="choose one of sample, smoke, full"):
        run_python(code, R3PP_PROFILE="tiny")


SETTINGS_SCRIPT = """
import json, dagster as dg
with dg.DagsterInstance.get() as instance:
    pools = instance.get_concurrency_config().pool_config
    print(json.dumps({
        "telemetry": instance.telemetry_enabled,
        "queue": [type(instance.run_coordinator).__name__, instance.get_concurrency_config().run_queue_config[0]],
        "launcher": type(instance.run_launcher).__name__,
        "pools": [pools.default_pool_limit, pools.pool_granularity.value],
        "monitoring": instance.run_monitoring_settings,
        "retries": instance.get_settings("run_retries"),
        "retention": instance.get_settings("retention"),
        "logs": instance.compute_log_manager._base_dir,
    }))
"""


def test_the_instance_settings_are_what_the_documents_say_and_keep_history_inside_the_workspace(tmp_path):
    """dagster.yaml with its variables makes a real instance."""
    history = tmp_path / "history"
    env = {"DAGSTER_HOME": str(PROJECT / "dagster_home"), "R3PP_STORAGE": str(history)}
    assert json.loads(run_python(SETTINGS_SCRIPT, **env)) == {
        "telemetry": False,
        "queue": ["QueuedRunCoordinator", 4],
        "launcher": "WatchedRunLauncher",
        "pools": [1, "run"],
        "monitoring": {
            "enabled": True,
            "poll_interval_seconds": 30,
            "free_slots_after_run_end_seconds": 60,
            "cancel_timeout_seconds": 3600,
        },
        "retries": {"enabled": True, "max_retries": 0, "retry_on_asset_or_op_failure": False},
        "retention": {
            "schedule": {"purge_after_days": 30},
            "sensor": {"purge_after_days": {"skipped": 7, "failure": 30, "success": -1}},
        },
        "logs": str(history),
    }
    assert list(history.rglob("*.db"))


def test_how_often_sensors_look_is_whole_seconds():
    code = "from r3pp_assets.resources.environment import tick_s as t; print(t())"
    assert run_python(code, R3PP_TICK_S="") == "30\n"
    assert run_python(code, R3PP_TICK_S="5") == "5\n"
    with pytest.raises(AssertionError, match=r"R3PP_TICK_S is '0.5'; give whole seconds"):
        run_python(code, R3PP_TICK_S="0.5")
