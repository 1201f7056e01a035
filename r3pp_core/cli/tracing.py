"""lineage and verify: what an artefact was made from, and whether all of that is still what it was."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from r3pp_core.cli.terminal import say


def add_commands(commands: Any) -> None:
    for name, text, handler in (
        ("lineage", "what an artefact was made from, back to the sources' revisions", run_lineage),
        ("verify", "hash an artefact and all that it was made from once more", run_verify),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("artefact", type=Path, help="a folder or file that a stage wrote, for example champion")
        command.add_argument("--workspace", type=Path, help="where its inputs are looked for (default: around it)")
        command.set_defaults(handler=handler)


def run_lineage(args: Namespace) -> None:
    from r3pp_core.provenance import find, lineage, lines, workspace_of

    artefact = find(args.artefact)
    workspace = (args.workspace or workspace_of(artefact)).resolve()
    say("\n" + "\n".join(lines(lineage(artefact, workspace), workspace)))


def run_verify(args: Namespace) -> int:
    from r3pp_core.provenance import damages, find, lineage, missing_inputs, nodes_of, workspace_of

    artefact = find(args.artefact)
    workspace = (args.workspace or workspace_of(artefact)).resolve()
    problems, num_files = [], 0
    for node in nodes_of(lineage(artefact, workspace)):
        manifest = node.artefact.manifest
        num_files += len(manifest.files) + sum(tree["count"] for tree in manifest.trees.values())
        found = damages(node.artefact) + missing_inputs(node)
        problems += found
        say(f"{node.artefact.name}: {'; '.join(found) if found else f'{manifest.num_bytes / 1e6:.1f} MB as they were'}")
    say(f"verify: {num_files} files read, {len(problems)} problems")
    return 1 if problems else 0
