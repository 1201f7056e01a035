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
STAGES = ("ingest", "retrieval", "model", "training", "evaluation", "champion", "recipes", "sample", "corruption")


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


def test_loading_the_definitions_imports_of_a_stage_only_its_config_and_its_words(loaded):
    of_stages = {name for name in loaded for stage in STAGES if name.startswith(f"r3pp_core.{stage}.")}
    assert {name for name in of_stages if name.split(".")[-1] not in ("config", "reasons")} == set()
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


def test_a_profile_selects_the_root_and_an_unknown_one_is_refused():
    code = (
        "from r3pp_assets.resources.environment import workspace_from_environment as r\n"
        "w = r(); print(w.root, w.settings.recipe)"
    )
    assert run_python(code, R3PP_PROFILE="full", R3PP_ROOT="").split()[0].endswith("workspace/full")
    assert run_python(code, R3PP_PROFILE="full").split()[1] == "qwen3vl_8b_lora"
    with pytest.raises(AssertionError, match="choose one of sample, smoke, full"):
        run_python(code, R3PP_PROFILE="tiny")


def test_the_instance_settings_are_valid_and_keep_history_inside_the_workspace(tmp_path):
    """dagster.yaml with its variables makes a real instance; telemetry is off."""
    found = run_python(
        "import dagster as dg\n"
        "with dg.DagsterInstance.get() as instance:\n"
        "    print(instance.telemetry_enabled, instance.run_storage)",
        DAGSTER_HOME=str(PROJECT / "dagster_home"),
        R3PP_STORAGE=str(tmp_path / "history"),
    )
    assert found.startswith("False")
    assert list((tmp_path / "history").rglob("*.db"))


def test_how_often_sensors_look_is_whole_seconds():
    code = "from r3pp_assets.resources.environment import tick_s as t; print(t())"
    assert run_python(code, R3PP_TICK_S="") == "30\n"
    assert run_python(code, R3PP_TICK_S="5") == "5\n"
    with pytest.raises(AssertionError, match=r"R3PP_TICK_S is '0.5'; give whole seconds"):
        run_python(code, R3PP_TICK_S="0.5")
