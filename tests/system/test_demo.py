"""`r3pp demo` as a user runs it: scores at the end, and nothing to do the second time."""

import os
import shutil
import subprocess
import sys

import pytest

from r3pp_assets.demo import PROJECT_DIR

pytestmark = pytest.mark.system


def test_the_demo_ends_with_scores_the_report_and_the_ui_command(finished_demo):
    assert finished_demo.exit_code == 0, finished_demo.output[-3000:]
    for dataset in ("screenqa", "chartqa", "infovqa"):
        assert dataset in finished_demo.output
    assert "smoke test: a few steps and rows" in finished_demo.output
    assert str(finished_demo.root / "results" / "report" / "report.html") in finished_demo.output
    assert "make ui" in finished_demo.output


def test_the_second_demo_launches_nothing(demo):
    from conftest import run_demo

    again = run_demo(demo.source, demo.root)
    assert again.exit_code == 0, again.output[-3000:]
    assert "nothing to launch" in again.output
    assert "r3@0" in again.output


def test_a_closed_gate_is_a_result_and_no_failure(demo, tmp_path):
    from conftest import close, run_demo

    forget_the_champion(demo)
    close(tmp_path / "gate.json")
    closed = run_demo(demo.source, demo.root, gate=tmp_path / "gate.json")
    assert closed.exit_code == 0, closed.output[-3000:]
    assert "the gate is closed, no new champion: mean of the data sets: area" in closed.output
    assert "r3@0" in closed.output
    assert not (demo.root / "champion" / "current").exists()
    assert run_demo(demo.source, demo.root).exit_code == 0
    assert (demo.root / "champion" / "current" / "model" / "config.json").is_file()


def forget_the_champion(demo) -> None:
    """As if there had been none yet: neither its files, nor what the history tells of it."""
    shutil.rmtree(demo.root / "champion")
    places = {"DAGSTER_HOME": str(PROJECT_DIR / "dagster_home"), "R3PP_STORAGE": str(demo.root / ".dagster")}
    command = [sys.executable, "-m", "dagster", "asset", "wipe", "champion", "--noprompt"]
    subprocess.run(command, check=True, env={**os.environ, **places}, capture_output=True)


def test_a_source_that_is_no_folder_is_one_sentence_and_exit_code_2(tmp_path):
    from conftest import run_demo

    wrong = run_demo(tmp_path / "none", tmp_path / "root")
    assert wrong.exit_code == 2
    assert wrong.output.count("\n") == 1
    assert "is not a folder" in wrong.output


def test_an_empty_source_names_what_is_missing_and_exits_1(tmp_path):
    from conftest import run_demo

    (tmp_path / "source").mkdir()
    wrong = run_demo(tmp_path / "source", tmp_path / "root")
    assert wrong.exit_code == 1
    assert "no Parquet file for screenqa" in wrong.output
    assert "Traceback" not in wrong.output
