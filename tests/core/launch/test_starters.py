"""What starts the ranks of one machine."""

from pathlib import Path

import pytest

from r3pp_core.errors import UsageError
from r3pp_core.launch.interface import Job, LaunchConfig
from r3pp_core.launch.starters import starter_command

JOB = Job("module", ["--flag"], Path("/run"))


def test_deepspeed_with_fewer_gpus_than_processes_is_refused() -> None:
    config = LaunchConfig(starter="deepspeed", num_processes=4)
    with pytest.raises(UsageError, match=r"4 processes were asked for and 2 GPUs can be used: give --num_processes 2"):
        starter_command(config, JOB, ["0", "1"])
    assert starter_command(config, JOB, ["0", "1", "2", "3", "4"])[-3:] == ["--module", "module", "--flag"]
    assert starter_command(config.model_copy(update={"starter": "torchrun"}), JOB, ["0"])
