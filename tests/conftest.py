"""`--rounds`: how many times drawn faults are repeated."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--rounds", type=int, default=1, help="of drawn faults, each with draws of its own (make soak)")


@pytest.fixture
def rounds(request) -> int:
    return request.config.getoption("--rounds")
