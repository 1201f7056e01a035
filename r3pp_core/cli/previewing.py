"""preview: what damage does to pictures, as one sheet."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from r3pp_core.cli.terminal import say
from r3pp_core.corruption.config import CorruptionConfig
from r3pp_core.corruption.levels import LEVELS
from r3pp_core.flags import add_config_flags, config_from


def add_commands(commands: Any) -> None:
    command = commands.add_parser("preview", help="draw what each kind of damage does to pictures, by level")
    command.add_argument("pictures", nargs="+", type=Path, help="picture files")
    command.add_argument("--out_file", type=Path, required=True, help="a PNG to write")
    command.add_argument("--levels", nargs="+", type=float, default=LEVELS, help="damage levels in 0..1")
    add_config_flags(command, CorruptionConfig)
    command.set_defaults(handler=run_preview)


def run_preview(args: Namespace) -> None:
    from r3pp_core.corruption.preview import contact_sheet
    from r3pp_core.pictures import open_picture

    sheet = contact_sheet(
        [open_picture(path) for path in args.pictures], args.levels, config_from(args, CorruptionConfig)
    )
    sheet.save(args.out_file, format="PNG")
    say(f"preview: {args.out_file}, {sheet.width} x {sheet.height} pixels")
