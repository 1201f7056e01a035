"""Exported models whose weights are a word, and evaluations of them with real samples and scores."""

import json
from collections.abc import Callable

import pytest

from r3pp_core.artefact import Outcome, Request, Target, build
from r3pp_core.champion.promotion import Candidate
from r3pp_core.evaluation.scoring import score_samples
from r3pp_core.jsonl import write_jsonl
from r3pp_core.model.backbone import weights_hash

PRIMARY = {"chartqa": "relaxed_accuracy", "infovqa": "anls"}
LEVELS = (0.0, 0.4, 0.8)
NUM_ROWS = 120


def right_share(clean: float, damaged: float) -> Callable[[int, float], bool]:
    """Which rows are answered right: a share of them at level 0, another at every other level."""
    return lambda number, level: (number * 37) % NUM_ROWS < NUM_ROWS * (damaged if level else clean)


@pytest.fixture
def table(tmp_path):
    """`table(ids)`: a training table with these rows, and its hash in the models made after."""

    def make(*rows):
        path = tmp_path / "train.jsonl"
        write_jsonl(path, [{"id": row_id, "question": question} for row_id, question in rows])
        return path

    return make


@pytest.fixture
def model(tmp_path):
    """`model(weights, **training config)`: a finished exported folder."""

    def make(weights, made_from=None, **config):
        def write(staging):
            described = {"model_type": "r3pp", "backbone_hash": "base"}
            described["made_from"] = {"train_jsonl": "none", **(made_from or {})}
            (staging / "config.json").write_text(json.dumps(described))
            (staging / "training_config.json").write_text(json.dumps({"lr": 1e-4, "output_dir": weights, **config}))
            (staging / "model.safetensors").write_text(weights)
            (staging / "backbone").mkdir()
            (staging / "backbone" / "model.safetensors").write_text(weights)
            return Outcome(counts={"step": 1})

        build(Target(tmp_path / weights), Request("model/r3", "1", {"weights": weights}, {}), write)
        return tmp_path / weights

    return make


@pytest.fixture
def evaluation(tmp_path):
    """`evaluation(name, model_hash, is_right, arm)`: what the sweep leaves."""

    def make(
        name, model_hash, is_right, arm="r3", levels=LEVELS, num_rows=NUM_ROWS, world="a", rows_a_picture=1, **signature
    ):
        samples = [
            {
                "id": f"{dataset}/val/{number:03}",
                "dataset": dataset,
                "arm": arm,
                "level": level,
                "image_path": f"{dataset}/images/{number}.png",
                "image_sha256": f"{world}{number // rows_a_picture:03}",
                "question": f"How many in {number} of {world}?",
                "answers": [f"word{number}"],
                "prediction": f"word{number}" if is_right(number, level) else "no idea at all",
            }
            for dataset in PRIMARY
            for number in range(num_rows)
            for level in levels
        ]

        def write(staging):
            described = {"damage": "both", "seed": 0, "model_hash": model_hash, **signature}
            results = score_samples(samples, PRIMARY, signature=described)
            (staging / "results.json").write_text(json.dumps(results))
            write_jsonl(staging / "samples.jsonl", samples)
            return Outcome(counts={})

        folder = tmp_path / f"scores of {name}"
        request = Request("evaluation", "1", {}, {"model": model_hash, "table": world})
        build(Target(folder), request, write, force=True)
        return folder

    return make


@pytest.fixture
def candidate(tmp_path, model, evaluation):
    """`candidate(weights, clean, damaged)`: a model with such shares of right answers, and a base with 50 and 20 %."""

    def make(weights, clean=0.6, damaged=0.5, train_jsonl=None, made_from=None, config=None, **evaluated):
        folder = model(weights, made_from, **(config or {}))
        scores = evaluation(weights, weights_hash(folder), right_share(clean, damaged), **evaluated)
        base = evaluation("base", "base", right_share(0.5, 0.2), arm="base", **evaluated)
        return Candidate(folder, scores, base, train_jsonl)

    return make
