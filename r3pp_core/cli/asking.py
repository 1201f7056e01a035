"""ask: one question about one picture, by hand."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from r3pp_core.cli.terminal import say
from r3pp_core.datasets.registry import DATASETS


def add_commands(commands: Any) -> None:
    command = commands.add_parser("ask", help="the answer to a question about a picture, with its evidence")
    command.add_argument("--image", type=Path, required=True, help="a picture file")
    command.add_argument("--question", required=True)
    command.add_argument("--checkpoint_dir", type=Path, default=Path("models/r3"), help="a step_<n> or exported folder")
    command.add_argument("--model_name", type=Path, help="the backbone's folder (default: as the checkpoint names it)")
    command.add_argument("--index_dir", type=Path, default=Path("indices"), help="where evidence is looked up")
    command.add_argument("--text_encoder", type=Path, default=Path("models/minilm"), help="folder of MiniLM")
    command.add_argument("--image_encoder", type=Path, default=Path("models/clip"), help="folder of CLIP")
    command.add_argument("--dataset", default="chartqa", help=f"whose instruction is used: {', '.join(DATASETS)}")
    command.add_argument("--ocr", choices=["auto", "none"], default="auto", help="whether the picture's text is read")
    command.add_argument("--max_new_tokens", type=int, default=32, help="longest answer")
    command.add_argument("--html", type=Path, help="write a page with the pictures of the evidence")
    command.add_argument("--image_root", type=Path, default=Path("data/raw"), help="where those pictures are")
    command.set_defaults(handler=run_ask)


def run_ask(args: Namespace) -> None:
    from r3pp_core.evaluation.ask import as_page, as_text, ask
    from r3pp_core.evaluation.subjects import r3_subject
    from r3pp_core.pictures import open_picture

    open_picture(args.image)  # before a large model is loaded for nothing
    subject = r3_subject(args.checkpoint_dir, args.model_name, args.index_dir, args.text_encoder, args.image_encoder)
    answered = ask(
        subject,
        args.image,
        args.question,
        args.dataset,
        read_text=args.ocr == "auto",
        max_new_tokens=args.max_new_tokens,
    )
    say("\n" + as_text(answered))
    if args.html:
        args.html.write_text(as_page(answered, args.image_root), encoding="utf-8")
        say(f"ask: {args.html}")
