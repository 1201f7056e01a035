"""Rounds of faults, what they hit, and `r3pp <command>` in this process."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from r3pp_core.cli import main

LANDED = pytest.StashKey[Counter[tuple[str, str]]]()


def pytest_generate_tests(metafunc):
    if "round_number" in metafunc.fixturenames:
        metafunc.parametrize("round_number", range(metafunc.config.getoption("--rounds")), scope="session")


@pytest.fixture
def landed(request) -> Counter[tuple[str, str]]:
    """Counts kills by stage and by what the stage was doing; shown at the end."""
    return request.config.stash.setdefault(LANDED, Counter())


def pytest_terminal_summary(terminalreporter, config):
    for (stage, moment), count in sorted(config.stash.get(LANDED, Counter()).items()):
        terminalreporter.write_line(f"killed {stage} while {moment}: {count} times")


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def one_sentence(self) -> str:
        """What was said of a failure, after looking that it is exit code 1 and a single line."""
        assert self.code == 1, self.err
        assert self.err.startswith("error: ")
        assert self.err.count("\n") == 1
        return self.err.removeprefix("error: ").rstrip("\n")


@pytest.fixture
def r3pp(capfd) -> Callable[..., Said]:
    """`r3pp("merge", "--unified_dir", folder)` -> exit code and what was printed; a crash fails the test."""

    def call(*arguments: object) -> Said:
        capfd.readouterr()
        return Said(main([str(argument) for argument in arguments]), *capfd.readouterr())

    return call
