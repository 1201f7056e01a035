"""All processes of one launch, found again wherever they went."""

import os
import time
from contextlib import suppress

import psutil

from r3pp_core.launch.messages import LAUNCH_ID_VARIABLE

KILL_WAIT_S = 10.0


class ProcessTree:
    """The processes of a launch: descendants seen while polling, and every process that carries the launch id.

    Ranks live in sessions of their own and lose their parent when torchrun is killed, so neither a process group
    nor a last look at the tree finds them all. A psutil.Process is a pid with its start time: a reused pid is
    never signalled.
    """

    def __init__(self, launch_id: str) -> None:
        self._launch_id = launch_id
        self._known: set[psutil.Process] = set()

    def remember(self, root_pid: int) -> None:
        try:
            root = psutil.Process(root_pid)
            self._known.update([root, *root.children(recursive=True)])
        except psutil.Error:
            return  # it ended between two looks; what it left is found by the launch id

    def alive(self) -> list[psutil.Process]:
        self._known.update(process for process in psutil.process_iter() if self._carries_id(process))
        return [process for process in self._known if _is_alive(process)]

    def end(self, term_grace_s: float) -> tuple[int, list[int]]:
        """SIGTERM to all that live, then SIGKILL. Returns how many were killed and the pids that survived even that.

        An interrupt while waiting goes straight on to the kill.
        """
        killed = 0
        try:
            for process in self.alive():
                _signal(process, kill=False)
            self._wait_until_gone(term_grace_s)
        finally:
            deadline = time.monotonic() + KILL_WAIT_S
            while (rest := self.alive()) and time.monotonic() < deadline:
                killed = max(killed, len(rest))
                for process in rest:
                    _signal(process, kill=True)
                time.sleep(0.05)
        return killed, [process.pid for process in rest]

    def _wait_until_gone(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and any(_is_alive(process) for process in self._known):
            time.sleep(0.05)

    def _carries_id(self, process: psutil.Process) -> bool:
        try:
            return process.pid != os.getpid() and process.environ().get(LAUNCH_ID_VARIABLE) == self._launch_id
        except (psutil.Error, OSError):
            return False  # another user's process, or one that has just ended


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _signal(process: psutil.Process, *, kill: bool) -> None:
    with suppress(psutil.Error):  # it has just ended, or became another user's
        process.kill() if kill else process.terminate()
