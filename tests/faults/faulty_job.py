"""A job for faults around a launcher: `python -m faulty_job RUN_DIR BEHAVIOUR` in every rank. Imports nothing heavy."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from r3pp_core.launch.child import run_child
from r3pp_core.launch.messages import MessageWriter
from r3pp_core.launch.run_dir import stop_requested

RUN_DIR, BEHAVIOUR = Path(sys.argv[1]), sys.argv[2]
NAP_S = 0.02


def main() -> None:
    """Steps until it is asked to stop.

    wrapped    works in a child behind a shell, which knows nothing of signals or stop requests.
    stubborn   ignores SIGTERM, SIGINT and stop requests.
    at_once    ends when it has begun.
    """
    writer = MessageWriter(RUN_DIR)
    if BEHAVIOUR == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if BEHAVIOUR == "wrapped":
        subprocess.Popen(["sh", "-c", "sleep 600; true"])
    rank = os.environ.get("RANK", "0")
    (RUN_DIR / f"began_{rank}.tmp").write_text(str(os.getpid()))
    (RUN_DIR / f"began_{rank}.tmp").rename(RUN_DIR / f"began_{rank}")
    step = 0
    while BEHAVIOUR != "at_once" and (BEHAVIOUR == "stubborn" or not stop_requested(RUN_DIR)):
        step += 1
        writer.send("step", step=step)
        time.sleep(NAP_S)
    if BEHAVIOUR != "at_once":
        writer.send("stopped", step=step)


if __name__ == "__main__":
    sys.exit(run_child(RUN_DIR, main))
