"""The main of a launched process: what surrounds the work in every rank."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from r3pp_core.errors import R3Error
from r3pp_core.launch.failures import describe
from r3pp_core.launch.messages import LAUNCH_ID_VARIABLE, append_message
from r3pp_core.launch.orphans import die_with_parent
from r3pp_core.launch.run_dir import Stopped, clear_stop, hold_run_dir


def run_child(run_dir: Path, main: Callable[[], None]) -> int:
    """Run `main` as one rank of a job and return the exit code: `sys.exit(run_child(run_dir, main))`.

    The rank dies with torchrun. Rank 0 holds `run_dir` for the whole of `main`. A failure of any rank becomes one
    "failed" message, because the launcher cannot otherwise tell the rank that ran out of memory from the peers that
    lost it; an R3Error prints no traceback, and prints nothing at all where a launcher will say it. Stopped is a clean
    end. Also serves a
    process started by hand, where the message file is still written and a stale stop request is removed.
    """
    rank = int(os.environ.get("RANK", "0"))
    launched = LAUNCH_ID_VARIABLE in os.environ
    if "LOCAL_RANK" in os.environ:  # started by torchrun or deepspeed: a lone rank is of no use to anyone
        die_with_parent(signal.SIGKILL)
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        with hold_run_dir(run_dir) if rank == 0 else nullcontext():
            if rank == 0 and not launched:
                clear_stop(run_dir)
            main()
    except Stopped:
        append_message(run_dir, "stopped", {"rank": rank})
    except R3Error as error:
        append_message(run_dir, "failed", describe(error, rank))
        if not launched:
            sys.stderr.write(f"rank {rank}: {error}\n" if rank else f"{error}\n")
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the process ends here: printed, reported, and turned into its exit code
        traceback.print_exc()
        append_message(run_dir, "failed", describe(error, rank))
        return 1
    return 0
