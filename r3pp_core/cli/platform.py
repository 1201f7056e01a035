"""demo and ui: the Dagster platform, started in processes of its own (the library does not import it)."""

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, NoReturn

from r3pp_core.errors import UsageError
from r3pp_core.profiles import DRAWN


def add_commands(commands: Any) -> None:
    command = commands.add_parser("demo", help="materialize the whole graph on the sample and print the scores")
    command.add_argument("--source", type=Path, help="folder of Parquet in the Hub's layout instead of the sample")
    command.add_argument(
        "--profile", choices=DRAWN, default="sample", help="smoke: a few steps and rows, only to see that all runs"
    )
    command.add_argument("--root", type=Path, help="workspace folder (default: workspace/<profile or source>)")
    command.set_defaults(handler=run_demo)

    command = commands.add_parser("ui", help="open the Dagster UI on 127.0.0.1 (webserver and daemon)")
    command.add_argument("--port", type=int, default=3000, help="port (default 3000)")
    command.add_argument("--root", type=Path, help="workspace folder (default: workspace/<profile>)")
    command.set_defaults(handler=run_ui)


def run_demo(args: Namespace) -> None:
    if args.source is not None and not args.source.is_dir():
        raise UsageError(f"--source {args.source} is not a folder; give a folder that holds <data set>/data/*.parquet")
    _platform("demo", _given(source=args.source, profile=args.profile, root=args.root))


def run_ui(args: Namespace) -> None:
    _platform("ui", _given(port=args.port, root=args.root))


def _given(**flags: object) -> list[str]:
    return [part for name, value in flags.items() if value is not None for part in (f"--{name}", str(value))]


def _platform(module: str, arguments: list[str]) -> NoReturn:
    """Become that process, so that signals (Ctrl-C, SIGTERM) reach it and nothing is left behind."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", f"r3pp_assets.{module}", *arguments])
