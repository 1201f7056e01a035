"""What an evaluation costs beside the generation that it cannot do without.

    make demo                                   # makes workspace/sample, which is measured
    python benchmarks/evaluation.py [batching|generate|sweep|sample ...] [--root DIR] [--rows 64] [--side 256]

batching  rows a second against the same model asked one row at a time (at least 3 times).
generate  rows a second against bare `generate` on batches that are ready (at least 0.85).
sweep     a whole sweep of base and R3 against start-up plus the bare generates it needs (at most 1.1 times), and how
          often a picture was decoded (once).
sample    seconds for base and R3 at all five levels on --sample_rows questions a data set (150 on two cores; at least
          300 questions of every data set, or it says so).

As in every benchmark here a target that is missed is said (MISSES), and the exit code is 0.

Bare means: pictures damaged, evidence looked up and prompts encoded before the clock starts. The seconds of that
preparation alone are told besides: on two cores it competes with generation, and no evaluation is faster than the two
together need; on a GPU it is hidden behind generation. --new_tokens makes generation heavier.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from ingest import say, verdict

from r3pp_core import pictures
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.evaluation.config import EvaluateConfig
from r3pp_core.evaluation.plan import EvaluationPlan, plan_evaluation
from r3pp_core.evaluation.subjects import Subject, base_subject, r3_subject
from r3pp_core.evaluation.sweep import evaluate
from r3pp_core.model.collation import collate, to_device
from r3pp_core.model.config import ARMS
from r3pp_core.workspace import Workspace

PROJECT = Path(__file__).resolve().parents[1]
BATCHING_TARGET, GENERATE_TARGET, SWEEP_TARGET, SAMPLE_TARGET_S = 3.0, 0.85, 1.1, 150.0
DECODED_TARGET, SAMPLE_ROWS = 1, 300  # a picture in a sweep; questions of a data set in the sample


class Bench:
    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.paths, self.num_rows, self.sample_rows = Workspace(args.root), args.rows, args.sample_rows
        self.side, self.new_tokens, self.folder = args.side, args.new_tokens, folder

    def subjects(self) -> list[Subject]:
        """R3 and base, not loaded, that see pictures of `side` x `side` pixels at most."""
        paths = self.paths
        encoders = (paths.model_dir("minilm"), paths.model_dir("clip"))
        r3 = r3_subject(paths.model_dir("r3"), paths.model_dir("backbone"), paths.indices_dir, *encoders)
        r3.config = r3.config.model_copy(update={"max_pixels": self.side * self.side})
        return [base_subject(paths.model_dir("backbone"), r3.config), r3]

    def config(self, subject: Subject, **fields: Any) -> EvaluateConfig:
        values = {"arms": [subject.name], "rows_per_dataset": self.num_rows, "max_new_tokens": self.new_tokens}
        return EvaluateConfig.model_validate({**values, **fields})

    def plan(self, subject: Subject, config: EvaluateConfig) -> EvaluationPlan:
        table, folder = self.paths.merged("val"), self.folder / "x"
        return plan_evaluation(subject, table, self.paths.image_root, folder, config, dtype=subject.dtype)

    def seconds(self, subject: Subject, config: EvaluateConfig) -> float:
        """Of a whole evaluation by a subject that may be loaded already."""
        out_dir = self.folder / "out"
        shutil.rmtree(out_dir, ignore_errors=True)
        began = time.monotonic()
        evaluate(subject, self.paths.merged("val"), self.paths.image_root, out_dir, config)
        return time.monotonic() - began

    def bare_seconds(self, subject: Subject, config: EvaluateConfig) -> tuple[float, float]:
        """Of the generates alone, and of preparing for them."""
        generating, preparing = 0.0, 0.0
        began = time.monotonic()
        for batch in self._ready(subject, config):
            ready = time.monotonic()
            subject.model.generate(batch, max_new_tokens=config.max_new_tokens)
            done = time.monotonic()
            preparing, generating, began = preparing + ready - began, generating + done - ready, done
        return generating, preparing

    def _ready(self, subject: Subject, config: EvaluateConfig) -> Iterator[Any]:
        plan = self.plan(subject, config)
        preparer = subject.preparer(plan.image_root, config.damage, config.seed)
        model = subject.model
        for number in range(plan.num_shards):
            rows = plan.shard(number)
            for start in range(0, len(rows), config.batch_size):
                for level in config.all_levels:
                    prepared = preparer.prepare(rows[start : start + config.batch_size], level).rows
                    for arm in config.arms_at(level):
                        batch = collate(
                            subject.shown(prepared, arm),
                            model.tokenizer,
                            subject.config,
                            arm=ARMS[arm],
                            merge_size=model.merge_size,
                        )
                        yield to_device(batch, model.device)


def batching(bench: Bench, rounds: int) -> None:
    for subject in bench.subjects():
        config = bench.config(subject, levels=[0.4])
        one = config.model_copy(update={"batch_size": 1})
        assert subject.model  # loaded before the clock starts
        pairs = [(bench.seconds(subject, one), bench.seconds(subject, config)) for _ in range(rounds)]
        ratio = statistics.median(alone / together for alone, together in pairs)
        rate = statistics.median(3 * bench.num_rows / together for _, together in pairs)
        bound = verdict(ratio, BATCHING_TARGET, at_least=True)
        say(f"batching {subject.name}: {rate:.0f} rows/s by 32, {ratio:.2f} x one at a time, {bound}")


def generate(bench: Bench, rounds: int) -> None:
    for subject in bench.subjects():
        config = bench.config(subject, levels=[0.4])
        assert subject.model  # loaded before the clock starts
        found = [(*bench.bare_seconds(subject, config), bench.seconds(subject, config)) for _ in range(rounds)]
        bare, preparing, whole = (statistics.median(times) for times in zip(*found, strict=True))
        bound = verdict(bare / whole, GENERATE_TARGET, at_least=True)
        say(
            f"generate {subject.name}: {bare / whole:.2f} of the rows a second of bare generate, {bound}; generating "
            f"alone {bare:.1f} s, preparing alone {preparing:.1f} s, the evaluation {whole:.1f} s"
        )


def sweep(bench: Bench, rounds: int) -> None:
    ratios, decoded, most = [], Counter[str](), dict[str, int]()
    opened = pictures.open_picture

    def counted(source: Any, *rest: Any) -> Any:
        decoded[str(source)] += 1
        return opened(source, *rest)

    for _ in range(rounds):
        whole = needed = 0.0
        for subject in bench.subjects():
            config = bench.config(subject)
            decoded.clear()
            with mock.patch.object(pictures, "open_picture", counted):
                whole += bench.seconds(subject, config)
            most[subject.name] = max(most.get(subject.name, 0), *decoded.values())
        for subject in bench.subjects():
            began = time.monotonic()
            assert subject.model
            needed += time.monotonic() - began + bench.bare_seconds(subject, bench.config(subject))[0]
        ratios.append(whole / needed)
    for name, times in most.items():
        say(f"sweep {name}: each picture decoded {times} x at most, {verdict(times, DECODED_TARGET, at_least=False)}")
    ratio = statistics.median(ratios)
    say(f"sweep: {ratio:.2f} x (start-up + bare generates), {verdict(ratio, SWEEP_TARGET, at_least=False)}")


def sample(bench: Bench, rounds: int) -> None:
    seconds = {}
    for subject in bench.subjects():
        config = bench.config(subject, rows_per_dataset=bench.sample_rows)
        rows = bench.plan(subject, config).rows
        num_rows, sizes = len(rows), Counter(row["dataset"] for row in rows)
        smallest = min(sizes[name] for name in DATASETS)
        seconds[subject.name] = bench.seconds(subject, config)
        rate = num_rows * len(config.levels) / seconds[subject.name]
        say(f"sample {subject.name}: {num_rows} rows at {len(config.levels)} levels, {rate:.0f} answers/s")
        say(f"sample {subject.name}: {smallest} rows of the smallest data set, {verdict(smallest, SAMPLE_ROWS, True)}")
    total = sum(seconds.values())
    each = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    say(f"sample: {total:.0f} s ({each}), {verdict(total, SAMPLE_TARGET_S, at_least=False)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"batching": batching, "generate": generate, "sweep": sweep, "sample": sample}
    parser.add_argument("parts", nargs="*", choices=[[], *parts], help="all without one")
    parser.add_argument("--root", type=Path, default=PROJECT / "workspace" / "sample")
    parser.add_argument("--rows", type=int, default=64, help="questions of a data set")
    parser.add_argument("--sample_rows", type=int, default=SAMPLE_ROWS)
    parser.add_argument("--side", type=int, default=256, help="pictures are shrunk to side x side pixels")
    parser.add_argument("--new_tokens", type=int, default=8, help="longest answer")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if not (args.root / "models" / "r3" / "manifest.json").is_file():
        parser.error(f"{args.root} has no trained model; run `make demo` first, or name a workspace with --root")
    for name in args.parts or parts:
        with tempfile.TemporaryDirectory() as folder:
            parts[name](Bench(args, Path(folder)), args.rounds)


if __name__ == "__main__":
    main()
