"""`r3pp <command>` in this process."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from r3pp_core.cli import main


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


@pytest.fixture
def r3pp(capfd) -> Callable[..., Said]:
    """`r3pp("merge --unified_dir x")` -> exit code and what was printed."""

    def call(line: str) -> Said:
        capfd.readouterr()
        try:
            code = main(line.split())
        except SystemExit as exit_:  # --help
            code = int(exit_.code or 0)
        return Said(code, *capfd.readouterr())

    return call
