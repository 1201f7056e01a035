"""The flags of every command whose processes a launcher starts."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from r3pp_core.flags import read_json_object, validated
from r3pp_core.launch.gpus import default_num_processes
from r3pp_core.launch.interface import LaunchConfig


def add_launch_flags(command: ArgumentParser) -> None:
    command.add_argument("--launcher", choices=["local", "slurm"], help="where processes run")
    command.add_argument("--starter", choices=["torchrun", "deepspeed"], help="what starts ranks")
    command.add_argument("--num_processes", type=int, help="ranks (default 1; one a GPU for a sharded backend)")
    command.add_argument("--launch_config", type=Path, help="JSON file with fields of LaunchConfig; flags win over it")
    command.add_argument("--use_gpus", type=int, nargs="+", help="indices of the GPUs that may be used (default: all)")


def launch_if_many(args: Namespace) -> LaunchConfig | None:
    """None for a single local process: the command's own does the work, and needs no launcher."""
    config = launch_config(args)
    return config if config.num_processes != 1 or config.launcher != "local" else None


def launch_config(args: Namespace, *, one_a_gpu: bool = False) -> LaunchConfig:
    """`one_a_gpu`: as many processes as there are GPUs to use, unless a number was given."""
    values = read_json_object(args.launch_config, "--launch_config") if args.launch_config else {}
    flags = {name: getattr(args, name) for name in ("launcher", "starter", "num_processes")}
    values |= {name: value for name, value in flags.items() if value is not None}
    if args.use_gpus is not None:
        values["gpus"] = args.use_gpus
    if "num_processes" not in values and one_a_gpu and values.get("launcher", "local") == "local":
        values["num_processes"] = default_num_processes(values.get("gpus"))
    return validated(LaunchConfig, values)
