"""download, ocr, unify, merge, sample."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from r3pp_core.cli.launching import add_launch_flags, launch_if_many
from r3pp_core.cli.terminal import say, say_manifest
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.datasets.spec import SPLITS
from r3pp_core.errors import R3Error
from r3pp_core.flags import add_config_flags, config_from
from r3pp_core.ingest.config import DownloadConfig, MergeConfig, OcrConfig, UnifyConfig
from r3pp_core.ingest.download import download
from r3pp_core.ingest.merge import find_table, merge_split, merged_target
from r3pp_core.ingest.ocr import run_ocr
from r3pp_core.ingest.unify import find_raw_dir, unify

DATASET_HELP = f"one of {', '.join(DATASETS)}"


def add_commands(commands: Any) -> None:
    command = commands.add_parser("download", help="fetch a data set's pictures and questions")
    command.add_argument("dataset", help=DATASET_HELP)
    command.add_argument("--out_dir", type=Path, required=True, help="for example data/raw/screenqa")
    command.add_argument("--force", action="store_true", help="again, even if nothing changed")
    add_config_flags(command, DownloadConfig)
    command.set_defaults(handler=run_download)

    command = commands.add_parser("ocr", help="read what a data set's pictures say")
    command.add_argument("--dataset", required=True, help=DATASET_HELP)
    command.add_argument("--raw_dir", type=Path, required=True, help="where download wrote")
    command.add_argument("--force", action="store_true", help="again, even if nothing changed")
    add_config_flags(command, OcrConfig)
    add_launch_flags(command)
    command.set_defaults(handler=run_ocr_command)

    command = commands.add_parser("unify", help="bring a data set into the unified schema")
    command.add_argument("--dataset", required=True, help=DATASET_HELP)
    command.add_argument("--raw_dir", type=Path, required=True, help="where download wrote")
    command.add_argument("--out_dir", type=Path, required=True, help="for example data/unified")
    command.add_argument("--force", action="store_true", help="again, even if nothing changed")
    add_config_flags(command, UnifyConfig)
    command.set_defaults(handler=run_unify)

    command = commands.add_parser("merge", help="merge the unified tables into train, val and test.jsonl")
    command.add_argument("--unified_dir", type=Path, required=True, help="where unify wrote")
    command.add_argument("--splits", nargs="+", default=list(SPLITS), help="which of train, val, test")
    command.add_argument("--force", action="store_true", help="again, even if nothing changed")
    add_config_flags(command, MergeConfig)
    command.set_defaults(handler=run_merge)

    command = commands.add_parser("sample", help="draw the embedded sample as Parquet in the Hub's layout")
    command.add_argument("--out_dir", type=Path, required=True, help="give it to --source afterwards")
    command.set_defaults(handler=run_sample)


def run_download(args: Namespace) -> None:
    config = config_from(args, DownloadConfig)
    say_manifest(download(args.dataset, args.out_dir, config, say, force=args.force))


def run_ocr_command(args: Namespace) -> None:
    raw_dir = find_raw_dir(args.dataset, args.raw_dir)
    launch = launch_if_many(args)
    say_manifest(run_ocr(args.dataset, raw_dir, config_from(args, OcrConfig), say, launch=launch, force=args.force))


def run_unify(args: Namespace) -> None:
    config = config_from(args, UnifyConfig)
    say_manifest(unify(args.dataset, args.raw_dir, args.out_dir, config, say, force=args.force))


def run_merge(args: Namespace) -> None:
    config = config_from(args, MergeConfig)
    unguarded = [name for name in config.val if find_table(args.unified_dir, name) is None]
    if "train" in args.splits and "val" not in args.splits and unguarded:
        raise R3Error(
            f"{', '.join(unguarded)} not found in {args.unified_dir}: train could not be kept apart from val; unify "
            "first, or name the tables of val with --val"
        )
    for split in args.splits:
        if split == "test" and not any(find_table(args.unified_dir, name) for name in config.test):
            say(f"merged/test: no unified test table in {args.unified_dir}, left out")
            continue
        say_manifest(merge_split(split, args.unified_dir, config, say, force=args.force))
        say(f"merged/{split}: {merged_target(args.unified_dir, split).folder / f'{split}.jsonl'}")


def run_sample(args: Namespace) -> None:
    from r3pp_core.sample.artefact import ensure_sample

    say_manifest(ensure_sample(args.out_dir, progress=say))
