"""The report as an artefact: samples of several evaluations scored together, results.json and report.html."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from r3pp_core import code_versions
from r3pp_core.artefact import Manifest, Outcome, Request, Target, build, require_manifest
from r3pp_core.errors import R3Error
from r3pp_core.evaluation.environment import write_environment
from r3pp_core.evaluation.metric_set import chosen_metrics
from r3pp_core.evaluation.plan import ASKED_OCR, ROW_COUNTS, config_of
from r3pp_core.evaluation.report import render_report
from r3pp_core.evaluation.scoring import score_samples
from r3pp_core.evaluation.sweep import PRIMARY, damaged_picture
from r3pp_core.jsonl import read_jsonl
from r3pp_core.progress import Progress, silent

# A difference in one of these makes two evaluations incomparable.
MUST_AGREE = ("levels", "rows_per_dataset", "damage", "seed", "max_new_tokens", "unanswered", "text_overlap")


def make_report(
    evaluation_dirs: Sequence[Path],
    image_root: Path,
    out_dir: Path,
    heading: str | None = None,
    progress: Progress = silent,
    *,
    force: bool = False,
) -> Manifest:
    """Write `out_dir/results.json` and `out_dir/report.html` over the samples of all evaluations.

    Raises R3Error when an evaluation is missing, or when two differ in rows, levels, damage, seed or table.
    """
    manifests = {folder.name: require_manifest(Target(folder), "r3pp evaluate") for folder in evaluation_dirs}
    _check_agreement(manifests)
    config = config_of(next(iter(manifests.values())))
    metrics = chosen_metrics(config.text_overlap)
    request = Request(
        stage="report",
        code_version=f"{code_versions.REPORT}+metrics{metrics.version}",
        config={"heading": heading},
        inputs={name: manifest.content_hash for name, manifest in manifests.items()},
    )

    def make(staging: Path) -> Outcome:
        samples = [sample for folder in evaluation_dirs for sample in read_jsonl(folder / "samples.jsonl")]
        signature, row_counts = _signature(evaluation_dirs), _row_counts(evaluation_dirs)
        results = score_samples(samples, PRIMARY, config.seed, signature, metrics, row_counts)
        (staging / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        page = render_report(results, samples, image_root, heading, damaged_picture(image_root, config))
        (staging / "report.html").write_text(page, encoding="utf-8")
        write_environment(out_dir)
        return Outcome(counts={"samples": len(samples)})

    return build(Target(out_dir), request, make, force=force, progress=progress)


def disagreement(evaluation_dirs: Sequence[Path]) -> str | None:
    """Why these evaluations cannot be scored together; None where they can."""
    try:
        _check_agreement({folder.name: require_manifest(Target(folder), "r3pp evaluate") for folder in evaluation_dirs})
    except R3Error as error:
        return str(error)
    return None


def _check_agreement(manifests: dict[str, Manifest]) -> None:
    first_name, first = next(iter(manifests.items()))
    first_config = config_of(first)
    for name, manifest in manifests.items():
        config = config_of(manifest)
        for key in MUST_AGREE:
            value, wanted = getattr(config, key), getattr(first_config, key)
            if value != wanted:
                raise R3Error(
                    f"{name} and {first_name} cannot be compared: {key} is {value} and {wanted}; "
                    "evaluate both with the same"
                )
        formats = manifest.details.get("dtype"), first.details.get("dtype")
        if formats[0] != formats[1]:
            raise R3Error(
                f"{name} and {first_name} cannot be compared: one answered in {formats[0]}, the other in {formats[1]}; "
                "evaluate both on the same kind of machine"
            )
        if manifest.code_version != first.code_version:
            raise R3Error(
                f"{name} and {first_name} cannot be compared: version {manifest.code_version} of the code asked one, "
                f"version {first.code_version} the other; evaluate both with the same"
            )
        for key in ("table", "max_pixels", "prompt", ASKED_OCR):
            if manifest.inputs.get(key) != first.inputs.get(key):
                raise R3Error(
                    f"{name} and {first_name} cannot be compared: they were evaluated with another {key}; "
                    "evaluate both with the same"
                )


def _signature(evaluation_dirs: Sequence[Path]) -> dict[str, Any]:
    """The evaluations' signatures as one; where they differ, a value by evaluation."""
    signatures = {folder.name: read_results(folder)["signature"] for folder in evaluation_dirs}
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for signature in signatures.values() for key in signature):
        values = {name: signature.get(key) for name, signature in signatures.items()}
        first = next(iter(values.values()))
        merged[key] = first if all(value == first for value in values.values()) else values
    return merged


def _row_counts(evaluation_dirs: Sequence[Path]) -> dict[str, Any]:
    """By data set what became of the table's rows, from the first evaluation that says it: they asked the same rows."""
    found: dict[str, Any] = {}
    for folder in evaluation_dirs:
        for dataset, counts in read_results(folder)["n-samples"].items():
            if told := {name: counts[name] for name in ROW_COUNTS if name in counts}:
                found.setdefault(dataset, told)
    return found


def read_results(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    if not path.is_file():
        raise R3Error(f"{path} does not exist; run `r3pp evaluate` first")
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results
