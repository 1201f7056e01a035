"""promote, rollback, champion: which model is the one to use, by hand."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from r3pp_core.champion.config import GateConfig
from r3pp_core.cli.terminal import say
from r3pp_core.evaluation.text_table import text_table
from r3pp_core.flags import add_config_flags, config_from


def add_commands(commands: Any) -> None:
    command = commands.add_parser("promote", help="put a model to the gate; it becomes the champion if it passes")
    command.add_argument("--model_dir", type=Path, required=True, help="what `r3pp export` wrote")
    command.add_argument("--results_dir", type=Path, required=True, help="--out_dir of its `r3pp evaluate`")
    command.add_argument("--train_jsonl", type=Path, help="the table it was trained on, for the card")
    command.add_argument("--again", action="store_true", help="even if it was rolled back from")
    command.add_argument("--champion_results_dir", type=Path, help="--out_dir of an evaluation of the present champion")
    _add_champion_dir(command)
    add_config_flags(command, GateConfig)
    command.set_defaults(handler=run_promote)
    command = commands.add_parser("rollback", help="make an earlier champion the champion again")
    _add_champion_dir(command)
    command.add_argument("--to", type=int, help="its number (default: the newest other model)")
    command.add_argument("--reason", default="", help="why; the card says it")
    command.set_defaults(handler=run_rollback)
    command = commands.add_parser("champion", help="who is champion and why, and who was before")
    _add_champion_dir(command)
    command.set_defaults(handler=run_champion)


def _add_champion_dir(command: Any) -> None:
    command.add_argument("--champion_dir", type=Path, default=Path("champion"), help="holds the history of champions")


def run_promote(args: Namespace) -> int:
    from r3pp_core.champion.promotion import Candidate, GateClosedError, promote

    candidate = Candidate(
        args.model_dir,
        args.results_dir / "r3",
        args.results_dir / "base",
        args.train_jsonl,
        args.champion_results_dir / "r3" if args.champion_results_dir else None,
    )
    try:
        entry = promote(candidate, args.champion_dir, config_from(args, GateConfig), say, again=args.again)
    except GateClosedError as error:
        say("the gate is closed, the champion stays:")
        for reason in error.verdict.reasons:
            say(f"  {reason}")
        return error.exit_code
    say(f"champion: {entry.model_dir}")
    return 0


def run_rollback(args: Namespace) -> None:
    from r3pp_core.champion.promotion import roll_back

    entry = roll_back(args.champion_dir, args.to, args.reason, say)
    say(f"champion: {entry.model_dir}")


def run_champion(args: Namespace) -> None:
    from r3pp_core.champion.history import entries
    from r3pp_core.errors import R3Error

    history = entries(args.champion_dir)
    if not history:
        raise R3Error(f"{args.champion_dir} has no champion; promote a model first (`r3pp promote`)")
    rows = [
        [str(entry.number), entry.card["change"], entry.card["time"], entry.model_hash[:16], entry.card["model"]]
        for entry in history
    ]
    say("\n" + "\n".join(text_table(["number", "change", "time", "model", "from"], rows, num_left=5)))
    say("\n" + (history[-1].folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)[-1].strip())
    say(f"champion: {history[-1].model_dir}")
