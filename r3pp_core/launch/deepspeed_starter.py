"""deepspeed as a launcher starts it: `python -m r3pp_core.launch.deepspeed_starter RUN_DIR <arguments>`.

The arguments are those of `deepspeed.launcher.launch`, the part of `deepspeed` that starts the ranks of a machine. The
command `deepspeed` itself would be one more process, which leaves that part and its ranks alive when it gets SIGTERM.
Two things are done otherwise: stubborn ranks are killed together after five seconds instead of one by one after thirty,
and a rank that was killed is told by its number.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

from r3pp_core.launch.failures import describe_lost
from r3pp_core.launch.messages import append_message
from r3pp_core.launch.orphans import PARENT_VARIABLE, die_with_parent

TERM_GRACE_S = 5.0


def main(arguments: list[str]) -> int:
    die_with_parent(signal.SIGTERM)
    os.environ[PARENT_VARIABLE] = str(os.getpid())

    from deepspeed.launcher import launch

    run_dir, *rest = arguments
    ranks: dict[int, subprocess.Popen[bytes]] = {}

    def start(command: list[str], env: dict[str, str], **options: Any) -> "subprocess.Popen[bytes]":
        ranks[int(env["RANK"])] = process = subprocess.Popen(command, env=env, **options)
        return process

    by_themselves: dict[int, int | None] = {}  # exit codes before any rank was ended from here

    def end_all(pid: int) -> None:
        by_themselves.update({} if by_themselves else {rank: one.poll() for rank, one in ranks.items()})
        _end([process.pid for process in ranks.values()])

    launch.subprocess = SimpleNamespace(Popen=start)
    launch.terminate_process_tree = end_all
    sys.argv = ["deepspeed", *rest]
    try:
        launch.main()
    except SystemExit as ended:
        killed = [(rank, code) for rank, code in by_themselves.items() if code is not None and code < 0]
        if killed:
            append_message(Path(run_dir), "failed", describe_lost(*killed[0]))
        return 0 if ended.code in (None, 0) else 1
    return 0


def _end(pids: list[int]) -> None:
    """All of them and what they started: SIGTERM, and SIGKILL to what is left."""
    found = []
    for pid in pids:
        try:
            found += [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]
        except psutil.NoSuchProcess:
            continue
    for process in found:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(found, timeout=TERM_GRACE_S)
    for process in alive:
        _signal(process, signal.SIGKILL)


def _signal(process: psutil.Process, number: int) -> None:
    with suppress(psutil.Error):  # it has just ended, or became another user's
        process.send_signal(number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
