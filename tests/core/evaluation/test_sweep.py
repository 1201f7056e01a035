"""A sweep asks a real small model every chosen row at every level, and is an artefact."""

import hashlib
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, ImageDraw

from r3pp_core import pictures
from r3pp_core.artefact import Request
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.evaluation import metric_set
from r3pp_core.evaluation.config import EvaluateConfig
from r3pp_core.evaluation.grouping import score_row
from r3pp_core.evaluation.job import EvaluationJob, evaluation_job, launch_dir
from r3pp_core.evaluation.metrics import METRICS
from r3pp_core.evaluation.plan import config_of, plan_evaluation
from r3pp_core.evaluation.reporting import make_report, read_results
from r3pp_core.evaluation.shards import answer_shards
from r3pp_core.evaluation.subjects import Places, base_subject, r3_subject
from r3pp_core.evaluation.sweep import damaged_picture, evaluate, signature
from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.launch.failures import describe, kind_of
from r3pp_core.launch.interface import LaunchConfig
from r3pp_core.launch.run_dir import hold_run_dir, request_stop
from r3pp_core.model import prompt
from r3pp_core.model.collation import collate
from r3pp_core.model.config import PromptConfig, R3Config
from r3pp_core.model.preparation import Preparer, RejectedRow
from r3pp_core.model.storage import SEEN_VERSION
from r3pp_core.sample.backbones import build_small_backbone

ASKED = Request("evaluation/r3", "9", {}, {"table": "t", "asked_ocr": "o"})
CONFIG = EvaluateConfig(
    arms=["base"], ablations=["base_ocr"], levels=[0.0, 0.8], ablation_levels=[0.8], max_new_tokens=2
)
CLEAN = CONFIG.model_copy(update={"levels": [0.0], "ablations": []})
TEXT = "Sales of 2019 are 37 units"


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """val.jsonl with four rows over three pictures and an answerless one; raw/ with the pictures."""
    root = tmp_path_factory.mktemp("sweep")
    rows = []
    for number, picture in enumerate((0, 1, 2, 2, 0)):
        path = root / "raw" / "chartqa" / "images" / f"validation_{picture}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (80, 60), "white")
        ImageDraw.Draw(image).rectangle((5, 5, 20 + 15 * picture, 40), fill=(60 * picture, 90, 200))
        image.save(path)
        rows.append(
            {
                "id": f"chartqa/val/{number}",
                "dataset": "chartqa",
                "split": "val",
                "image_path": f"chartqa/images/validation_{picture}.png",
                "image_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "question": f"How many units were sold in 201{number}?",
                "answer": "37",
                "answers": ["37"] if number < 4 else [],
                "ocr_text": TEXT,
                "ocr_conf": 0.9,
                "pseudo_text": TEXT,
                "meta": {"human_or_machine": number % 2},
            }
        )
    write_jsonl(root / "val.jsonl", rows)
    return root


@pytest.fixture(scope="session")
def subject(tmp_path_factory):
    import torch

    torch.set_num_threads(1)
    backbone = tmp_path_factory.mktemp("models") / "backbone"
    build_small_backbone(backbone, [TEXT, "How many units were sold in 2012?"] * 3)
    return base_subject(backbone, R3Config(max_pixels=4096, prompt=PromptConfig(max_ocr_chars=40)))


@pytest.fixture
def narrow_when_damaged(monkeypatch):
    """Row 2 is rejected at every level but 0."""
    damage = Preparer.damage

    def refused(self, row, level, visit=0):
        if row["id"] == "chartqa/val/2" and level:
            return RejectedRow(row["id"], "picture_too_narrow", "cropped to a line")
        return damage(self, row, level, visit)

    monkeypatch.setattr(Preparer, "damage", refused)


@pytest.fixture(scope="session")
def swept(folder, subject, tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("results") / "base"
    return evaluate(subject, folder / "val.jsonl", folder / "raw", out_dir, CONFIG), out_dir


def test_every_row_is_asked_once_in_each_arm_at_each_of_its_levels(swept):
    manifest, out_dir = swept
    samples = [(line["arm"], line["level"], line["id"]) for line in read_jsonl(out_dir / "samples.jsonl")]
    ids = [f"chartqa/val/{number}" for number in range(4)]
    assert samples == [
        (arm, level, row) for arm, level in (("base", 0), ("base", 0.8), ("base_ocr", 0.8)) for row in ids
    ]
    assert manifest.counts == {"rows": 4, "samples": 12, "rows_without_answer": 1, "pictures": 3, "non_finite": 0}


def test_arms_that_are_asked_about_the_same_pictures_see_them_once_and_answer_as_if_alone(
    folder, subject, tmp_path, monkeypatch
):
    seen = []
    see = subject.model.see
    monkeypatch.setattr(subject.model, "see", lambda batch: seen.append(len(batch.row_ids)) or see(batch))
    both = CONFIG.model_copy(update={"arms": ["base", "base_ocr"], "ablations": []})
    evaluate(subject, folder / "val.jsonl", folder / "raw", tmp_path / "both", both)
    assert seen == [4, 4]  # a level each
    together = [line for line in read_jsonl(tmp_path / "both" / "samples.jsonl") if line["arm"] == "base_ocr"]
    alone = both.model_copy(update={"arms": ["base_ocr"]})
    evaluate(subject, folder / "val.jsonl", folder / "raw", tmp_path / "alone", alone)
    assert list(read_jsonl(tmp_path / "alone" / "samples.jsonl")) == together


def test_what_was_seen_gives_the_answers_that_the_pictures_give(folder, subject):
    rows = list(read_jsonl(folder / "val.jsonl"))[:3]
    prepared = subject.preparer(folder / "raw", "both", 0).prepare(rows, 0.4).rows
    batch = collate(prepared, subject.model.tokenizer, subject.config, merge_size=subject.model.merge_size)
    other = subject.model.see(batch)
    assert subject.model.generate(batch, 6, seen=other) == subject.model.generate(batch, 6)
    other.pooler_output = other.pooler_output[:-1]
    with pytest.raises(ValueError, match=r"[Ii]mage"):  # it is really used: with a picture less it does not fit
        subject.model.generate(batch, 6, seen=other)


def test_an_answer_without_an_end_was_cut_at_the_limit(folder, subject, monkeypatch):
    import torch

    model = subject.model
    prepared = subject.preparer(folder / "raw", "both", 0).prepare(list(read_jsonl(folder / "val.jsonl"))[:2], 0.0).rows
    batch = collate(prepared, model.tokenizer, subject.config, merge_size=model.merge_size)
    word, end, pad = (model.tokenizer.convert_tokens_to_ids(x) for x in ("a", "<|im_end|>", "<|endoftext|>"))
    said = torch.tensor([[word, word, word], [word, end, pad]])

    def generate(input_ids, **rest):
        model.embedding(input_ids)
        return torch.cat([input_ids, said], dim=1)

    monkeypatch.setattr(model.backbone, "generate", generate, raising=False)
    assert [answer.is_cut for answer in model.generate(batch, 3)] == [True, False]


def test_a_sample_holds_everything_about_its_answer(swept):
    for line in read_jsonl(swept[1] / "samples.jsonl"):
        assert isinstance(line["prediction"], str)
        assert line["answers"] == ["37"]
        assert bool(line["operators"]) == (line["level"] > 0)
        assert line["asked"] == line["question"]
        assert line["evidence"] == []
        assert (line["pseudo_text"] is None) == (line["arm"] == "base")
        assert line["level"] or line["pseudo_text"] in (None, TEXT)
        assert line["is_cut"] in (True, False)
        assert line["scores"] == score_row(line, METRICS)
        assert 0 <= line["truth"]["c_vis"] <= 1


def test_results_have_a_cell_for_each_arm_and_level_and_a_signature(swept, subject):
    results = read_results(swept[1])
    arms = results["results"]["chartqa"]
    assert {arm: list(levels) for arm, levels in arms.items()} == {"base": ["0", "0.8"], "base_ocr": ["0.8"]}
    assert arms["base"]["0"]["n"] == 4
    assert results["primary"] == {"chartqa": "relaxed_accuracy"}
    assert results["signature"]["model_hash"] == subject.hashes["model"]
    assert results["signature"]["dtype"] == "float32"
    assert results["signature"]["decoding"] == "greedy, at most 2 tokens"


def test_a_second_sweep_does_nothing(swept, folder, subject):
    said: list[str] = []
    again = evaluate(subject, folder / "val.jsonl", folder / "raw", swept[1], CONFIG, said.append)
    assert again == swept[0]
    assert "nothing to do" in said[-1]
    assert (swept[1] / "environment.json").is_file()
    assert "environment.json" not in again.files


def test_the_batch_size_changes_neither_the_answers_nor_the_artefact(swept, folder, subject, tmp_path):
    config = CONFIG.model_copy(update={"batch_size": 1})
    manifest = evaluate(subject, folder / "val.jsonl", folder / "raw", tmp_path, config)
    assert manifest == swept[0]


def test_each_picture_is_decoded_once_for_all_levels_and_questions(folder, subject, tmp_path, monkeypatch):
    decoded = []
    opened = pictures.open_picture
    monkeypatch.setattr(pictures, "open_picture", lambda path: (decoded.append(path.name), opened(path))[1])
    config = CONFIG.model_copy(update={"batch_size": 1})
    evaluate(subject, folder / "val.jsonl", folder / "raw", tmp_path, config)
    assert sorted(decoded) == [f"validation_{number}.png" for number in range(3)]


def test_other_scores_of_finished_answers_are_made_without_asking_the_model(
    swept, folder, subject, tmp_path, monkeypatch
):
    out_dir = shutil.copytree(swept[1], tmp_path / "out")
    monkeypatch.setattr(subject.model, "generate", None)
    config = CONFIG.model_copy(update={"text_overlap": True})
    manifest = evaluate(subject, folder / "val.jsonl", folder / "raw", out_dir, config)
    assert (manifest.counts, manifest.left_out) == (swept[0].counts, swept[0].left_out)
    before, after = (list(read_jsonl(folder / "samples.jsonl")) for folder in (swept[1], out_dir))
    assert all({"bleu", "rouge_l"} <= set(line["scores"]) for line in after)
    assert [{**line, "scores": None} for line in after] == [{**line, "scores": None} for line in before]
    cell = read_results(out_dir)["results"]["chartqa"]["base"]["0"]["metrics"]
    assert {"bleu", "rouge_l"} <= set(cell)
    back = evaluate(subject, folder / "val.jsonl", folder / "raw", out_dir, CONFIG)
    assert back == swept[0]


@pytest.mark.parametrize("launch", [None, LaunchConfig(num_processes=2, env={"OMP_NUM_THREADS": "1"}, poll_s=0.01)])
def test_of_an_added_arm_or_level_only_that_is_asked(swept, folder, subject, tmp_path, launch):
    """With the same bytes as if all had been asked at once."""
    tables, said = (folder / "val.jsonl", folder / "raw"), []
    evaluate(subject, *tables, tmp_path / "out", CLEAN)
    manifest = evaluate(subject, *tables, tmp_path / "out", CONFIG, said.append, launch=launch)
    assert manifest == swept[0]
    assert [text for text in said if "answers" in text][:2] == [
        f"evaluation/base: 4 answers of {tmp_path / 'out'} stand",
        "evaluation/base: 4 rows (0 screenqa, 4 chartqa, 0 infovqa), 8 answers to generate",
    ]
    assert not (tmp_path / "out" / ".work").exists()


def test_fewer_arms_and_levels_ask_nothing(swept, folder, subject, tmp_path, monkeypatch):
    out_dir = shutil.copytree(swept[1], tmp_path / "out")
    monkeypatch.setattr(subject.model, "generate", None)
    less = CONFIG.model_copy(update={"levels": [0.8], "ablations": []})
    evaluate(subject, folder / "val.jsonl", folder / "raw", out_dir, less)
    assert {(line["arm"], line["level"]) for line in read_jsonl(out_dir / "samples.jsonl")} == {("base", 0.8)}


def test_a_row_that_only_other_levels_left_out_is_asked_again(folder, subject, tmp_path, narrow_when_damaged):
    tables = (folder / "val.jsonl", folder / "raw")
    assert evaluate(subject, *tables, tmp_path, CONFIG).counts["samples"] == 9
    assert evaluate(subject, *tables, tmp_path / "grown", CLEAN).counts["samples"] == 4
    assert evaluate(subject, *tables, tmp_path / "grown", CONFIG).counts["samples"] == 9, "its old answer goes too"
    more = CONFIG.model_copy(update={"levels": [0.0, 0.4, 0.8]})
    assert evaluate(subject, *tables, tmp_path, more).counts["samples"] == 12
    assert evaluate(subject, *tables, tmp_path, CLEAN).counts["samples"] == 4


def test_rows_that_do_not_fit_into_memory_together_are_asked_in_halves(swept, folder, subject, tmp_path, monkeypatch):
    import torch

    generate, sizes = subject.model.generate, []

    def full(batch, **settings):
        sizes.append(len(batch.row_ids))
        if len(batch.row_ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(batch, **settings)

    monkeypatch.setattr(subject.model, "generate", full)
    monkeypatch.setattr(subject, "_most_rows", None)
    assert evaluate(subject, folder / "val.jsonl", folder / "raw", tmp_path, CONFIG) == swept[0]
    assert sizes == [4, 2, *[1] * 12]  # what is too many is not tried again


def test_a_row_that_does_not_fit_into_memory_alone_is_named(folder, subject, tmp_path, monkeypatch):
    import torch

    def full(batch, **settings):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(subject.model, "generate", full)
    monkeypatch.setattr(subject, "_most_rows", None)
    with pytest.raises(R3Error, match=r"chartqa/val/\d alone is out of memory: .*--max_pixels") as met:
        evaluate(subject, folder / "val.jsonl", folder / "raw", tmp_path, CONFIG)
    assert kind_of(describe(met.value, rank=0)) == "out_of_memory"


def test_an_arm_that_is_named_twice_is_asked_once(swept, folder, subject, tmp_path):
    twice = CONFIG.model_copy(update={"arms": ["base", "base"], "ablations": ["base_ocr", "base"]})
    assert twice.arms_at(0.8) == ["base", "base_ocr"]
    evaluate(subject, folder / "val.jsonl", folder / "raw", tmp_path, twice)
    assert (tmp_path / "samples.jsonl").read_bytes() == (swept[1] / "samples.jsonl").read_bytes()


def test_a_number_that_is_not_finite_is_null_counted_and_said(folder, subject, tmp_path, monkeypatch):
    answer = subject.answer

    def strange(prepared, arm, max_new_tokens):
        stated = {"chartqa/val/1": math.nan, "chartqa/val/3": math.inf}
        return [
            replace(made, confidence={"c_vis": stated.get(row.row_id, 0.5), "c_text": 0.5})
            for row, made in zip(prepared, answer(prepared, arm, max_new_tokens), strict=True)
        ]

    monkeypatch.setattr(subject, "answer", strange, raising=False)
    said: list[str] = []
    manifest = evaluate(subject, folder / "val.jsonl", folder / "raw", tmp_path, CONFIG, said.append)
    assert manifest.counts["non_finite"] == 2
    assert read_results(tmp_path)["n-samples"]["chartqa"]["non_finite"] == 2
    stated = {line["id"]: line["confidence"]["c_vis"] for line in read_jsonl(tmp_path / "samples.jsonl")}
    assert stated == {f"chartqa/val/{number}": (0.5, None)[number % 2] for number in range(4)}
    words = (
        "2 rows have a gate, confidence or evidence that is not finite, the first chartqa/val/1; it is written as null"
    )
    assert f"evaluation/base: {words}" in said
    make_report([tmp_path], folder / "raw", tmp_path / "report")


def test_a_row_that_is_rejected_at_one_level_only_is_left_out_at_all(folder, subject, tmp_path, narrow_when_damaged):
    manifest = evaluate(subject, folder / "val.jsonl", folder / "raw", tmp_path, CONFIG)
    assert (manifest.counts["samples"], manifest.left_out) == (9, {"picture_too_narrow": 1})
    results = read_results(tmp_path)
    assert results["results"]["chartqa"]["base"]["0"]["n"] == results["results"]["chartqa"]["base"]["0.8"]["n"] == 3
    assert results["n-samples"]["chartqa"] == {
        "original": 3,
        "effective": 3,
        "answerless": 0,
        "non_finite": 0,
        "in_table": 5,
        "without_answer": 1,
        "asked": 4,
        "left_out": {"picture_too_narrow": 1},
    }


def test_a_data_set_of_the_table_without_a_row_left_is_said(folder, subject, tmp_path):
    rows = list(read_jsonl(folder / "val.jsonl"))
    rows.append({**rows[0], "id": "infovqa/val/0", "dataset": "infovqa", "image_path": "infovqa/images/gone.png"})
    rows.append({**rows[0], "id": "screenqa/val/0", "dataset": "screenqa", "answers": []})
    write_jsonl(tmp_path / "val.jsonl", rows)
    said: list[str] = []
    evaluate(subject, tmp_path / "val.jsonl", folder / "raw", tmp_path / "out", CONFIG, said.append)
    lost = [text for text in said if "no row of" in text]
    assert lost == [
        "evaluation/base: no row of infovqa is left of 1 in the table (0 without an answer, 1 picture_missing)",
        "evaluation/base: no row of screenqa is left of 1 in the table (1 without an answer)",
    ]
    make_report([tmp_path / "out"], folder / "raw", tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<b>infovqa</b> has no row left to score" in page


def test_other_metrics_score_finished_answers_anew_without_asking_the_model(
    swept, folder, subject, tmp_path, monkeypatch
):
    out_dir = shutil.copytree(swept[1], tmp_path / "out")
    monkeypatch.setattr(subject.model, "generate", None)
    monkeypatch.setattr(metric_set, "METRICS_VERSION", "of tomorrow")
    said: list[str] = []
    manifest = evaluate(subject, folder / "val.jsonl", folder / "raw", out_dir, CONFIG, said.append)
    assert any("only their scores are made again" in text for text in said)
    assert read_results(out_dir)["signature"]["metrics_version"] == "of tomorrow"
    assert config_of(manifest) == config_of(swept[0])
    make_report([out_dir], folder / "raw", tmp_path / "report")


@pytest.mark.parametrize("changed", ["instruction", "system", "dtype"])
def test_another_prompt_or_number_format_is_another_evaluation(swept, folder, subject, tmp_path, monkeypatch, changed):
    before = subject.prompt, subject.dtype
    if changed == "instruction":
        monkeypatch.setitem(DATASETS, "chartqa", replace(DATASETS["chartqa"], prompt="Answer in rhymes."))
    elif changed == "system":
        monkeypatch.setattr(prompt, "SYSTEM", "You are a poet.")
    else:
        monkeypatch.setattr(type(subject), "dtype", "bfloat16")
    assert before != (subject.prompt, subject.dtype)
    out_dir = shutil.copytree(swept[1], tmp_path / "out")
    monkeypatch.setattr(subject.model, "generate", None)
    with pytest.raises(TypeError, match="not callable"):
        evaluate(subject, folder / "val.jsonl", folder / "raw", out_dir, CONFIG)


def test_of_answers_from_another_machine_the_number_format_is_not_asked_for(folder, subject, tmp_path):
    plan = plan_evaluation(subject, folder / "val.jsonl", folder / "raw", tmp_path, CONFIG, dtype=None)
    assert "dtype" not in plan.request.inputs
    (job,) = [Path(name) for name in evaluation_job(plan, subject, folder / "val.jsonl").args if name != "--job"]
    assert EvaluationJob.model_validate_json(job.read_text()).dtype is None


def test_code_backbone_indices_and_ocr_are_in_the_signature(subject):
    assert signature(subject, ASKED, CONFIG, "float32")["backbone_hash"] == subject.hashes["model"]
    hashes = {"model": "m", "backbone": "b", "index_text": "i", "index_image": "j"}
    r3 = SimpleNamespace(hashes=hashes, prompt={}, max_pixels=1)
    told = signature(r3, ASKED, CONFIG, "float32")
    assert {name: told[f"{name}_hash"] for name in hashes} == hashes
    assert (told["code"], told["data_hash"], told["ocr_hash"]) == ("9", "t", "o")


@pytest.mark.parametrize("fields, force", [({"damage": "text"}, False), ({"seed": 1}, False), ({}, True)])
def test_answers_to_another_question_are_never_kept(swept, folder, subject, tmp_path, monkeypatch, fields, force):
    out_dir = shutil.copytree(swept[1], tmp_path / "out")
    monkeypatch.setattr(subject.model, "generate", None)
    config = CONFIG.model_copy(update={"text_overlap": True, **fields})
    with pytest.raises(TypeError, match="not callable"):
        evaluate(subject, folder / "val.jsonl", folder / "raw", out_dir, config, force=force)


def test_ranks_of_a_launcher_write_the_same_bytes(folder, subject, tmp_path):
    """Two rows a shard, so that there is one for each rank."""
    config = CONFIG.model_copy(update={"shard_rows": 2})
    said: list[str] = []
    tables = (folder / "val.jsonl", folder / "raw")
    launch = LaunchConfig(num_processes=2, env={"OMP_NUM_THREADS": "1"})
    sharded = evaluate(subject, *tables, tmp_path / "two", config, said.append, launch=launch)
    assert sharded == evaluate(subject, *tables, tmp_path / "one", CONFIG)
    assert "evaluation/base: 1 shards of rank 0, 0 answered before" in said
    assert (tmp_path / "two" / "samples.jsonl").read_bytes() == (tmp_path / "one" / "samples.jsonl").read_bytes()
    assert not (tmp_path / "two" / ".work").exists()


def test_an_interrupted_sweep_goes_on_with_the_shards_that_are_left(swept, folder, subject, tmp_path, monkeypatch):
    config = CONFIG.model_copy(update={"shard_rows": 1})
    asked: list[str] = []
    answer = subject.answer

    def interrupted(prepared, arm, max_new_tokens):
        asked.extend(row.damaged.row["id"] for row in prepared)
        if len(asked) > 7:
            raise KeyboardInterrupt
        return answer(prepared, arm, max_new_tokens)

    tables = (folder / "val.jsonl", folder / "raw")
    monkeypatch.setattr(subject, "answer", interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt):
        evaluate(subject, *tables, tmp_path, config)
    finished = set(asked[:6])
    assert len(finished) == 2
    asked_again: list[str] = []
    monkeypatch.setattr(
        subject,
        "answer",
        lambda prepared, *rest: (
            asked_again.extend(row.damaged.row["id"] for row in prepared) or answer(prepared, *rest)
        ),
    )
    said: list[str] = []
    assert evaluate(subject, *tables, tmp_path, config, said.append) == swept[0]
    assert "evaluation/base: 4 shards, 2 answered before" in said
    assert set(asked_again).isdisjoint(finished)


def test_ranks_that_are_asked_to_stop_end_between_two_shards_and_what_they_answered_is_kept(
    swept, folder, subject, tmp_path
):
    config = CONFIG.model_copy(update={"shard_rows": 1})
    tables = (folder / "val.jsonl", folder / "raw")

    def stop(text: str) -> None:
        if "2 shards of rank 0" in text:
            request_stop(launch_dir(tmp_path), "the test wants it")

    launch = LaunchConfig(num_processes=2, env={"OMP_NUM_THREADS": "1"}, poll_s=0.01)
    with pytest.raises(R3Error, match=r"stopped, as .*stop.requested asked; what is done is kept, run again to go on"):
        evaluate(subject, *tables, tmp_path, config, stop, launch=launch)
    assert evaluate(subject, *tables, tmp_path, config) == swept[0]


def test_forcing_keeps_away_from_ranks_that_lost_their_launcher(swept, folder, subject, tmp_path):
    kept = (
        plan_evaluation(subject, folder / "val.jsonl", folder / "raw", tmp_path, CONFIG, dtype=subject.dtype).shards_dir
        / "000000.jsonl"
    )
    kept.parent.mkdir(parents=True)
    kept.touch()
    with hold_run_dir(launch_dir(tmp_path)), pytest.raises(R3Error, match="in use by another trainer"):
        evaluate(subject, folder / "val.jsonl", folder / "raw", tmp_path, CONFIG, force=True)
    assert kept.exists()
    assert evaluate(subject, folder / "val.jsonl", folder / "raw", tmp_path, CONFIG, force=True) == swept[0]


def test_a_shard_that_lacks_an_answer_is_named(swept, folder, subject, tmp_path):
    plan = plan_evaluation(subject, folder / "val.jsonl", folder / "raw", tmp_path, CONFIG, dtype=subject.dtype)
    answer_shards(plan, subject, print)
    (path,) = plan.shards_dir.iterdir()
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(R3Error, match=rf"{path} does not hold one answer to each question .* remove it"):
        evaluate(subject, folder / "val.jsonl", folder / "raw", tmp_path, CONFIG)
    path.unlink()
    assert evaluate(subject, folder / "val.jsonl", folder / "raw", tmp_path, CONFIG) == swept[0]


def test_other_ocr_lines_of_the_pictures_that_are_asked_about_ask_for_another_evaluation(folder, subject, tmp_path):
    raw = shutil.copytree(folder / "raw", tmp_path / "raw")

    def inputs(**texts):
        lines = {name: [{"text": text, "box": [0, 0, 9, 9], "conf": 0.9}] for name, text in texts.items()}
        records = [{"image_path": f"images/{name}.png", "lines": told} for name, told in lines.items()]
        write_jsonl(raw / "chartqa" / "ocr.jsonl", records)
        plan = plan_evaluation(subject, folder / "val.jsonl", raw, tmp_path, CONFIG, dtype=subject.dtype)
        return plan.request.inputs

    before = plan_evaluation(subject, folder / "val.jsonl", raw, tmp_path, CONFIG, dtype=subject.dtype).request.inputs
    read = inputs(validation_0="37")
    assert set(read) - set(before) == {"asked_ocr"}
    assert inputs(validation_0="31") != read
    assert inputs(validation_0="37", train_9="more to learn from") == read


def test_an_evaluation_that_stands_loads_no_model(swept, folder, subject):
    fresh = base_subject(subject.places.backbone, subject.places.like)
    assert evaluate(fresh, folder / "val.jsonl", folder / "raw", swept[1], CONFIG) == swept[0]
    assert "_loaded" not in vars(fresh)
    assert "_loaded" in vars(subject)


def test_a_subject_is_made_again_from_its_places(subject):
    again = Places.model_validate_json(subject.places.model_dump_json()).subject()
    assert (again.name, again.hashes, again.prompt, again.max_pixels) == (
        subject.name,
        subject.hashes,
        subject.prompt,
        subject.max_pixels,
    )


def test_a_row_whose_picture_is_gone_is_rejected_once_and_counted(folder, subject, tmp_path):
    raw = shutil.copytree(folder / "raw", tmp_path / "raw")
    (raw / "chartqa" / "images" / "validation_1.png").unlink()
    manifest = evaluate(subject, folder / "val.jsonl", raw, tmp_path / "out", CONFIG)
    assert manifest.left_out == {"picture_missing": 1}
    assert manifest.counts["samples"] == 9
    assert [line["id"] for line in read_jsonl(tmp_path / "out" / "rejected.jsonl")] == ["chartqa/val/1"]


def test_when_no_picture_can_be_opened_nothing_is_written(folder, subject, tmp_path):
    with pytest.raises(R3Error, match=r"no row could be evaluated; first reason: .*does not exist"):
        evaluate(subject, folder / "val.jsonl", tmp_path, tmp_path / "out", CONFIG)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock-artefact"]


@pytest.mark.parametrize("field", ["levels", "ablation_levels"])
@pytest.mark.parametrize("level", [-0.1, 1.5])
def test_a_level_outside_0_to_1_makes_no_config(field, level):
    with pytest.raises(ValueError, match=r"levels lie in 0\.\.1"):
        EvaluateConfig.model_validate({field: [0.0, level]})


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"arms": ["r3"]}, "arm 'r3' does not fit base: choose from base, base_ocr"),
        ({"levels": [], "ablations": []}, "name at least one arm and one level"),
        ({"arms": [], "ablations": []}, "name at least one arm and one level"),
    ],
)
def test_a_sweep_that_cannot_be_asked_is_a_usage_error(folder, subject, tmp_path, fields, words):
    with pytest.raises(UsageError, match=words):
        evaluate(subject, folder / "val.jsonl", folder / "raw", tmp_path / "out", CONFIG.model_copy(update=fields))
    assert not (tmp_path / "out").exists()


def test_the_damaged_picture_is_drawn_again_as_the_model_saw_it(swept, folder, subject):
    draw = damaged_picture(folder / "raw", CONFIG)
    preparer = subject.preparer(folder / "raw", CONFIG.damage, CONFIG.seed)
    rows = {row["id"]: row for row in read_jsonl(folder / "val.jsonl")}
    clean, *_, damaged = read_jsonl(swept[1] / "samples.jsonl")
    for sample in (clean, damaged):
        seen = preparer.damage(rows[sample["id"]], sample["level"]).picture
        assert draw(sample).tobytes() == seen.tobytes()
    assert draw(damaged).tobytes() != draw({**damaged, "level": 0.0}).tobytes()


def test_a_damaged_question_is_asked_about_the_whole_picture_and_told_beside_the_question_as_it_was(
    folder, subject, tmp_path
):
    config = CONFIG.model_copy(update={"damage": "question", "levels": [0.0, 0.8]})
    evaluate(subject, folder / "val.jsonl", folder / "raw", tmp_path, config)
    rows = {row["id"]: row for row in read_jsonl(folder / "val.jsonl")}
    draw = damaged_picture(folder / "raw", config)
    for line in read_jsonl(tmp_path / "samples.jsonl"):
        assert line["question"] == rows[line["id"]]["question"]
        assert (line["asked"] == line["question"]) == (line["level"] == 0) == (line["operators"] == [])
        assert line["truth"] == {"c_vis": 1.0, "c_text": 1.0}
        assert line["pseudo_text"] in (None, TEXT)
        assert draw(line).tobytes() == draw({**line, "level": 0.0}).tobytes()
    prepared = subject.preparer(folder / "raw", "question", 0).prepare([rows["chartqa/val/0"]], 0.8).rows
    batch = collate(prepared, subject.model.tokenizer, subject.config, merge_size=subject.model.merge_size)
    asked = prepared[0].damaged.question
    assert asked in subject.model.tokenizer.decode(batch.input_ids[0])
    assert asked in prepared[0].damaged.query


def test_arms_and_levels_are_the_union_of_both_lists():
    assert CONFIG.all_levels == [0.0, 0.8]
    assert (CONFIG.arms_at(0.0), CONFIG.arms_at(0.8)) == (["base"], ["base", "base_ocr"])


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(R3Error, match=r"holds no model \(no config.json\); give a checkpoint"):
        r3_subject(tmp_path, None, tmp_path, tmp_path, tmp_path)


def test_a_checkpoint_whose_index_is_gone_is_told_before_anything_is_loaded(tmp_path):
    described = {"model_type": "r3pp", "backbone": "x", "backbone_hash": "x", "seen_version": SEEN_VERSION}
    described["r3"] = R3Config().model_dump(mode="json")
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(R3Error, match=r"nothing finished at .*gone/text/manifest.json; run `r3pp index` first"):
        r3_subject(tmp_path, None, tmp_path / "gone", tmp_path, tmp_path)


@pytest.fixture
def hidden(folder, tmp_path):
    """A table of two rows whose answers are hidden, as InfoVQA's test is."""
    rows = [
        {**row, "answers": [], "answer": "", "meta": {"question_id": question_id}}
        for row, question_id in zip(read_jsonl(folder / "val.jsonl"), ("7001", "b-7"), strict=False)
    ]
    write_jsonl(tmp_path / "test.jsonl", rows)
    return tmp_path / "test.jsonl"


def test_rows_without_references_are_predicted_and_never_scored(hidden, folder, subject, tmp_path):
    config = CONFIG.model_copy(update={"unanswered": True})
    said: list[str] = []
    out_dir = tmp_path / "out"
    manifest = evaluate(subject, hidden, folder / "raw", out_dir, config, said.append)
    assert manifest.counts == {"rows": 2, "samples": 6, "rows_without_answer": 2, "pictures": 2, "non_finite": 0}
    results = read_results(out_dir)
    assert results["results"] == {}
    counts = results["n-samples"]["chartqa"]
    assert (counts["original"], counts["effective"], counts["answerless"]) == (2, 0, 2)
    assert {line["scores"] for line in read_jsonl(out_dir / "samples.jsonl")} == {None}
    predictions = [line["prediction"] for line in read_jsonl(out_dir / "samples.jsonl") if line["level"] == 0]
    assert json.loads((out_dir / "submission_chartqa_base.json").read_text()) == [
        {"questionId": 7001, "answer": predictions[0]},
        {"questionId": "b-7", "answer": predictions[1]},
    ]
    assert f"evaluation/base: predictions to submit are in {out_dir / 'submission_chartqa_base.json'}" in said
    page = make_report([out_dir], folder / "raw", tmp_path / "report")
    assert page.counts == {"samples": 6}
    assert "there are predictions, but no scores" in (tmp_path / "report" / "report.html").read_text()


def test_without_being_asked_for_they_are_an_error_that_says_how(hidden, folder, subject, tmp_path):
    with pytest.raises(R3Error, match=r"none of the 2 rows of .* has a reference .* --unanswered predicts them"):
        evaluate(subject, hidden, folder / "raw", tmp_path / "out", CONFIG)
