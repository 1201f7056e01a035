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
        if name == "verify":
            command.add_argument("--whole", action="store_true", help="1 where an input is gone, too: is a copy whole?")
        command.set_defaults(handler=handler)


def run_lineage(args: Namespace) -> None:
    from r3pp_core.provenance import find, lineage, lines, workspace_of

    artefact = find(args.artefact)
    workspace = (args.workspace or workspace_of(artefact)).resolve()
    say("\n" + "\n".join(lines(lineage(artefact, workspace), workspace)))


def run_verify(args: Namespace) -> int:
    """1 where something is damaged. An input that has been replaced since is said, and no damage."""
    from r3pp_core.provenance import broken_manifests, damages, find, lineage, missing_inputs, nodes_of, workspace_of

    artefact = find(args.artefact)
    workspace = (args.workspace or workspace_of(artefact)).resolve()
    damaged, gone, num_files = [], [], 0
    for node in nodes_of(lineage(artefact, workspace)):
        manifest, missing = node.artefact.manifest, missing_inputs(node)
        gone += missing
        if node.artefact.is_record:
            say("; ".join([f"{node.artefact.name}: replaced or removed since", *missing]))
            continue
        num_files += len(manifest.files) + sum(tree["count"] for tree in manifest.trees.values())
        found = damages(node.artefact)
        damaged += found
        state = "; ".join(found) or f"{manifest.num_bytes / 1e6:.1f} MB as they were"
        say("; ".join([f"{node.artefact.name}: {state}", *missing]))
    if gone:
        broken = [line for line in broken_manifests(workspace) if line not in damaged]
        damaged += broken
        for line in broken:
            say(f"verify: {line}")
    say(
        f"verify: {num_files} files read, {len(damaged)} damaged; {len(gone)} inputs are no longer in the workspace"
        f"{' (replaced or removed since; what was made from them stands)' if gone and not damaged else ''}"
    )
    return 1 if damaged or (gone and args.whole) else 0
