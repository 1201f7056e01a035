"""The training command line: a flag for each field of TrainConfig, and a whole config by --config FILE.json."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from r3pp_core.flags import OneSentenceParser, add_config_flags, config_values, merged, read_json_object, validated
from r3pp_core.training.config import TrainConfig


class Asked(NamedTuple):
    config: TrainConfig
    rehearse: bool


def parse(arguments: Sequence[str]) -> Asked:
    """Flags win over --config, --config over the defaults. Raises UsageError naming what does not fit."""
    parser = OneSentenceParser(prog="python -m r3pp_core.training", description="Train R3++.")
    parser.add_argument("--config", type=Path, help="JSON file with a whole or partial configuration")
    parser.add_argument("--rehearse", action="store_true", help="two steps of the longest rows, saved and reloaded")
    # Launchers add this one; the rank is read from the environment.
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)
    add_config_flags(parser, TrainConfig)
    namespace = parser.parse_args(list(arguments))
    values = read_json_object(namespace.config, "--config") if namespace.config else {}
    config = validated(TrainConfig, merged(values, config_values(namespace, TrainConfig)))
    return Asked(config, namespace.rehearse)
