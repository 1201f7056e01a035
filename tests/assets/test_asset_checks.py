"""Every check fails where it should: one damaged workspace a check."""

import json

import dagster as dg
import numpy as np
import pytest

from r3pp_assets.defs.evaluate import checks as evaluate_checks
from r3pp_assets.defs.index import checks as index_checks
from r3pp_assets.defs.index import neighbours as neighbours_defs
from r3pp_assets.defs.index import quality as quality_defs
from r3pp_assets.defs.merged import checks as merged_checks
from r3pp_assets.defs.ocr import checks as ocr_checks
from r3pp_assets.defs.raw import checks as raw_checks
from r3pp_assets.defs.train import checks as train_checks
from r3pp_assets.defs.unified import checks as unified_checks
from r3pp_core.artefact import hash_file
from r3pp_core.jsonl import read_jsonl, write_jsonl

DAMAGE = {}


def damages(asset: str, check: str):
    """Register the damage that makes a check fail."""

    def register(function):
        DAMAGE[(asset, check)] = function
        return function

    return register


def all_checks() -> dict[tuple[str, str], dg.AssetChecksDefinition]:
    modules = (raw_checks, ocr_checks, unified_checks, merged_checks, index_checks, evaluate_checks)
    found = [check for module in modules for check in module.all_checks]
    found += [train_checks.loads_exactly, train_checks.loss_fell, quality_defs.finds_facts]
    found += [neighbours_defs.no_own_picture]
    return {(key.asset_key.to_user_string(), key.name): check for check in found for key in check.check_keys}


def edit_first_row(table, **changes):
    rows = list(read_jsonl(table))
    rows[0] = {**rows[0], **changes}
    write_jsonl(table, rows)


def drop_first_row(table):
    write_jsonl(table, list(read_jsonl(table))[1:])


def edit_manifest(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@damages("raw/chartqa", "schema")
def raw_answers_become_a_string(paths):
    edit_first_row(paths.raw_dir("chartqa") / "chartqa_raw_train.jsonl", answers="12")


@damages("raw/chartqa", "row_counts")
def a_raw_row_is_gone(paths):
    drop_first_row(paths.raw_dir("chartqa") / "chartqa_raw_train.jsonl")


@damages("raw/chartqa", "pictures_whole")
def a_raw_picture_is_cut_short(paths):
    picture = next((paths.raw_dir("chartqa") / "images").glob("train_*.png"))
    picture.write_bytes(picture.read_bytes()[:300])


@damages("raw/chartqa", "rejected_share")
def a_tenth_of_the_rows_was_rejected(paths):
    edit_manifest(
        paths.raw_dir("chartqa") / "manifest.json",
        counts={"rows_in": 100, "rows": 90},
        left_out={"picture_undecodable": 10},
    )


@damages("ocr/chartqa", "row_counts")
def an_ocr_line_is_gone(paths):
    drop_first_row(paths.raw_dir("chartqa") / "ocr.jsonl")


@damages("ocr/chartqa", "rejected_share")
def a_tenth_of_the_pictures_could_not_be_opened(paths):
    edit_manifest(
        paths.raw_dir("chartqa") / "ocr.manifest.json", counts={"rows": 90}, left_out={"picture_undecodable": 10}
    )


@damages("ocr/chartqa", "text_found")
def half_of_the_pictures_have_no_text(paths):
    edit_manifest(paths.raw_dir("chartqa") / "ocr.manifest.json", counts={"rows": 10, "pictures_without_text": 5})


@damages("ocr/chartqa", "picture_sizes")
def a_picture_is_a_thread(paths):
    edit_first_row(paths.raw_dir("chartqa") / "ocr.jsonl", width=3000, height=2)


@damages("unified/chartqa", "row_counts")
def a_unified_row_is_gone(paths):
    drop_first_row(paths.unified_dir / "chartqa_unified_val.jsonl")


@damages("unified/chartqa", "rejected_share")
def a_tenth_of_the_raw_rows_had_no_question(paths):
    edit_manifest(
        paths.unified_dir / "chartqa_unified.manifest.json",
        counts={"rows_in": 100, "rows": 90},
        left_out={"question_empty": 10},
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


def question_of(paths, split):
    """The first row of a split asks about a picture that looks like nothing else."""
    row = next(read_jsonl(paths.merged(split)))
    return {"question": row["question"], "meta": {**row["meta"], "image_phash": "0f" * 32}}


def a_picture_of_evaluation_was_encoded_again(paths, split):
    changes = question_of(paths, split)
    edit_first_row(paths.merged(split), **changes)
    edit_first_row(paths.merged("train"), **changes)


for split in ("val", "test"):
    damages("merged/train", f"no_near_picture_shared_with_{split}")(
        lambda paths, split=split: a_picture_of_evaluation_was_encoded_again(paths, split)
    )


@damages("merged/train", "no_picture_alike_in_evaluation")
def a_train_picture_looks_like_one_of_val(paths):
    manifest = paths.unified_dir / "train.manifest.json"
    counts = json.loads(manifest.read_text())["counts"]
    edit_manifest(manifest, counts={**counts, "pictures_alike_in_evaluation": 1})


def a_merged_row_is_gone(paths, split):
    drop_first_row(paths.merged(split))


def a_tenth_was_left_out(paths, split):
    counts = {"rows_in": 100, "rows": 90}
    edit_manifest(paths.unified_dir / f"{split}.manifest.json", counts=counts, left_out={"duplicate": 10})


def the_text_was_lost(paths, split):
    table = paths.merged(split)
    write_jsonl(table, [{**row, "pseudo_text": ""} for row in list(read_jsonl(table))])


for split in ("train", "val", "test"):
    for name, damage in (
        ("row_counts", a_merged_row_is_gone),
        ("left_out_share", a_tenth_was_left_out),
        ("answer_coverage", the_text_was_lost),
    ):
        damages(f"merged/{split}", name)(lambda paths, damage=damage, split=split: damage(paths, split))


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


def rehash(path):
    """The manifest beside a file names the bytes that it has now."""
    manifest = json.loads((path.parent / "manifest.json").read_text())
    manifest["files"][path.name]["sha256"] = hash_file(path)
    edit_manifest(path.parent / "manifest.json", files=manifest["files"])


def every_vector_moved_by_one_entry(paths, kind):
    """And the manifest was written after that: every hash is right."""
    folder = paths.indices_dir / kind
    vectors = np.load(folder / "vectors.npy")
    np.save(folder / "vectors.npy", np.roll(vectors, 1, axis=0))
    rehash(folder / "vectors.npy")


def an_approximate_index_misses_a_fifth(paths, kind):
    manifest = paths.indices_dir / kind / "manifest.json"
    edit_manifest(manifest, details={**json.loads(manifest.read_text())["details"], "recall_at_10": 0.8})


for kind in ("text", "image"):
    damages(f"index/{kind}", "ids_aligned")(lambda paths, kind=kind: every_vector_moved_by_one_entry(paths, kind))
    damages(f"index/{kind}", "recall_above_bound")(
        lambda paths, kind=kind: an_approximate_index_misses_a_fifth(paths, kind)
    )
    damages(f"index/{kind}", "one_entry_per_picture")(a_picture_came_after_the_index)
    damages(f"index/{kind}", "unit_vectors")(lambda paths, kind=kind: a_vector_is_too_long(paths, kind))
    damages(f"index/{kind}", "no_evaluation_picture")(an_indexed_picture_is_in_val)


@damages("index/neighbours", "no_own_picture")
def a_row_finds_itself(paths):
    """The first row's own entry takes the place of its first neighbour, and the manifest was written after that."""
    from r3pp_core.retrieval.neighbours import Neighbours
    from r3pp_core.retrieval.search import Index

    row = next(read_jsonl(paths.merged("train")))
    place = Neighbours.load(paths.indices_dir).find([row["id"]])[0]
    path = paths.indices_dir / "neighbours" / "text_ids.npy"
    ids = np.load(path)
    ids[place, 0] = Index.load(paths.indices_dir / "text").image_sha256s.index(row["image_sha256"])
    np.save(path, ids)
    rehash(path)


@damages("index/quality", "finds_facts")
def text_queries_find_nothing(paths):
    path = paths.indices_dir / "quality" / "quality.json"
    results = json.loads(path.read_text())
    results["levels"]["0.0"]["text"]["hit@3"] = 0.0
    path.write_text(json.dumps(results))


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
    of_history = {(f"merged/{split}", "distributions_stable") for split in ("train", "val", "test")}  # tested below
    of_history.add(("unified/chartqa", "distributions_stable"))
    of_gate = {("report", name) for name in evaluate_checks.CRITERIA}  # tried in test_champion_gate.py
    known = {*DAMAGE, *of_history, *of_gate}
    missing = [key for key in all_checks() if key not in known and not key[0].endswith(("screenqa", "infovqa"))]
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


@pytest.mark.parametrize(("questions", "passes"), [(["one two"] * 20, True), (["a b c d e f g h i j k l"] * 20, False)])
def test_a_table_whose_questions_changed_is_noticed_against_the_materialization_before(tmp_path, questions, passes):
    """Five words more in every question move all rows into another bin."""
    from r3pp_assets.profiles import drift_result, profile_metadata

    key = dg.AssetKey(["merged", "train"])
    with dg.DagsterInstance.ephemeral() as instance:
        for table in (["one two"] * 20, questions):
            rows = [merged_row(number, question) for number, question in enumerate(table)]
            write_jsonl(tmp_path / "train.jsonl", rows)
            metadata = profile_metadata(tmp_path / "train.jsonl")
            instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=metadata))
            result = drift_result(instance, key)
    assert result.passed is passes
    assert result.severity == dg.AssetCheckSeverity.WARN


def merged_row(number, question):
    return {
        "id": f"chartqa/train/{number}",
        "dataset": "chartqa",
        "split": "train",
        "image_path": f"chartqa/images/train_{number}.png",
        "image_sha256": f"{number:064x}",
        "question": question,
        "answer": "12",
        "answers": ["12"],
        "ocr_text": "12",
        "ocr_conf": 0.9,
        "pseudo_text": "12",
        "meta": {},
    }
