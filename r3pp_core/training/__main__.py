"""`python -m r3pp_core.training`: what a launcher starts in every process, and what serves by hand as well."""

import os
import sys
from collections.abc import Sequence

from r3pp_core.errors import UsageError
from r3pp_core.launch.child import run_child
from r3pp_core.launch.messages import MessageWriter
from r3pp_core.launch.run_dir import stop_requested
from r3pp_core.training.config import TrainConfig, require_supported
from r3pp_core.training.flags import parse


def main(arguments: Sequence[str]) -> int:
    try:
        config, rehearse = parse(arguments)
        require_supported(config, world_size())
        if config.backend != "single" and "RANK" not in os.environ:
            raise UsageError(
                f"--backend {config.backend} needs several processes: start them with `r3pp train --num_processes N`, "
                "or with `torchrun --nproc_per_node=N -m r3pp_core.training`"
            )
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return run_child(config.run_dir, lambda: _rehearse(config) if rehearse else _train(config))


def _rehearse(config: TrainConfig) -> None:
    from r3pp_core.training.rehearsal import rehearse

    rehearse(config, MessageWriter(config.run_dir).send, _to_stderr)


def _train(config: TrainConfig) -> None:
    from r3pp_core.training.loop import train

    train(
        config,
        send=MessageWriter(config.run_dir).send,
        should_stop=lambda: stop_requested(config.run_dir),
        progress=_to_stderr,
        world_size=world_size(),
    )


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _to_stderr(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
