"""Evaluations are put side by side only when they asked the same."""

import json
import resource

import pytest
from PIL import Image

from r3pp_core.artefact import Outcome, Request, Target, build
from r3pp_core.errors import R3Error
from r3pp_core.evaluation.config import EvaluateConfig
from r3pp_core.evaluation.metric_set import chosen_metrics
from r3pp_core.evaluation.reporting import disagreement, make_report, read_results
from r3pp_core.evaluation.scoring import score_samples
from r3pp_core.jsonl import write_jsonl

PRIMARY = {"chartqa": "relaxed_accuracy"}


def made_samples(arm, num_rows=6):
    return [
        {
            "id": f"chartqa/val/{i}",
            "dataset": "chartqa",
            "split": "val",
            "image_path": f"chartqa/images/validation_{i}.png",
            "image_sha256": str(i),
            "question": "How many?",
            "answers": ["42"],
            "prediction": "42" if arm == "r3" or level == 0 else "7",
            "arm": arm,
            "level": level,
            "meta": {},
            "operators": [{"name": "jpeg", "strength": level}] if level else [],
            "evidence": [],
            "gate": None,
            "confidence": None,
        }
        for level in (0.0, 0.8)
        for i in range(num_rows)
    ]


@pytest.fixture
def evaluation(tmp_path):
    """`evaluation(name, table, dtype, code, ocr, **config fields)`: a finished one of an arm, as a sweep leaves it."""

    def make(name, table="t", dtype="float32", code="1", ocr="lines", **fields):
        config = EvaluateConfig(levels=[0.0, 0.8], **fields).model_dump(exclude={"batch_size"}) | {
            "metrics_version": "1"
        }
        samples = made_samples(name)

        def write(staging):
            write_jsonl(staging / "samples.jsonl", samples)
            signature = {"model_hash": f"hash of {name}", "max_pixels": 4096}
            metrics = chosen_metrics(bool(fields.get("text_overlap")))
            rows = {"chartqa": {"in_table": 9, "without_answer": 2, "asked": 7, "left_out": {"picture_missing": 1}}}
            results = score_samples(samples, PRIMARY, signature=signature, metrics=metrics, row_counts=rows)
            (staging / "results.json").write_text(json.dumps(results))
            return Outcome(counts={"samples": len(samples)}, details={"dtype": dtype})

        inputs = {"table": table, "model": f"hash of {name}", "max_pixels": "1", "prompt": "p", "asked_ocr": ocr}
        request = Request(f"evaluation/{name}", code, config, inputs)
        build(Target(tmp_path / name), request, write)
        return tmp_path / name

    return make


@pytest.fixture
def image_root(tmp_path):
    (tmp_path / "raw" / "chartqa" / "images").mkdir(parents=True)
    for i in range(6):
        Image.new("RGB", (60, 40), (40 * i, 90, 90)).save(tmp_path / f"raw/chartqa/images/validation_{i}.png")
    return tmp_path / "raw"


def test_two_evaluations_become_one_report_with_their_difference(tmp_path, evaluation, image_root):
    folders = [evaluation("base"), evaluation("r3")]
    manifest = make_report(folders, image_root, tmp_path / "report", "a heading")
    results = read_results(tmp_path / "report")
    assert results["differences"]["chartqa"]["r3 - base"]["0.8"]["mean"] == 1.0
    assert manifest.counts == {"samples": 24}
    assert results["n-samples"]["chartqa"]["left_out"] == {"picture_missing": 1}
    assert "a heading" in (tmp_path / "report" / "report.html").read_text()


def test_signatures_that_differ_are_kept_by_evaluation(tmp_path, evaluation, image_root):
    make_report([evaluation("base"), evaluation("r3")], image_root, tmp_path / "report")
    signature = read_results(tmp_path / "report")["signature"]
    assert signature["model_hash"] == {"base": "hash of base", "r3": "hash of r3"}
    assert signature["max_pixels"] == 4096


def test_text_overlap_of_both_evaluations_stands_in_the_report_with_its_versions(tmp_path, evaluation, image_root):
    make_report([evaluation(name, text_overlap=True) for name in ("base", "r3")], image_root, tmp_path / "report")
    results = read_results(tmp_path / "report")
    assert results["results"]["chartqa"]["r3"]["0.8"]["metrics"]["rouge_l"]["mean"] == 1.0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "ROUGE-L" in page
    assert results["versions"]["bleu"] in page


def test_a_second_report_does_nothing_and_another_heading_makes_it_again(tmp_path, evaluation, image_root):
    said: list[str] = []
    folders = [evaluation("base"), evaluation("r3")]
    first = make_report(folders, image_root, tmp_path / "report")
    assert make_report(folders, image_root, tmp_path / "report", progress=said.append) == first
    assert "nothing to do" in said[-1]
    assert make_report(folders, image_root, tmp_path / "report", "other").content_hash != first.content_hash


@pytest.fixture
def only_small_files():
    """The kernel refuses to write beyond 30,000 bytes of a file, as a full disk would: enough for the scores only."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def first_report(tmp_path, evaluation, image_root):
    make_report([evaluation("base"), evaluation("r3")], image_root, tmp_path / "report", "first")
    return tmp_path / "report"


def test_the_old_report_stays_whole_when_the_new_page_cannot_be_written(first_report, image_root, only_small_files):
    before = {path: path.read_bytes() for path in first_report.iterdir()}
    assert len(before[first_report / "results.json"]) < 30_000 < len(before[first_report / "report.html"])
    with pytest.raises(R3Error, match=r"report: cannot write .*/report: File too large"):
        make_report([first_report.parent / name for name in ("base", "r3")], image_root, first_report, "second")
    after = {path: path.read_bytes() for path in first_report.iterdir() if path.suffix}
    assert after == {path: data for path, data in before.items() if path.suffix}


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"table": "another"}, "evaluated with another table"),
        ({"rows_per_dataset": 7}, "rows_per_dataset is 7 and 500; evaluate both with the same"),
        ({"damage": "text"}, "damage is text and both"),
        ({"seed": 1}, "seed is 1 and 0"),
        ({"text_overlap": True}, "text_overlap is True and False"),
        ({"max_new_tokens": 7}, "max_new_tokens is 7 and 32"),
        ({"code": "2"}, "version 2 of the code asked one, version 1 the other"),
        ({"ocr": "other lines"}, "evaluated with another asked_ocr"),
        ({"dtype": "bfloat16"}, "one answered in bfloat16, the other in float32; evaluate both on the same kind"),
    ],
)
def test_evaluations_that_asked_something_else_are_refused(tmp_path, evaluation, image_root, fields, words):
    folders = [evaluation("base"), evaluation("r3", **fields)]
    with pytest.raises(R3Error, match=f"r3 and base cannot be compared: .*{words}"):
        make_report(folders, image_root, tmp_path / "report")
    assert words in disagreement(folders)
    assert not (tmp_path / "report").exists()


def test_a_missing_evaluation_is_asked_for_by_its_command(tmp_path, evaluation, image_root):
    with pytest.raises(R3Error, match=r"nothing finished at .*/r3/manifest.json; run `r3pp evaluate` first"):
        make_report([evaluation("base"), tmp_path / "r3"], image_root, tmp_path / "report")
    with pytest.raises(R3Error, match=r"results.json does not exist; run `r3pp evaluate` first"):
        read_results(tmp_path)
