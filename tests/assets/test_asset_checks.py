"""Every check fails where it should: one damaged workspace a check."""

import json

import dagster as dg
import numpy as np
import pytest

from r3pp_assets.defs.evaluate import checks as evaluate_checks
from r3pp_assets.defs.index import checks as index_checks
from r3pp_assets.defs.merged import checks as merged_checks
from r3pp_assets.defs.raw import checks as raw_checks
from r3pp_assets.defs.train import checks as train_checks
from r3pp_assets.defs.unified import checks as unified_checks
from r3pp_core.jsonl import read_jsonl, write_jsonl

DAMAGE = {}


def damages(asset: str, check: str):
    """Register the damage that makes a check fail."""

    def register(function):
        DAMAGE[(asset, check)] = function
        return function

    return register


def all_checks() -> dict[tuple[str, str], dg.AssetChecksDefinition]:
    modules = (raw_checks, unified_checks, merged_checks, index_checks, evaluate_checks)
    found = [check for module in modules for check in module.all_checks]
    found += [train_checks.loads_exactly, train_checks.loss_fell]
    return {(key.asset_key.to_user_string(), key.name): check for check in found for key in check.check_keys}


def edit_first_row(table, **changes):
    rows = list(read_jsonl(table))
    rows[0] = {**rows[0], **changes}
    write_jsonl(table, rows)


def edit_manifest(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@damages("raw/chartqa", "schema")
def raw_answers_become_a_string(paths):
    edit_first_row(paths.raw_dir("chartqa") / "chartqa_raw_train.jsonl", answers="12")


@damages("raw/chartqa", "pictures_decode")
def a_raw_picture_is_cut_short(paths):
    picture = next((paths.raw_dir("chartqa") / "images").glob("train_*.png"))
    picture.write_bytes(picture.read_bytes()[:300])


@damages("raw/chartqa", "rejected_share")
def a_tenth_of_the_rows_was_rejected(paths):
    edit_manifest(
        paths.raw_dir("chartqa") / "manifest.json",
        counts={"rows_in": 100},
        left_out={"picture_undecodable": 10},
    )


@damages("unified/chartqa", "schema")
def a_unified_row_has_another_answer(paths):
    edit_first_row(paths.unified_dir / "chartqa_unified_train.jsonl", answer="not among the answers")


@damages("merged/train", "schema")
def a_merged_row_has_an_extra_column(paths):
    edit_first_row(paths.merged("train"), hint="the answer is 12")


@damages("merged/train", "pictures_decode")
def a_merged_row_leads_out_of_the_folder(paths):
    edit_first_row(paths.merged("train"), image_path="../../etc/passwd")


@damages("merged/train", "no_picture_shared_with_val")
def a_val_picture_is_in_train(paths):
    first = next(read_jsonl(paths.merged("val")))
    edit_first_row(paths.merged("train"), image_sha256=first["image_sha256"])


@damages("merged/train", "no_picture_shared_with_test")
def a_test_picture_is_in_train(paths):
    first = next(read_jsonl(paths.merged("test")))
    edit_first_row(paths.merged("train"), image_sha256=first["image_sha256"])


@damages("merged/train", "no_answerless_row")
def a_train_row_lost_its_answers(paths):
    edit_first_row(paths.merged("train"), answers=[], answer="")


@damages("merged/val", "schema")
def a_val_row_has_no_question(paths):
    edit_first_row(paths.merged("val"), question=" ")


@damages("merged/val", "pictures_decode")
def a_val_picture_is_gone(paths):
    first = next(read_jsonl(paths.merged("val")))
    (paths.image_root / first["image_path"]).unlink()


@damages("merged/test", "schema")
def a_test_row_has_a_confidence_above_one(paths):
    edit_first_row(paths.merged("test"), ocr_conf=1.5)


@damages("merged/test", "pictures_decode")
def a_test_picture_is_empty(paths):
    first = next(read_jsonl(paths.merged("test")))
    (paths.image_root / first["image_path"]).write_bytes(b"")


def a_picture_came_after_the_index(paths):
    edit_first_row(paths.merged("train"), image_sha256="0" * 64)
    rows = list(read_jsonl(paths.merged("train")))
    write_jsonl(paths.merged("train"), [*rows, {**rows[0], "image_sha256": "1" * 64}])


def a_vector_is_too_long(paths, kind):
    path = paths.indices_dir / kind / "vectors.npy"
    vectors = np.load(path)
    vectors[0] *= 2
    np.save(path, vectors)


def an_indexed_picture_is_in_val(paths):
    first = next(read_jsonl(paths.merged("train")))
    edit_first_row(paths.merged("val"), image_sha256=first["image_sha256"])


for kind in ("text", "image"):
    damages(f"index/{kind}", "one_entry_per_picture")(a_picture_came_after_the_index)
    damages(f"index/{kind}", "unit_vectors")(lambda paths, kind=kind: a_vector_is_too_long(paths, kind))
    damages(f"index/{kind}", "no_evaluation_picture")(an_indexed_picture_is_in_val)


@damages("checkpoint/r3", "loads_exactly")
def a_weight_file_is_cut_short(paths):
    newest = max(paths.checkpoint_dir().glob("step_*"), key=lambda path: int(path.name[5:]))
    weights = max((newest / "model").glob("*.safetensors"), key=lambda path: path.stat().st_size)
    weights.write_bytes(weights.read_bytes()[:-100])


@damages("checkpoint/r3", "loss_fell")
def the_loss_rose(paths):
    rows = [{"kind": "step", "step": step, "loss": float(step)} for step in range(1, 11)]
    write_jsonl(paths.checkpoint_dir() / "metrics.jsonl", rows)


def edit_scores(paths, name, **changes):
    path = paths.results_dir(name) / "results.json"
    results = json.loads(path.read_text())
    cell = next(iter(results["results"]["chartqa"][name].values()))
    for key, value in changes.items():
        if key == "n":
            cell["n"] = value
        else:
            cell["metrics"][key]["mean"] = value
    path.write_text(json.dumps(results))


for name in ("base", "r3"):
    damages(f"evaluation/{name}", "score_bounds")(
        lambda paths, name=name: edit_scores(paths, name, relaxed_accuracy=1.5)
    )
    damages(f"evaluation/{name}", "enough_rows")(lambda paths, name=name: edit_scores(paths, name, n=0))


def test_every_kind_of_check_has_a_damage():
    """Data sets share their checks, so chartqa stands for all three."""
    missing = [key for key in all_checks() if key not in DAMAGE and not key[0].endswith(("screenqa", "infovqa"))]
    assert missing == []


@pytest.mark.parametrize(("asset", "check"), sorted(DAMAGE))
def test_a_check_passes_on_sound_data_and_fails_on_damaged(broken, asset, check):
    run = all_checks()[(asset, check)]
    if (asset, check) != ("checkpoint/r3", "loss_fell"):  # four steps are too few to fall for certain
        assert run(workspace=broken.workspace).passed
    DAMAGE[(asset, check)](broken.paths)
    result = run(workspace=broken.workspace)
    assert not result.passed
    assert result.metadata["num_problems"].value > 0 if "num_problems" in result.metadata else True


def test_scores_on_ninety_nine_rows_are_too_few_where_the_data_are_our_own(broken):
    """A source of the user's own may be small; the sample and the Hub's data may not."""
    for dataset in ("screenqa", "chartqa", "infovqa"):
        path = broken.paths.results_dir("r3") / "results.json"
        results = json.loads(path.read_text())
        for by_level in results["results"][dataset].values():
            for cell in by_level.values():
                cell["n"] = 99
        path.write_text(json.dumps(results))
    check = all_checks()[("evaluation/r3", "enough_rows")]
    own = type(broken.workspace)(root=str(broken.root), profile="sample", source=None)
    assert check(workspace=broken.workspace).passed
    assert not check(workspace=own).passed
