"""What an evaluation asks, cut into shards of rows: the same pieces whoever answers them and however many do."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from r3pp_core import code_versions
from r3pp_core.artefact import Manifest, Request, Target, content_hash_of, hash_json, is_whole, read_manifest
from r3pp_core.evaluation.config import EvaluateConfig
from r3pp_core.evaluation.metric_set import chosen_metrics
from r3pp_core.evaluation.rows import ChosenRows, choose_rows
from r3pp_core.evaluation.subjects import Subject
from r3pp_core.ingest.ocr_store import OcrStore, ocr_table

SCORING_FIELDS = {"text_overlap", "metrics_version"}  # they change what is computed of an answer, not the answer
ASKED_FIELDS = {"arms", "levels", "ablations", "ablation_levels"}  # which questions, each answered for itself
ROW_COUNTS = ("in_table", "without_answer", "asked", "left_out")  # what became of a data set's rows, see count_rows
ASKED_OCR = "asked_ocr"  # among the inputs of an evaluation
PACE_FIELDS = {"batch_size", "shard_rows"}  # how the work is cut, which changes no answer


@dataclass(frozen=True)
class EvaluationPlan:
    """`rows` are sorted by the length of their picture's text, so that batches need little padding and the questions of
    a picture stand together. `answered`: arms at levels that need not be asked, since `out_dir` holds their answers."""

    image_root: Path
    out_dir: Path
    config: EvaluateConfig
    rows: Sequence[dict[str, Any]]
    chosen: ChosenRows
    request: Request
    answered: frozenset[tuple[str, float]] = frozenset()

    @property
    def shards_dir(self) -> Path:
        """Where answered shards wait for each other: none of another request is ever met there."""
        asked = replace(self.request, config=_without(self.request.config, SCORING_FIELDS))
        kept = f"-{hash_json(sorted(self.answered))[:16]}" if self.answered else ""
        return work_dir(self.out_dir) / f"{asked.fingerprint[:16]}{kept}-{self.config.shard_rows}"

    def arms_at(self, level: float) -> list[str]:
        """Those that have to be asked."""
        return [arm for arm in self.config.arms_at(level) if (arm, level) not in self.answered]

    @property
    def levels(self) -> list[float]:
        """Those at which something has to be asked."""
        return [level for level in self.config.all_levels if self.arms_at(level)]

    @property
    def answers_a_row(self) -> int:
        return len(self.config.pairs - self.answered)

    @property
    def num_shards(self) -> int:
        return -(-len(self.rows) // self.config.shard_rows)

    @property
    def num_generations(self) -> int:
        return self.answers_a_row * len(self.rows)

    def shard(self, number: int) -> Sequence[dict[str, Any]]:
        start = number * self.config.shard_rows
        return self.rows[start : start + self.config.shard_rows]

    def count_rows(self, rejected: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """By data set what became of the table's rows: in_table, without_answer (of these), asked, and left_out, those
        of the asked that were `rejected`, by reason."""
        asked = Counter(row["dataset"] for row in self.rows)
        dataset_of = {row["id"]: row["dataset"] for row in self.rows}
        left_out: dict[str, Counter[str]] = defaultdict(Counter)
        for line in rejected:
            left_out[dataset_of[line["id"]]][line["reason"]] += 1
        return {
            dataset: {
                "in_table": num_rows,
                "without_answer": self.chosen.num_answerless[dataset],
                "asked": asked[dataset],
                "left_out": dict(sorted(left_out[dataset].items())),
            }
            for dataset, num_rows in sorted(self.chosen.num_in_table.items())
        }


def work_dir(out_dir: Path) -> Path:
    return out_dir / ".work"


def finished_before(plan: EvaluationPlan) -> tuple[Manifest, EvaluationPlan] | None:
    """What `plan.out_dir` holds of the same rows, asked by the same model in the same way, and what that leaves to ask;
    None where nothing of it serves.

    A row that was left out stays so; therefore an evaluation at levels that are not asked for, one of which may be what
    left it out, serves only where nothing was. Of answers from another machine the number format is not known before
    it has answered, so that none are added to others.
    """
    target = Target(plan.out_dir)
    manifest = read_manifest(target)
    if manifest is None or not is_whole(target, manifest):
        return None
    free = SCORING_FIELDS | ASKED_FIELDS
    old = Request(manifest.stage, manifest.code_version, _without(manifest.config, free), manifest.inputs)
    if old != replace(plan.request, config=_without(plan.request.config, free)):
        return None
    before = config_of(manifest)
    if manifest.left_out and not set(before.all_levels) <= set(plan.config.all_levels):
        return None
    answered = before.pairs & plan.config.pairs
    if not answered or (answered < plan.config.pairs and "dtype" not in plan.request.inputs):
        return None
    return manifest, replace(plan, answered=answered)


def _without(config: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in names}


def config_of(manifest: Manifest) -> EvaluateConfig:
    """What a finished evaluation was asked for."""
    own = {name: value for name, value in manifest.config.items() if name != "metrics_version"}
    return EvaluateConfig.model_validate(own)


def plan_evaluation(
    subject: Subject, table: Path, image_root: Path, out_dir: Path, config: EvaluateConfig, *, dtype: str | None
) -> EvaluationPlan:
    """Choose the rows and say what is asked for. Raises R3Error for an unusable table.

    `dtype` is that of the answers, `subject.dtype` on this machine; None where another answers, since its own is only
    known when it has.
    """
    chosen = choose_rows(table, config.rows_per_dataset, config.seed, unanswered=config.unanswered)
    rows = sorted(
        chosen.rows, key=lambda row: (len(row["pseudo_text"]), row["image_sha256"], len(row["question"]), row["id"])
    )
    request = Request(
        stage=f"evaluation/{subject.name}",
        code_version=code_versions.EVALUATION,
        config={
            **config.model_dump(exclude=PACE_FIELDS),
            "metrics_version": chosen_metrics(config.text_overlap).version,
        },
        inputs={
            "table": content_hash_of(table),
            "max_pixels": str(subject.max_pixels),
            "prompt": hash_json(subject.prompt),
            **({"dtype": dtype} if dtype else {}),
            **subject.hashes,
            **_ocr_hash(image_root, rows),
        },
    )
    return EvaluationPlan(image_root, out_dir, config, rows, chosen, request)


def _ocr_hash(image_root: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Of the lines of the pictures that are asked about: their boxes say where a picture's damage meets its text."""
    store = OcrStore(image_root)
    read = [row for row in rows if ocr_table(image_root, row["dataset"]).is_file()]
    lines = {
        row["image_path"]: [(line.text, line.box, line.conf) for line in store.lines(row["image_path"])] for row in read
    }
    return {ASKED_OCR: hash_json(lines)} if lines else {}
