"""The champion: a copy of the model that passed the gate, with the scores it passed with."""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from r3pp_core.artefact import Manifest, Outcome, Request, Target, build, require_manifest
from r3pp_core.errors import R3Error
from r3pp_core.evaluation.reporting import read_results
from r3pp_core.model.backbone import weights_hash
from r3pp_core.progress import Progress, silent

CODE_VERSION = "1"
MIN_ROWS = 100


class GateClosedError(R3Error):
    """The candidate may not become the champion."""


def score_problems(results: dict[str, Any]) -> list[str]:
    """Scores that are not finite or outside 0..1."""
    return [
        f"{where}: {metric} is {value}"
        for where, cell in _cells(results)
        for metric, entry in cell["metrics"].items()
        if not (math.isfinite(value := entry["mean"]) and 0 <= value <= 1)
    ]


def size_problems(results: dict[str, Any], min_rows: int = MIN_ROWS) -> list[str]:
    """Data sets, arms and levels that were scored on too few rows to say anything; nothing scored is a problem too."""
    if not any(_cells(results)):
        return ["nothing was scored"]
    return [
        f"{where}: scored on {cell['n']} rows, at least {min_rows} are needed"
        for where, cell in _cells(results)
        if cell["n"] < min_rows
    ]


def _cells(results: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for dataset, arms in results["results"].items():
        for arm, levels in arms.items():
            for level, cell in levels.items():
                yield f"{dataset} {arm} at level {level}", cell


def crown(
    model_dir: Path,
    evaluation_dir: Path,
    champion_dir: Path,
    min_rows: int = MIN_ROWS,
    progress: Progress = silent,
) -> Manifest:
    """Make the model the champion: `champion_dir/model` and champion.json, replaced as a whole.

    Raises GateClosedError, leaving the present champion, when the evaluation has a problem or is of another model.
    """
    model = require_manifest(Target(model_dir), "r3pp export")
    evaluation = require_manifest(Target(evaluation_dir), "r3pp evaluate")
    results = read_results(evaluation_dir)
    problems = score_problems(results) + size_problems(results, min_rows)
    if evaluation.inputs.get("model") != weights_hash(model_dir):
        problems.insert(0, f"{evaluation_dir} holds the scores of another model than {model_dir}; evaluate it first")
    if problems:
        raise GateClosedError(f"the gate is closed, the champion stays: {problems[0]} ({len(problems)} problems)")
    request = Request(
        stage="champion",
        code_version=CODE_VERSION,
        config={},
        inputs={"model": model.content_hash, "evaluation": evaluation.content_hash},
    )

    def make(staging: Path) -> Outcome:
        shutil.copytree(model_dir, staging / "model", ignore=shutil.ignore_patterns(".*"))
        card = {
            "model": str(model_dir),
            "model_content_hash": model.content_hash,
            "evaluation": str(evaluation_dir),
            "scores": {where: {m: e["mean"] for m, e in cell["metrics"].items()} for where, cell in _cells(results)},
        }
        (staging / "champion.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        return Outcome(counts={"cells": len(card["scores"])}, details={"model_hash": model.content_hash})

    return build(Target(champion_dir), request, make, progress=progress)
