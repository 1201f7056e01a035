"""The flags of every command whose processes a launcher starts."""

from argparse import ArgumentParser, Namespace

from r3pp_core.flags import validated
from r3pp_core.launch.interface import LaunchConfig


def add_launch_flags(command: ArgumentParser) -> None:
    command.add_argument("--launcher", choices=["local", "slurm"], default="local", help="where processes run")
    command.add_argument("--num_processes", type=int, default=1, help="ranks; for training one a GPU")


def launch_if_many(args: Namespace) -> LaunchConfig | None:
    """None for a single local process: the command's own does the work, and needs no launcher."""
    return launch_config(args) if args.num_processes != 1 or args.launcher != "local" else None


def launch_config(args: Namespace) -> LaunchConfig:
    return validated(LaunchConfig, {"launcher": args.launcher, "num_processes": args.num_processes})
