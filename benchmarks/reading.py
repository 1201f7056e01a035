"""What the sample's small backbone reads before any training on the sample.

    make demo                                    # makes workspace/sample
    python benchmarks/reading.py [--split val] [--root DIR]

On undamaged pictures, without evidence: each data set's score with the text that OCR read (at least 0.6); questions
that only the pixels answer without any text (at least 0.6), also by what they ask for, and with a blank picture in
place of each; questions that the text answers without it. What counts as chance for the last two is the best constant
answer to each wording, with the names of things taken out, chosen with the answers in sight.
"""

import argparse
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ingest import say
from PIL import Image

from r3pp_core.evaluation.config import EvaluateConfig
from r3pp_core.evaluation.grouping import score_row
from r3pp_core.evaluation.metrics import METRICS
from r3pp_core.evaluation.statistics import bootstrap_mean
from r3pp_core.evaluation.subjects import base_subject
from r3pp_core.evaluation.sweep import PRIMARY, evaluate
from r3pp_core.flags import validated
from r3pp_core.ingest.ocr_store import ocr_table
from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.recipes.paths import RunPaths
from r3pp_core.recipes.registry import recipe
from r3pp_core.sample.world import first_words
from r3pp_core.workspace import Workspace

PROJECT = Path(__file__).resolve().parents[1]
TARGET = 0.6
# Questions about looks by what they ask for; the first that fits.
LOOKS = {
    "counts": "How many",
    "colors": "What color|color of",
    "shapes of icons": "shape",
    "tabs and switches": "tab |switch",
    "which is longer, taller, higher": "tallest|longest|longer|highest|higher|largest",
}
Row = Mapping[str, Any]


class Reading:
    """Evaluations of the backbone on rows of one split."""

    def __init__(self, paths: Workspace, split: str, scratch: Path) -> None:
        self.paths, self.scratch = paths, scratch
        self.rows = list(read_jsonl(paths.merged(split)))
        self.asked = {
            (line["image_sha256"], asked["question"]): asked
            for line in read_jsonl(paths.source_dir / "facts.jsonl")
            for asked in line["questions"]
        }

    def kind(self, row: Row) -> str:
        """look: only the pixels answer; text: facts that are printed do; none: neither."""
        asked = self.asked[row["image_sha256"], row["question"]]
        if asked["looks"]:
            return "look"
        return "text" if asked["fact_ids"] else "none"

    def scores(self, name: str, rows: Sequence[Row], arm: str, image_root: Path) -> list[tuple[Row, float]]:
        """Each row with the score of its data set's leading metric."""
        table = self.scratch / f"{name}.jsonl"
        write_jsonl(table, rows)
        like = recipe("sample")(RunPaths.of(self.paths)).resolved_r3(None, None)
        subject = base_subject(self.paths.model_dir("backbone"), like)
        config = validated(
            EvaluateConfig, {"arms": [arm], "levels": [0.0], "rows_per_dataset": None, "max_new_tokens": 8}
        )
        evaluate(subject, table, image_root, self.scratch / name, config)
        by_id = {row["id"]: row for row in rows}
        samples = read_jsonl(self.scratch / name / "samples.jsonl")
        return [(by_id[one["id"]], score_row(one, METRICS)[PRIMARY[one["dataset"]]]) for one in samples]

    def blank_root(self) -> Path:
        """The pictures of the rows, each grey all over, with what OCR read of the real ones."""
        root = self.scratch / "blank"
        for name in {row["dataset"] for row in self.rows}:
            source = ocr_table(self.paths.image_root, name)
            target = ocr_table(root, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)
        for path in {row["image_path"] for row in self.rows}:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            with Image.open(self.paths.image_root / path) as image:
                Image.new("RGB", image.size, (128, 128, 128)).save(root / path)
        return root


def look(question: str) -> str:
    return next((name for name, words in LOOKS.items() if re.search(words, question)), "other looks")


def wording(question: str) -> str:
    """A question without names and numbers."""
    names = re.sub(rf"\b({'|'.join(first_words())}) \w+", "X", question)
    return re.sub(r"\d[\d:.,]*", "N", names)


def constant_score(rows: Sequence[Row]) -> float:
    """Of the best constant answer to each wording."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[wording(row["question"])].append(row)
    right = sum(
        Counter(a for row in group for a in set(row["answers"])).most_common(1)[0][1] for group in groups.values()
    )
    return right / len(rows)


def report(title: str, scored: Sequence[tuple[Row, float]], group: Callable[[Row], str] = lambda row: "all") -> None:
    groups: dict[str, list[tuple[Row, float]]] = defaultdict(list)
    for row, score in scored:
        groups[group(row)].append((row, score))
    for name, members in sorted(groups.items()):
        interval = bootstrap_mean([score for _, score in members], [row["image_sha256"] for row, _ in members])
        say(f"{title} {name}: {interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}] n={len(members)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=PROJECT / "workspace" / "sample")
    parser.add_argument("--split", default="val")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        reading = Reading(Workspace(args.root.resolve()), args.split, Path(scratch))
        image_root = reading.paths.image_root
        looks = [row for row in reading.rows if reading.kind(row) == "look"]
        texts = [row for row in reading.rows if reading.kind(row) == "text"]
        read = reading.scores("read", reading.rows, "base_ocr", image_root)
        report("picture and text:", read, lambda row: row["dataset"])
        for kind in ("text", "look", "none"):
            if chosen := [(row, score) for row, score in read if reading.kind(row) == kind]:
                report(f"picture and text, {kind}:", chosen)
        seen = reading.scores("looks", looks, "base", image_root)
        report("looks, picture alone:", seen, lambda row: row["dataset"])
        report("looks, picture alone:", seen, lambda row: look(row["question"]))
        report("looks, picture alone:", seen)
        report("looks, blank picture:", reading.scores("blind", looks, "base", reading.blank_root()))
        say(f"looks, best constant answer: {constant_score(looks):.3f}")
        report("text questions, picture alone:", reading.scores("textless", texts, "base", image_root))
        say(f"text questions, best constant: {constant_score(texts):.3f}")
        worst = min(np.mean([s for r, s in read if r["dataset"] == d]) for d in {r["dataset"] for r, _ in read})
        say(f"worst data set {worst:.3f} (asked: {TARGET})")


if __name__ == "__main__":
    main()
