"""torchrun as a launcher starts it: `python -m r3pp_core.launch.torchrun_starter RUN_DIR <torchrun's arguments>`.

The same torchrun, which besides dies with its launcher, reports a lost rank as a message instead of a traceback, and
tells its ranks who it is. A wrapper in Python rather than `setpriv --pdeathsig`: it needs no system package, and it
looks at its parent once more after the request.
"""

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from r3pp_core.launch.failures import describe_lost
from r3pp_core.launch.messages import append_message
from r3pp_core.launch.orphans import PARENT_VARIABLE, die_with_parent

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure


def main(arguments: list[str]) -> int:
    die_with_parent(signal.SIGTERM)
    os.environ[PARENT_VARIABLE] = str(os.getpid())

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    run_dir, *rest = arguments
    try:
        torchrun(rest)
    except SignalException as error:
        return 128 + int(error.sigval)
    except ChildFailedError as error:
        rank, failure = _first(error.failures)
        append_message(Path(run_dir), "failed", describe_lost(rank, failure.exitcode))
        return 1
    return 0


def _first(failures: "dict[int, ProcessFailure]") -> "tuple[int, ProcessFailure]":
    """The rank that failed first; of those seen in the same second, one that was killed.

    torchrun lists the ranks that it ended itself as well (SIGTERM, later SIGKILL): these come second.
    """
    earliest = min(failure.timestamp for failure in failures.values())
    first = [item for item in failures.items() if item[1].timestamp == earliest]
    killed = [item for item in first if item[1].exitcode < 0 and item[1].exitcode != -signal.SIGTERM]
    return (killed or first)[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
