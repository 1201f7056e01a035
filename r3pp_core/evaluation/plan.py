"""What an evaluation asks, cut into shards of rows: the same pieces whoever answers them and however many do."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from r3pp_core import code_versions
from r3pp_core.artefact import Request, content_hash_of, hash_json
from r3pp_core.evaluation.config import EvaluateConfig
from r3pp_core.evaluation.rows import choose_rows
from r3pp_core.evaluation.subjects import Subject
from r3pp_core.ingest.ocr_store import ocr_table

SCORING_FIELDS = {"text_overlap"}  # of the config: they change what is computed of an answer, not the answer
PACE_FIELDS = {"batch_size", "shard_rows"}  # how the work is cut, which changes no answer


@dataclass(frozen=True)
class EvaluationPlan:
    """`rows` are sorted by the length of their picture's text, so that batches need little padding and the questions of
    a picture stand together."""

    image_root: Path
    out_dir: Path
    config: EvaluateConfig
    rows: Sequence[dict[str, Any]]
    num_answerless: int
    request: Request

    @property
    def shards_dir(self) -> Path:
        """Where answered shards wait for each other: none of another request is ever met there."""
        asked = replace(self.request, config=without_scoring(self.request.config))
        return work_dir(self.out_dir) / f"{asked.fingerprint[:16]}-{self.config.shard_rows}"

    @property
    def num_shards(self) -> int:
        return -(-len(self.rows) // self.config.shard_rows)

    @property
    def num_generations(self) -> int:
        return self.generations_of(len(self.rows))

    def generations_of(self, num_rows: int) -> int:
        return sum(len(self.config.arms_at(level)) for level in self.config.all_levels) * num_rows

    def shard(self, number: int) -> Sequence[dict[str, Any]]:
        start = number * self.config.shard_rows
        return self.rows[start : start + self.config.shard_rows]


def work_dir(out_dir: Path) -> Path:
    return out_dir / ".work"


def without_scoring(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in SCORING_FIELDS}


def plan_evaluation(
    subject: Subject, table: Path, image_root: Path, out_dir: Path, config: EvaluateConfig
) -> EvaluationPlan:
    """Choose the rows and say what is asked for. Raises R3Error for an unusable table."""
    rows, num_answerless = choose_rows(table, config.rows_per_dataset, config.seed, unanswered=config.unanswered)
    rows = sorted(rows, key=lambda row: (len(row["pseudo_text"]), row["image_sha256"], len(row["question"]), row["id"]))
    request = Request(
        stage=f"evaluation/{subject.name}",
        code_version=code_versions.EVALUATION,
        config=config.model_dump(exclude=PACE_FIELDS),
        inputs={
            "table": content_hash_of(table),
            "max_pixels": str(subject.max_pixels),
            "prompt": hash_json(subject.prompt),
            **subject.hashes,
            **_ocr_hashes(image_root, {row["dataset"] for row in rows}),
        },
    )
    return EvaluationPlan(image_root, out_dir, config, rows, num_answerless, request)


def _ocr_hashes(image_root: Path, datasets: Collection[str]) -> dict[str, str]:
    """Of the lines whose boxes say where a picture's damage meets its text."""
    tables = {name: ocr_table(image_root, name) for name in sorted(datasets)}
    return {f"ocr_{name}": content_hash_of(table) for name, table in tables.items() if table.is_file()}
