"""Whatever is cancelled or killed around a launcher, no process stays: `kill -9` of each, ranks that heed no signal."""

import random

import pytest
from launch_faults import FAULTS, suffer

STARTING_S = 4.0


@pytest.mark.parametrize("starter", ["torchrun", "deepspeed"])
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_nothing_stays(fault, starter, tmp_path, round_number, landed):
    """Every third round hits at a moment of the start, perhaps before there are ranks."""
    draw = random.Random(f"{round_number} {fault.name} {starter}")
    while_starting = round_number % 3 == 2
    wait_s = draw.uniform(0, STARTING_S if while_starting else 0.5)
    outcome = suffer(tmp_path / "run", starter, fault, wait_s, while_starting=while_starting)
    assert outcome.survivors == []
    landed[f"launcher ({starter}) by {fault.name}", outcome.moment] += 1
