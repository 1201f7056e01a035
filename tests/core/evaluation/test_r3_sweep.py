"""A sweep of an R3 model that retrieves, with gate and confidence: what its answers depend on, and what they do not."""

import json
import shutil

import pytest
from small_world import write_world_with_r3

from r3pp_core.errors import R3Error
from r3pp_core.evaluation.config import EvaluateConfig
from r3pp_core.evaluation.subjects import base_subject, r3_subject
from r3pp_core.evaluation.sweep import evaluate
from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.launch.interface import LaunchConfig

ARMS = ["r3", "r3-shuffled_evidence", "r3-oracle_evidence"]
CONFIG = EvaluateConfig(arms=ARMS, levels=[0.0, 0.8], max_new_tokens=8)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """val.jsonl asks six questions, of three to thirty words, about pictures that are not indexed."""
    root = write_world_with_r3(tmp_path_factory.mktemp("world"))
    rows = list(read_jsonl(root / "val.jsonl"))
    asked = [
        {
            **rows[number % 2],
            "id": f"val/{number}",
            "question": f"{'How many units, counted once more, ' * number}in {1990 + number}?",
        }
        for number in range(6)
    ]
    write_jsonl(root / "val.jsonl", asked)
    return root


def r3_of(world):
    models = world / "models"
    return r3_subject(models / "r3", models / "backbone", world / "indices", models / "minilm", models / "clip")


@pytest.fixture(scope="module")
def subject(world):
    return r3_of(world)


@pytest.fixture(scope="module")
def swept(world, subject, tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("results") / "r3"
    return evaluate(subject, world / "val.jsonl", world / "data", out_dir, CONFIG), out_dir


def samples_of(out_dir):
    return {(line["arm"], line["level"], line["id"]): line for line in read_jsonl(out_dir / "samples.jsonl")}


def test_every_answer_has_its_evidence_gate_and_confidence(swept):
    for line in samples_of(swept[1]).values():
        assert {hit["modality"] for hit in line["evidence"]} == {"text", "image"}
        assert sum(line["gate"].values()) == pytest.approx(1, abs=1e-3)
        assert all(0 < value < 1 for value in line["confidence"].values())
    assert len({line["prediction"] for line in samples_of(swept[1]).values()}) > 12, "answers to tell apart"


def test_batches_of_questions_of_many_lengths_answer_as_each_alone(swept, world, subject, tmp_path):
    config = CONFIG.model_copy(update={"batch_size": 1})
    assert evaluate(subject, world / "val.jsonl", world / "data", tmp_path, config) == swept[0]


def test_ranks_of_a_launcher_write_the_same_bytes(swept, world, subject, tmp_path):
    config = CONFIG.model_copy(update={"shard_rows": 3})
    launch = LaunchConfig(num_processes=2, env={"OMP_NUM_THREADS": "1"})
    evaluate(subject, world / "val.jsonl", world / "data", tmp_path, config, launch=launch)
    for name in ("samples.jsonl", "results.json"):
        assert (tmp_path / name).read_bytes() == (swept[1] / name).read_bytes()


def test_no_answer_but_the_oracles_depends_on_the_references(swept, world, subject, tmp_path):
    """The references become what other pictures of the index say, so that the oracle has something to show."""
    said = [row["answers"] for row in read_jsonl(world / "train.jsonl")]
    rows = [{**row, "answers": said[n], "answer": said[n][0]} for n, row in enumerate(read_jsonl(world / "val.jsonl"))]
    write_jsonl(tmp_path / "val.jsonl", rows)
    evaluate(subject, tmp_path / "val.jsonl", world / "data", tmp_path / "r3", CONFIG)
    before, after = samples_of(swept[1]), samples_of(tmp_path / "r3")
    model = world / "models" / "backbone"
    config = CONFIG.model_copy(update={"arms": ["base", "base_ocr"]})
    for table, out_dir, kept in (
        (world / "val.jsonl", tmp_path / "base", before),
        (tmp_path / "val.jsonl", tmp_path / "other", after),
    ):
        evaluate(base_subject(model, subject.config), table, world / "data", out_dir, config)
        kept.update(samples_of(out_dir))
    assert before.keys() == after.keys()
    seen = ("prediction", "evidence", "gate", "confidence", "operators", "truth")
    changed = {key[0] for key in before if any(before[key][name] != after[key][name] for name in seen)}
    assert changed == {"r3-oracle_evidence"}
    assert all(before[key]["answers"] != after[key]["answers"] for key in before)


@pytest.mark.parametrize("name", ["index.faiss", "vectors.npy"])
def test_an_index_that_lost_a_file_is_named_with_the_remedy(world, tmp_path, name):
    shutil.copytree(world / "indices", tmp_path / "indices")
    (tmp_path / "indices" / "text" / name).unlink()
    models = world / "models"
    lost = r3_subject(models / "r3", models / "backbone", tmp_path / "indices", models / "minilm", models / "clip")
    with pytest.raises(R3Error, match=rf"{name}.*r3pp index .*--force"):
        evaluate(lost, world / "val.jsonl", world / "data", tmp_path / "out", CONFIG)
    assert not (tmp_path / "out" / "samples.jsonl").exists()


def test_the_time_is_said_with_the_number_after_the_first_batch(world, subject, tmp_path):
    said: list[str] = []
    config = CONFIG.model_copy(update={"arms": ["r3"], "batch_size": 2})
    evaluate(subject, world / "val.jsonl", world / "data", tmp_path, config, said.append)
    assert said[0] == "evaluation/r3: 6 rows (0 screenqa, 6 chartqa, 0 infovqa), 12 answers to generate"
    words = said[1].split()
    assert words[:4] == ["evaluation/r3:", "12", "answers,", "about"]
    assert said[1].endswith(" s at the pace of the first 2")
    assert json.loads(words[4]) >= 0
