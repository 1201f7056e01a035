"""train, plan, export, recipe."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from r3pp_core.cli.launching import add_launch_flags, launch_config
from r3pp_core.cli.terminal import say, say_manifest
from r3pp_core.errors import UsageError
from r3pp_core.flags import add_config_flags, config_values, merged, read_json_object, validated
from r3pp_core.profiles import DRAWN
from r3pp_core.recipes.control import control_name
from r3pp_core.recipes.paths import RunPaths
from r3pp_core.recipes.registry import RECIPES
from r3pp_core.recipes.resolve import resolve
from r3pp_core.training.config import TrainConfig, require_supported
from r3pp_core.training.export import TOLERANCE, export
from r3pp_core.training.job import training_job
from r3pp_core.workspace import Workspace


def add_commands(commands: Any) -> None:
    command = commands.add_parser("train", help="train with retrieval and reconstruction")
    command.add_argument(
        "--rehearse", action="store_true", help="two steps of the longest rows, saved and reloaded: memory, time, bytes"
    )
    add_launch_flags(command)
    _add_train_config(command)
    command.set_defaults(handler=run_train)

    command = commands.add_parser("plan", help="memory, hours and disk of a run, before anything is loaded")
    command.add_argument("--gpus", help="for example 8xV100-32G (default: the cards of this machine)")
    _add_train_config(command)
    command.set_defaults(handler=run_plan)

    command = commands.add_parser("export", help="turn a checkpoint into one folder in the Hub's layout")
    command.add_argument("--checkpoint_dir", type=Path, required=True, help="a step_<n>, or a run's folder")
    command.add_argument("--out_dir", type=Path, required=True, help="for example models/r3")
    command.add_argument("--model_name", type=Path, help="the backbone's folder (default: as the checkpoint names it)")
    command.add_argument("--best", action="store_true", help="of a run's folder the best validated, not the newest")
    command.add_argument("--merge", action="store_true", help="one whole backbone, adapters added into its weights")
    command.add_argument("--dtype", choices=list(TOLERANCE), help="of a merged backbone (default bfloat16)")
    command.add_argument("--force", action="store_true", help="again, even if nothing changed")
    command.set_defaults(handler=run_export)

    command = commands.add_parser("recipe", help="print a recipe whole, as JSON")
    command.add_argument("name", help=f"one of {', '.join(RECIPES)}")
    command.add_argument("--workspace", type=Path, default=Path("workspace"), help="where its paths lie")
    command.set_defaults(handler=run_recipe)


def _add_train_config(command: ArgumentParser) -> None:
    command.add_argument("--recipe", help=f"start from one of {', '.join(RECIPES)}; flags win over it")
    command.add_argument("--workspace", type=Path, default=Path("workspace"), help="where a recipe's paths lie")
    command.add_argument("--config", type=Path, help="JSON file with a whole or partial config; flags win over it")
    add_config_flags(command, TrainConfig)


def run_train(args: Namespace) -> None:
    from r3pp_core.launch.registry import launcher_for

    config = train_config(args)
    launch = launch_config(args, one_a_gpu=config.backend != "single")
    require_supported(config, launch.num_ranks)
    job = training_job(config, rehearse=args.rehearse)
    result = launcher_for(launch).run(job, lambda message: None, say)
    last = result.last_message or {}
    if args.rehearse:
        say(str(last.get("text", "rehearsal: stopped")))
        return
    say(f"train: {'stopped' if result.stopped else 'done'} at step {last.get('step')}: {last.get('checkpoint')}")


def run_plan(args: Namespace) -> None:
    """Exit code 1 where the run does not fit."""
    from r3pp_core.training.capacity.cards import parse_cards, present_cards
    from r3pp_core.training.capacity.check import refuse_unfit
    from r3pp_core.training.capacity.outline import QWEN3_VL_8B
    from r3pp_core.training.capacity.plan import notes, plan, table

    config = train_config(args)
    cards = parse_cards(args.gpus) if args.gpus else present_cards()
    if cards is None:
        raise UsageError("plan: there is no card on this machine; name those that you have: --gpus 8xV100-32G")
    of_sample = [name for one in DRAWN for name in (one, control_name(one))]
    if args.recipe not in (None, *of_sample) and not Path(config.model_name).exists():
        say(f"plan: {config.model_name} is not there yet, so this is for {QWEN3_VL_8B}")
        config = config.model_copy(update={"model_name": QWEN3_VL_8B})
    require_supported(config, 1 if config.backend == "single" else cards.count)
    made = plan(config, cards)
    for note in notes(made):
        say(note)
    refuse_unfit(made)
    say(table(made))


def train_config(args: Namespace) -> TrainConfig:
    """The recipe or the class's defaults, then --config, then flags."""
    given = merged(read_json_object(args.config, "--config") if args.config else {}, config_values(args, TrainConfig))
    if args.recipe:
        return resolve(args.recipe, RunPaths.of(Workspace(args.workspace)), given)
    return validated(TrainConfig, given)


def run_export(args: Namespace) -> None:
    manifest = export(
        args.checkpoint_dir,
        args.out_dir,
        args.model_name,
        say,
        best=args.best,
        merge=args.merge,
        dtype=args.dtype,
        force=args.force,
    )
    say_manifest(manifest)


def run_recipe(args: Namespace) -> None:
    config = resolve(args.name, RunPaths.of(Workspace(args.workspace)), {})
    sys.stdout.write(config.model_dump_json(indent=1) + "\n")
