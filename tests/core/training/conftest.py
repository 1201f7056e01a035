"""The small world, and a config that trains on it, as fixtures."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small_world import small_config, write_world

from r3pp_core.training.config import TrainConfig


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Small matrices: more threads only wait for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def small_run(world, tmp_path) -> Callable[..., TrainConfig]:
    """`small_run(**fields)`: see `small_config`."""
    return lambda **fields: small_config(world, tmp_path / "checkpoints", **fields)


@pytest.fixture
def losses_of() -> Callable[[Path], dict[int, float]]:
    """Loss by step from a run's metrics.jsonl, the later line winning."""

    def read(run_dir: Path) -> dict[int, float]:
        lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        return {line["step"]: line["loss"] for line in lines if line["kind"] == "step"}

    return read
