"""A rank on its own, without a launcher that would sweep it away."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil

import r3pp_core
from r3pp_core.launch.orphans import PARENT_VARIABLE

PATHS = [str(Path(r3pp_core.__file__).parents[1]), str(Path(__file__).parent)]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS), "LOCAL_RANK": "0"}
SPAWN = "import subprocess, sys; subprocess.run([sys.executable, '-m', 'launched', sys.argv[1], 'until_stopped'])"


def test_a_rank_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    starter = subprocess.Popen([sys.executable, "-c", SPAWN, str(tmp_path)], env=ENVIRONMENT)
    while not (tmp_path / "progress.jsonl").exists():
        assert starter.poll() is None
        time.sleep(0.01)
    rank = psutil.Process(int((tmp_path / "rank_0.pid").read_text()))
    starter.kill()
    starter.wait()
    assert_ends(rank)


def assert_ends(process: psutil.Process) -> None:
    deadline = time.monotonic() + 20
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


WORKERS = """
import os
import sys
import time
from pathlib import Path
from r3pp_core.ingest.workers import worker_pool
pool = worker_pool(1)
pid = pool.submit(os.getpid).result()
pool.submit(time.sleep, 600)
Path(sys.argv[1]).write_text(str(pid))
input()
"""


def test_a_worker_ends_with_its_parent_even_where_sigterm_was_handed_down_as_ignored(tmp_path: Path) -> None:
    found = tmp_path / "pid"
    script = tmp_path / "main.py"
    script.write_text(f"if __name__ == '__main__':\n{textwrap.indent(WORKERS, '    ')}")
    command = ["env", "--ignore-signal=TERM", sys.executable, str(script), str(found)]
    parent = subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.PIPE)
    while not (found.exists() and found.read_text()):
        assert parent.poll() is None
        time.sleep(0.01)
    worker = psutil.Process(int(found.read_text()))
    parent.kill()
    parent.wait()
    assert_ends(worker)


def test_a_rank_whose_starter_is_gone_already_does_not_begin(tmp_path: Path) -> None:
    """The kernel tells nothing about a parent that died before it was asked, so the rank must look by itself."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    command = [sys.executable, "-m", "launched", str(tmp_path), "until_stopped"]
    rank = subprocess.run(command, env={**ENVIRONMENT, PARENT_VARIABLE: str(gone.pid)}, timeout=60)
    assert rank.returncode == -signal.SIGKILL
    assert not (tmp_path / "rank_0.pid").exists()
