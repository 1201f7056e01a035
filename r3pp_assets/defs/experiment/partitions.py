"""Experiments are named runs; a name is added in the UI before its first materialization."""

import dagster as dg

RUNS = dg.DynamicPartitionsDefinition(name="experiment")
RESERVED = ("r3", "base", "report", "champion", "clip", "minilm", "backbone", "replaced", "control", "made_from")
# Where the job `evaluate_only` writes, unless told otherwise.
SCORES_ONLY = "evaluate_only"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
