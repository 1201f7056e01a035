"""What starts the ranks of one machine: torchrun or deepspeed, each wrapped so that it dies with its launcher."""

import base64
import json
import socket
import sys
from collections.abc import Sequence

from r3pp_core.errors import UsageError
from r3pp_core.launch.interface import Job, LaunchConfig


def starter_command(config: LaunchConfig, job: Job, gpus: Sequence[str]) -> list[str]:
    """An argument list; the job's own arguments stand at its end, each as it is.

    Raises UsageError where deepspeed has fewer GPUs than processes: it would start one process a GPU and say nothing.
    """
    wrapper = [sys.executable, "-m", f"r3pp_core.launch.{config.starter}_starter", str(job.run_dir)]
    if config.starter == "torchrun":
        # torchrun's own store binds a free port, so two launches never meet on one.
        options = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(config.num_processes)]
    else:
        if gpus and len(gpus) < config.num_processes:
            raise UsageError(
                f"--starter deepspeed starts one process a GPU; {config.num_processes} processes were asked for and "
                f"{len(gpus)} GPUs can be used: give --num_processes {len(gpus)}, or --starter torchrun"
            )
        ranks = list(gpus[: config.num_processes]) or [str(number) for number in range(config.num_processes)]
        world = base64.urlsafe_b64encode(json.dumps({"localhost": ranks}).encode()).decode()
        options = [f"--world_info={world}", "--master_addr=127.0.0.1", f"--master_port={_free_port()}"]
        options += ["--no_local_rank", "--log_level=warning"]
    return [*wrapper, *options, "--module", job.module, *job.args]


def _free_port() -> int:
    """Free now; where another takes it first, the failure says so and a retry takes another."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
