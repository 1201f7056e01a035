"""The sweep: every chosen row, at every level, asked in every arm, by this process or by the ranks of a launcher.

An evaluation is an artefact: samples.jsonl with everything about every answer, and results.json with the scores.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from r3pp_core.artefact import Manifest, Outcome, Request, Target, build, unfinished
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.evaluation.config import EvaluateConfig
from r3pp_core.evaluation.environment import write_environment
from r3pp_core.evaluation.grouping import has_non_finite, score_row
from r3pp_core.evaluation.job import evaluation_job, launch_dir
from r3pp_core.evaluation.metric_set import MetricSet, chosen_metrics
from r3pp_core.evaluation.plan import ASKED_OCR, EvaluationPlan, finished_before, plan_evaluation
from r3pp_core.evaluation.scoring import score_samples
from r3pp_core.evaluation.shards import answer_shards, read_shard
from r3pp_core.evaluation.subjects import Subject
from r3pp_core.evaluation.submission import write_submissions
from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.launch.interface import LaunchConfig
from r3pp_core.launch.run_dir import refuse_if_held
from r3pp_core.launch.work_dir import clear_abandoned, clear_done
from r3pp_core.progress import Progress, silent

JOINT = " and "  # between the number formats of answers from several machines
PRIMARY = {name: spec.metric for name, spec in DATASETS.items()}


def evaluate(
    subject: Subject,
    table: Path,
    image_root: Path,
    out_dir: Path,
    config: EvaluateConfig = EvaluateConfig(),
    progress: Progress = silent,
    *,
    force: bool = False,
    launch: LaunchConfig | None = None,
) -> Manifest:
    """Ask `subject` every arm of the config and write `out_dir/samples.jsonl` and `out_dir/results.json`.

    A row that is scored carries its scores.

    With `launch` the ranks of a launcher ask; the bytes are the same. Rows whose picture cannot be opened go to
    rejected.jsonl, counted. Answers that `out_dir` holds are kept when only other arms, levels or scores are asked for,
    and those of an interrupted evaluation in any case.

    Raises UsageError for an arm that the subject cannot be asked in, R3Error when nothing can be scored.
    """
    _check_config(config, subject)
    metrics = chosen_metrics(config.text_overlap)
    is_elsewhere = launch is not None and launch.launcher != "local"
    dtype = None if is_elsewhere else subject.dtype
    plan = plan_evaluation(subject, table, image_root, out_dir, config, dtype=dtype)

    def answer() -> None:
        if launch is None:
            answer_shards(plan, subject, progress)
        else:
            from r3pp_core.launch.registry import run_with_progress

            run_with_progress(launch, evaluation_job(plan, subject, table), progress)

    def make(staging: Path) -> Outcome:
        nonlocal plan
        if force:
            refuse_if_held(launch_dir(out_dir))  # ranks that lost their launcher still write there
            shutil.rmtree(plan.shards_dir, ignore_errors=True)
        finished = None
        if not force and (before := finished_before(plan)):
            finished, plan = before
        outcome = _ask(plan, finished, table, staging, answer, progress)
        described = signature(subject, plan.request, config, outcome.details["dtype"])
        samples, row_counts = staging / "samples.jsonl", plan.count_rows(read_jsonl(staging / "rejected.jsonl"))
        _say_what_is_missing(plan, outcome.counts["non_finite"], samples, row_counts, progress)
        results = score_samples(read_jsonl(samples), PRIMARY, config.seed, described, metrics, row_counts)
        (staging / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        _add_scores(samples, metrics)
        for name in write_submissions(read_jsonl(samples), staging):
            progress(f"{plan.request.stage}: predictions to submit are in {out_dir / name}")
        write_environment(out_dir)
        return outcome

    def tidy() -> None:
        clear_done(plan.shards_dir, launch_dir(out_dir))

    return build(Target(out_dir), plan.request, make, force=force, progress=progress, tidy=tidy)


def _ask(
    plan: EvaluationPlan,
    finished: Manifest | None,
    table: Path,
    staging: Path,
    answer: Callable[[], None],
    progress: Progress,
) -> Outcome:
    """Have all shards answered and put them together with what is `finished`, in an order that does not depend on who
    answered what."""
    stage, samples, rejected, dtypes = plan.request.stage, [], {}, set()
    clear_abandoned(plan.shards_dir, launch_dir(plan.out_dir))
    if finished:
        samples = [line for line in _lines(plan, "samples") if (line["arm"], line["level"]) in plan.answered]
        rejected = {line["id"]: line for line in _lines(plan, "rejected")}
        dtypes = set(finished.details["dtype"].split(JOINT))
        rest = "" if plan.num_generations else ", only their scores are made again"
        progress(f"{stage}: {len(samples)} answers of {plan.out_dir} stand{rest}")
    if plan.num_generations:
        of_dataset = Counter(row["dataset"] for row in plan.rows)
        rows = ", ".join(f"{of_dataset[name]} {name}" for name in DATASETS)
        progress(f"{stage}: {len(plan.rows)} rows ({rows}), {plan.num_generations} answers to generate")
        answer()
        for number in range(plan.num_shards):
            shard = read_shard(plan, number)
            samples += shard.samples
            rejected = {line["id"]: line for line in shard.rejected} | rejected
            dtypes.add(shard.dtype)
    # A row that was rejected at one level may be answered at the others, and is no row of a comparison.
    samples = [line for line in samples if line["id"] not in rejected]
    left_out = sorted(rejected.values(), key=lambda line: line["id"])
    if not samples:
        clear_done(plan.shards_dir, launch_dir(plan.out_dir))
        raise R3Error(f"{table}: no row could be evaluated; first reason: {left_out[0]['detail']}")
    write_jsonl(staging / "samples.jsonl", sorted(samples, key=lambda line: (line["arm"], line["level"], line["id"])))
    write_jsonl(staging / "rejected.jsonl", left_out)
    return Outcome(
        counts={
            "rows": len(plan.rows),
            "samples": len(samples),
            "rows_without_answer": sum(plan.chosen.num_answerless.values()),
            "pictures": len({row["image_sha256"] for row in plan.rows}),
            "non_finite": len({line["id"] for line in samples if has_non_finite(line)}),
        },
        left_out=Counter(row["reason"] for row in left_out),
        details={"dtype": JOINT.join(sorted(dtypes))},
    )


def _lines(plan: EvaluationPlan, name: str) -> list[dict[str, Any]]:
    return list(read_jsonl(plan.out_dir / f"{name}.jsonl"))


def _say_what_is_missing(
    plan: EvaluationPlan,
    num_non_finite: int,
    samples: Path,
    row_counts: Mapping[str, Mapping[str, Any]],
    progress: Progress,
) -> None:
    if num_non_finite:
        first = next(line["id"] for line in read_jsonl(samples) if has_non_finite(line))
        progress(
            f"{plan.request.stage}: {num_non_finite} rows have a gate, confidence or evidence that is not finite, the "
            f"first {first}; it is written as null"
        )
    for dataset, counts in row_counts.items():
        if counts["asked"] == sum(counts["left_out"].values()):
            reasons = ", ".join(f"{number} {reason}" for reason, number in counts["left_out"].items())
            progress(
                f"{plan.request.stage}: no row of {dataset} is left of {counts['in_table']} in the table "
                f"({counts['without_answer']} without an answer{', ' if reasons else ''}{reasons})"
            )


def _add_scores(samples: Path, metrics: MetricSet) -> None:
    """Give each line its `scores` by metric, null without a reference; its prediction is final and stays as it is."""
    scored = (
        {**line, "scores": score_row(line, metrics.functions) if line["answers"] else None}
        for line in read_jsonl(samples)
    )
    staging = unfinished(samples)
    write_jsonl(staging, scored)
    staging.replace(samples)


def _check_config(config: EvaluateConfig, subject: Subject) -> None:
    if not any(config.arms_at(level) for level in config.all_levels):
        raise UsageError("nothing to evaluate: name at least one arm and one level")
    for arm in [*config.arms, *config.ablations]:
        if arm not in subject.arms:
            raise UsageError(f"arm {arm!r} does not fit {subject.name}: choose from {', '.join(subject.arms)}")


def signature(subject: Subject, request: Request, config: EvaluateConfig, dtype: str) -> dict[str, Any]:
    """What has to be equal for two scores to be comparable."""
    return {
        "code": request.code_version,
        "data_hash": request.inputs["table"],
        "ocr_hash": request.inputs.get(ASKED_OCR),
        "model_hash": subject.hashes["model"],
        "backbone_hash": subject.hashes.get("backbone", subject.hashes["model"]),  # the base is its own
        **{f"{name}_hash": value for name, value in subject.hashes.items() if name.startswith("index_")},
        "prompt": subject.prompt,
        "max_pixels": subject.max_pixels,
        "dtype": dtype,
        "decoding": f"greedy, at most {config.max_new_tokens} tokens",
        "damage": config.damage,
        "rows_per_dataset": config.rows_per_dataset,
        "seed": config.seed,
    }


Damaged = Callable[[Mapping[str, Any]], Any]


def damaged_picture(image_root: Path, config: EvaluateConfig) -> Damaged:
    """A function that draws a sample's damaged picture again, from the same seed."""
    from r3pp_core.corruption.config import CorruptionConfig
    from r3pp_core.corruption.simulator import corrupt
    from r3pp_core.ingest.ocr_store import OcrStore
    from r3pp_core.pictures import open_picture, picture_inside

    lines = OcrStore(image_root).lines
    if config.damage == "question":
        return lambda sample: open_picture(picture_inside(image_root, sample["image_path"]))
    corruption = CorruptionConfig(seed=config.seed, damage=config.damage)

    def draw(sample: Mapping[str, Any]) -> Any:
        picture = open_picture(picture_inside(image_root, sample["image_path"]))
        found = lines(sample["image_path"])
        text = "\n".join(line.text for line in found)
        return corrupt(picture, found, text, None, sample["level"], corruption, sample["id"]).image

    return draw
