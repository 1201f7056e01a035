"""What an evaluation was made with stands beside it and changes nothing of it."""

import json
import platform
import subprocess
from datetime import datetime
from importlib.metadata import version

from r3pp_core.artefact import Outcome, Request, Target, build, is_whole
from r3pp_core.evaluation.environment import FILE, git_hash, write_environment


def test_it_names_the_date_the_commit_and_the_versions(tmp_path):
    write_environment(tmp_path)
    found = json.loads((tmp_path / FILE).read_text())
    assert datetime.fromisoformat(found["date"]).utcoffset().total_seconds() == 0
    assert found["python"] == platform.python_version()
    assert found["versions"]["torch"] == version("torch")
    assert found["versions"]["transformers"] == version("transformers")
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_the_artefact_beside_it_is_the_same_whatever_it_says(tmp_path):
    def make(staging):
        (staging / "results.json").write_text("{}")
        write_environment(tmp_path)
        return Outcome({})

    request = Request("evaluation/r3", "1", {}, {})
    first = build(Target(tmp_path), request, make)
    (tmp_path / FILE).write_text("{}")
    assert is_whole(Target(tmp_path), first)
    assert build(Target(tmp_path), request, make, force=True) == first
    assert set(first.files) == {"results.json"}
    assert json.loads((tmp_path / FILE).read_text())["date"]


def test_the_commit_is_that_of_the_project_s_own_checkout(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "a").write_text("1")
    subprocess.run([*git, "add", "a"], check=True)
    subprocess.run([*git, "commit", "-qm", "a"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert git_hash(tmp_path) == head
    (tmp_path / "a").write_text("2")
    assert git_hash(tmp_path) == f"{head}-dirty"
    (tmp_path / "site-packages").mkdir()
    assert git_hash(tmp_path / "site-packages") is None
