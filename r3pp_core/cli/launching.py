"""The flags of every command whose processes a launcher starts."""

from argparse import ArgumentParser, Namespace

from r3pp_core.flags import validated
from r3pp_core.launch.gpus import default_num_processes
from r3pp_core.launch.interface import LaunchConfig


def add_launch_flags(command: ArgumentParser) -> None:
    command.add_argument("--launcher", choices=["local", "slurm"], default="local", help="where processes run")
    command.add_argument("--starter", choices=["torchrun", "deepspeed"], default="torchrun", help="what starts ranks")
    command.add_argument("--num_processes", type=int, help="ranks (default 1; one a GPU for a sharded backend)")
    command.add_argument("--use_gpus", type=int, nargs="+", help="indices of the GPUs that may be used (default: all)")


def launch_if_many(args: Namespace) -> LaunchConfig | None:
    """None for a single local process: the command's own does the work, and needs no launcher."""
    return launch_config(args) if args.num_processes not in (None, 1) or args.launcher != "local" else None


def launch_config(args: Namespace, *, one_a_gpu: bool = False) -> LaunchConfig:
    """`one_a_gpu`: as many processes as there are GPUs to use, unless a number was given."""
    gpus = None if args.use_gpus is None else tuple(args.use_gpus)
    number = args.num_processes
    if number is None:
        number = default_num_processes(gpus) if one_a_gpu else 1
    values = {"launcher": args.launcher, "starter": args.starter, "num_processes": number, "gpus": gpus}
    return validated(LaunchConfig, values)
