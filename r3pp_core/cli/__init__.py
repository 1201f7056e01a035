"""`r3pp <command>`: every stage by hand, with the runbook's flags. Exit code 2 for usage, 1 for failure."""

import sys
from collections.abc import Sequence

from r3pp_core.cli import (
    asking,
    doctor,
    evaluating,
    ingesting,
    modelling,
    platform,
    previewing,
    promoting,
    tracing,
    training,
)
from r3pp_core.errors import R3Error
from r3pp_core.flags import OneSentenceParser

INTERRUPTED = 130


def parser() -> OneSentenceParser:
    top = OneSentenceParser(
        prog="r3pp", description="Question answering over screens, charts and infographics, from download to report."
    )
    commands = top.add_subparsers(dest="command", metavar="command", parser_class=OneSentenceParser)
    for group in (ingesting, modelling, training, evaluating, promoting, tracing, asking, previewing, doctor, platform):
        group.add_commands(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors that a user can mend are one sentence on stderr."""
    top = parser()
    try:
        namespace = top.parse_args(sys.argv[1:] if arguments is None else list(arguments))
        if namespace.command is None:
            top.print_help()
            return 2
        return int(namespace.handler(namespace) or 0)
    except R3Error as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        sys.stderr.write(f"error: {error.strerror or error}: {error.filename or 'no file named'}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
