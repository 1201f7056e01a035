"""doctor."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from r3pp_core.errors import R3Error


def add_commands(commands: Any) -> None:
    command = commands.add_parser("doctor", help="what this machine lacks for training, with a remedy a line")
    command.add_argument("--workspace", type=Path, default=Path("workspace"), help="where data and checkpoints go")
    command.set_defaults(handler=run_doctor)


def run_doctor(args: Namespace) -> None:
    """Exit code 1 where training would fail."""
    from r3pp_core.launch.doctor import diagnose, look

    findings = diagnose(look(args.workspace))
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    if blockers := sum(finding.state == "blocker" for finding in findings):
        raise R3Error(f"doctor: {blockers} of {len(findings)} findings would stop a training run")
