"""The three services of deploy/systemd as processes, with their own commands; killed, they are started again."""

import configparser
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import yaml
from conftest import UI_START_S, free_port
from driven_ui import DrivenUi

from r3pp_assets.demo import PROJECT_DIR

SERVICES = ("code", "webserver", "daemon")
BIN = Path(sys.executable).parent


def _runs_of(process: psutil.Process) -> list[psutil.Process]:
    """The runs below a code server, which it starts as Python's multiprocessing does."""
    found = []
    for one in process.children(recursive=True):
        with suppress(psutil.Error):  # it ended meanwhile
            if "spawn_main" in " ".join(one.cmdline()):
                found.append(one)
    return found


def command_of(service: str, ports: dict[str, str], workspace: Path) -> list[str]:
    """ExecStart of a unit with this environment's programs, other ports and another workspace file."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(PROJECT_DIR / "deploy" / "systemd" / f"r3pp-{service}.service")
    words = shlex.split(unit["Service"]["ExecStart"])
    assert Path(words[0]).parent == Path("/srv/r3pp/.venv/bin"), words
    named = {"deploy/workspace.yaml": str(workspace), **ports}
    return [str(BIN / Path(words[0]).name), *(named.get(word, word) for word in words[1:])]


class Deployment(DrivenUi):
    """A workspace with its services. As systemd does, `guard` starts again what ended."""

    def __init__(self, root: Path, **env: str) -> None:
        self.root = root
        ports = {"4266": str(free_port()), "3000": str(free_port())}
        super().__init__(f"http://127.0.0.1:{ports['3000']}")
        described = yaml.safe_load((PROJECT_DIR / "deploy" / "workspace.yaml").read_text())
        described["load_from"][0]["grpc_server"]["port"] = int(ports["4266"])
        workspace = root / "deploy-workspace.yaml"
        workspace.write_text(yaml.safe_dump(described))
        self.env = {
            **os.environ,
            "DAGSTER_HOME": str(PROJECT_DIR / "dagster_home"),
            "R3PP_ROOT": str(root),
            "R3PP_STORAGE": str(root / ".dagster"),
            "PYTHONUNBUFFERED": "1",
            **env,
        }
        self.commands = {service: command_of(service, ports, workspace) for service in SERVICES}
        self.processes: dict[str, subprocess.Popen] = {}
        self.num_starts = dict.fromkeys(SERVICES, 0)
        self._ends = threading.Event()
        self._guard = threading.Thread(target=self._guarded)
        self._guard.start()
        self.wait_for_answer()
        self.wait_for(self._is_loaded, "code location", UI_START_S)

    def _guarded(self) -> None:
        while not self._ends.wait(0.5):
            for service in SERVICES:
                process = self.processes.get(service)
                if process is None or process.poll() is not None:
                    self.processes[service] = self._start(service)

    def _start(self, service: str) -> subprocess.Popen:
        self.num_starts[service] += 1
        with (self.root / f"{service}.log").open("ab") as log:
            return subprocess.Popen(
                self.commands[service], stdout=log, stderr=log, cwd=PROJECT_DIR, env=self.env, start_new_session=True
            )

    def kill(self, service: str, *, with_runs: bool) -> None:
        """`kill -9` of the service and of what helps it; `with_runs` of the runs that it started, too."""
        process = psutil.Process(self.processes[service].pid)
        spared: set[psutil.Process] = set()
        for run in [] if with_runs else _runs_of(process):
            with suppress(psutil.Error):
                spared |= {run, *run.children(recursive=True)}
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error, ProcessLookupError):
                if one not in spared:
                    os.kill(one.pid, signal.SIGKILL)

    def wait_for_answer(self) -> None:
        deadline = time.monotonic() + UI_START_S
        while True:
            with suppress(OSError), urllib.request.urlopen(f"{self.address}/server_info", timeout=2):
                return
            assert time.monotonic() < deadline, self.logs()
            time.sleep(1)

    def _is_loaded(self) -> bool:
        found = self.ask("query { repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
        return bool(found["repositoriesOrError"].get("nodes"))

    def ask(self, query: str, **variables) -> dict:
        """As a person does who reloads the page while the webserver is being started again."""
        deadline = time.monotonic() + UI_START_S
        while True:
            try:
                return super().ask(query, **variables)
            except (OSError, KeyError, TypeError, ValueError):
                assert time.monotonic() < deadline, self.logs()
                time.sleep(1)

    def logs(self) -> str:
        return "\n".join(f"{name}: {(self.root / f'{name}.log').read_text()[-1500:]}" for name in SERVICES)

    def told(self) -> str:
        return f"{self.runs()} {self.logs()}"

    def stop(self) -> None:
        self._ends.set()
        self._guard.join()
        for process in self.processes.values():
            family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            for one in (process, *family):
                with suppress(psutil.Error, ProcessLookupError):
                    os.kill(one.pid, signal.SIGKILL)
            process.wait()
