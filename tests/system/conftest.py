"""A demo on a small source, its UI as real processes, and a real browser on it."""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from r3pp_core.sample.config import SampleConfig
from r3pp_core.sample.write import write_sample

UI_START_S = 120
FIRST_FILES = ("test_by_itself.py", "test_slurm.py")
ANY_MODEL_PASSES = Path(__file__).parents[1] / "any_model_passes.json"


@dataclass
class Demo:
    """A finished `r3pp demo`: its workspace, its source, and what it printed."""

    root: Path
    source: Path
    exit_code: int
    output: str


def run_demo(source: Path, root: Path, gate: Path = ANY_MODEL_PASSES) -> Demo:
    """A few steps and rows show no gain for certain, so that the gate opens to any model unless told."""
    command = [sys.executable, "-m", "r3pp_core.cli", "demo", "--profile", "smoke"]
    command += ["--source", str(source), "--root", str(root)]
    env = {**os.environ, "R3PP_GATE": str(gate)}
    result = subprocess.run(command, capture_output=True, text=True, env=env)
    return Demo(root, source, result.returncode, result.stdout + result.stderr)


def small_demo(source: Path, root: Path) -> Demo:
    write_sample(source, SampleConfig(num_screens=6, num_charts=6, num_infographics=6))
    return run_demo(source, root)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files are handed out in this order: the longest first, beside it one that needs no demo."""
    places = {name: place for place, name in enumerate(FIRST_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session")
def finished_demo(tmp_path_factory, worker_id) -> Demo:
    """Made by the first worker that needs it, and changed by none."""
    folder = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        folder = folder.parent  # what pytest-xdist's workers have in common
    told = folder / "demo.json"
    with (folder / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            made = small_demo(folder / "source", folder / "workspace")
            told.write_text(json.dumps({"exit_code": made.exit_code, "output": made.output}))
    return Demo(folder / "workspace", folder / "source", **json.loads(told.read_text()))


@pytest.fixture(scope="session")
def demo(finished_demo, tmp_path_factory) -> Demo:
    """A copy for the tests that change their workspace."""
    root = tmp_path_factory.mktemp("copy") / "workspace"
    shutil.copytree(finished_demo.root, root, symlinks=True)
    return replace(finished_demo, root=root)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_ui(root: Path, **env: str) -> tuple[subprocess.Popen, str]:
    """`r3pp ui` in a session of its own, and its address once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "r3pp_assets.ui", "--root", str(root), "--port", str(port)]
    log = (root / "ui.log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **env})
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + UI_START_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/server_info", timeout=2):
                return process, address
        except OSError:
            assert process.poll() is None, (root / "ui.log").read_text()
            time.sleep(1)
    raise AssertionError(f"the UI did not answer within {UI_START_S} s: {(root / 'ui.log').read_text()[-2000:]}")


def stop_ui(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def open_browser(profile_dir: Path):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--window-size=1600,1000",
        f"--user-data-dir={profile_dir}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


def close(gate: Path) -> None:
    """Ask for more robustness than there can be, and for nothing else."""
    gate.write_text(json.dumps({**json.loads(ANY_MODEL_PASSES.read_text()), "min_robustness_gain": 2}))


@pytest.fixture(scope="session")
def gate(demo) -> Path:
    """The file with what a champion has to show, read anew by every run of the UI."""
    return shutil.copyfile(ANY_MODEL_PASSES, demo.root / "gate.json")


@pytest.fixture(scope="session")
def ui(demo, gate) -> Iterator[str]:
    process, address = start_ui(demo.root, R3PP_GATE=str(gate))
    yield address
    stop_ui(process)


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator:
    driver = open_browser(tmp_path_factory.mktemp("chromium"))
    yield driver
    driver.quit()
