"""download-models and index."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from r3pp_core.cli.launching import add_launch_flags, launch_if_many
from r3pp_core.cli.terminal import say, say_manifest
from r3pp_core.errors import R3Error
from r3pp_core.flags import add_config_flags, config_from, validated
from r3pp_core.ingest.models import announce_size, get_model
from r3pp_core.profiles import PROFILES, profile_named
from r3pp_core.retrieval.config import IndexConfig, NeighboursConfig


def add_commands(commands: Any) -> None:
    command = commands.add_parser("download-models", help="fetch CLIP and MiniLM, and the backbone on request")
    command.add_argument("--out_dir", type=Path, required=True, help="for example models")
    command.add_argument("--backbone", action="store_true", help="Qwen3-VL-8B-Instruct too (17.5 GB)")
    command.add_argument(
        "--profile", choices=list(PROFILES), default="full", help="sample: the small ones that come with the package"
    )
    command.add_argument("--force", action="store_true", help="again, even if nothing changed")
    command.set_defaults(handler=run_download_models)

    command = commands.add_parser("index", help="build the text and the image index over a table's pictures")
    command.add_argument("--jsonl", type=Path, required=True, help="for example data/unified/train.jsonl")
    command.add_argument("--image_root", type=Path, required=True, help="image_path is relative to it")
    command.add_argument("--out_dir", type=Path, required=True, help="for example indices")
    command.add_argument("--text_encoder", type=Path, default=Path("models/minilm"), help="folder of MiniLM")
    command.add_argument("--image_encoder", type=Path, default=Path("models/clip"), help="folder of CLIP")
    command.add_argument("--force", action="store_true", help="again, even if nothing changed")
    add_config_flags(command, IndexConfig)
    command.add_argument(
        "--max_query_chars",
        type=int,
        default=NeighboursConfig().max_query_chars,
        help="neighbours are those of queries cut here (default %(default)s): r3.max_query_chars of the training",
    )
    add_launch_flags(command)
    command.set_defaults(handler=run_index)


def run_download_models(args: Namespace) -> None:
    profile = profile_named(args.profile)
    names = ["clip", "minilm", *(["backbone"] if args.backbone or profile.hub_models is None else [])]
    announce_size(names, args.out_dir, profile, say)
    for name in names:
        say_manifest(get_model(name, args.out_dir, profile, say, force=args.force))


def run_index(args: Namespace) -> None:
    from r3pp_core.retrieval.build import REJECTED, build_index
    from r3pp_core.retrieval.neighbours import build_neighbours

    config = config_from(args, IndexConfig)
    queries = {"max_query_chars": args.max_query_chars, "batch_size": config.batch_size, "device": config.device}
    neighbours = validated(NeighboursConfig, queries)
    launch, gone = launch_if_many(args), 0
    for kind, encoder in (("text", args.text_encoder), ("image", args.image_encoder)):
        manifest = build_index(
            kind,  # type: ignore[arg-type]
            args.jsonl,
            args.image_root,
            args.out_dir,
            encoder,
            config,
            say,
            force=args.force,
            launch=launch,
        )
        say_manifest(manifest)
        gone += sum(manifest.left_out.get(reason, 0) for reason in ("picture_missing", "picture_changed"))
    say_manifest(build_neighbours(args.jsonl, args.out_dir, args.text_encoder, neighbours, say, force=args.force))
    if gone:
        named = args.out_dir / "image" / REJECTED
        raise R3Error(
            f"{gone} pictures are gone or changed, named in {named}; bring them back, or unify again. The indices stand"
        )
