"""The tree from an artefact back to its sources, and whether the bytes on the way still hold."""

import json
import shutil

import pytest

from r3pp_core.artefact import EMPTY_HASH, Outcome, Request, Target, build, hash_file, hash_json
from r3pp_core.cli import main
from r3pp_core.errors import R3Error
from r3pp_core.model.backbone import weights_hash
from r3pp_core.provenance import damages, find, lineage, lines, nodes_of, workspace_of


def make(target, stage, files, inputs, details=None, pictures=()):
    def write(staging):
        for name, text in files.items():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).write_text(text)
        (staging / "images").mkdir() if pictures else None
        hashes = {}
        for name in pictures:
            (staging / "images" / name).write_text(name)
            hashes[name] = hash_file(staging / "images" / name)
        return Outcome(counts={}, details=details or {}, trees={"images": hashes} if pictures else {})

    return build(target, Request(stage, "1", {}, inputs), write)


@pytest.fixture
def root(tmp_path):
    """raw -> unified -> merged -> index -> checkpoint -> model -> evaluation, and a backbone."""
    root = tmp_path / "workspace"
    commits = {"commits": {"train": "c0ffee"}}
    raw = make(
        Target(root / "data" / "raw" / "chartqa"),
        "raw/chartqa",
        {"chartqa_raw_train.jsonl": "raw", "rejected.jsonl": ""},
        {"source": "5" * 64},
        commits,
        ("train_0.png", "train_1.png"),
    )
    unified = root / "data" / "unified"
    make(
        Target(unified, "chartqa_unified"),
        "unified/chartqa",
        {"chartqa_unified_train.jsonl": "u"},
        {
            "raw": raw.content_hash,
            "chartqa_raw_train.jsonl": hash_file(root / "data" / "raw" / "chartqa" / "chartqa_raw_train.jsonl"),
            "rejected": EMPTY_HASH,
            "missing_pictures": "8" * 64,
        },
    )
    make(
        Target(unified, "train"),
        "merged/train",
        {"train.jsonl": "m"},
        {"chartqa_unified_train.jsonl": hash_file(unified / "chartqa_unified_train.jsonl")},
    )
    table = hash_file(unified / "train.jsonl")
    index = make(Target(root / "indices" / "text"), "index/text", {"vectors.npy": "v"}, {"corpus": table}, {"dim": 2})
    weights = {"config.json": "{}", "model.safetensors": "w"}
    make(Target(root / "models" / "backbone"), "models/backbone", weights, {})
    checkpoint = make(
        Target(root / "checkpoints" / "step_2"),
        "checkpoint",
        {"model/config.json": "{1}", "model/model.safetensors": "x", "state.json": "{}"},
        {
            "train_jsonl": table,
            "backbone": weights_hash(root / "models" / "backbone"),
            "text_index": hash_json(index.details),
            "dtype": "float32",
        },
    )
    model = {"config.json": "{1}", "model.safetensors": "x"}
    make(Target(root / "models" / "r3"), "model/r3", model, {"checkpoint": checkpoint.content_hash})
    make(
        Target(root / "results" / "r3"),
        "evaluation/r3",
        {"results.json": "{}"},
        {"model": weights_hash(root / "models" / "r3"), "table": table},
    )
    return root


def stages(node):
    return {found.artefact.name for found in nodes_of(node)}


def test_an_evaluation_leads_back_to_the_source_and_its_commit(root):
    artefact = find(root / "results" / "r3")
    assert workspace_of(artefact) == root
    node = lineage(artefact, root)
    assert stages(node) == {
        "evaluation/r3",
        "checkpoint",
        "merged/train",
        "unified/chartqa",
        "raw/chartqa",
        "index/text",
        "models/backbone",
    }
    shown = "\n".join(lines(node, root))
    assert "table: merged/train" in shown
    assert "dtype: float32" in shown
    assert "train from commit c0ffee" in shown
    assert "raw and 1 more: raw/chartqa" in shown, "one artefact under two names is one line"
    assert EMPTY_HASH[:12] not in shown
    assert shown.count("source: 555555555555") == 1
    assert "corpus: merged/train  data/unified/train" in shown
    assert shown.count("(above)") == 2


def test_a_file_belongs_to_the_artefact_that_names_it(root):
    assert find(root / "data" / "unified" / "train.jsonl").name == "merged/train"
    assert find(root / "data" / "unified" / "chartqa_unified_train.jsonl").name == "unified/chartqa"
    (root / "data" / "unified" / "mine.txt").write_text("x")
    with pytest.raises(R3Error, match=r"mine.txt is no artefact"):
        find(root / "data" / "unified" / "mine.txt")
    with pytest.raises(R3Error, match="unified is no artefact"):
        find(root / "data" / "unified")
    with pytest.raises(R3Error, match="gone does not exist"):
        find(root / "gone")


def test_the_champion_is_the_entry_that_stands(root):
    make(Target(root / "champion" / "history" / "0001"), "champion", {"champion.json": "{}"}, {})
    (root / "champion" / "current").symlink_to("history/0001")
    assert find(root / "champion").target.folder.name == "0001"


def test_a_table_that_was_replaced_since_is_said_to_be_gone(root):
    unified = root / "data" / "unified"
    make(Target(unified, "train"), "merged/train", {"train.jsonl": "other"}, {"x": "new"})
    node = lineage(find(root / "models" / "r3"), root)
    assert "merged/train" not in stages(node)
    assert any(line.strip(" │├─└").startswith("train_jsonl: ") and "(no artefact" in line for line in lines(node, root))


def test_sound_artefacts_verify_and_every_kind_of_damage_is_named(root, capsys):
    assert main(["verify", str(root / "results" / "r3")]) == 0
    assert "0 damaged; 0 inputs are no longer in the workspace\n" in capsys.readouterr().out
    raw = root / "data" / "raw" / "chartqa"
    (raw / "images" / "train_1.png").write_text("another")
    (root / "data" / "unified" / "train.jsonl").write_text("n")
    (root / "models" / "backbone" / "model.safetensors").unlink()
    manifest = root / "indices" / "text" / "manifest.json"
    edited = json.loads(manifest.read_text())
    edited["files"]["vectors.npy"]["sha256"] = hash_file(raw / "images" / "train_0.png")
    manifest.write_text(json.dumps(edited))
    assert main(["verify", str(root / "results" / "r3")]) == 1
    told = capsys.readouterr().out
    assert f"{raw / 'images'}: 2 files are not the 2 that the manifest knows" in told
    assert f"{root / 'data' / 'unified' / 'train.jsonl'} has other bytes than the manifest says" in told
    assert f"{root / 'models' / 'backbone' / 'model.safetensors'} is missing" in told
    assert f"{manifest} was edited" in told


def test_what_was_replaced_since_is_said_and_is_no_damage(root, capsys):
    make(Target(root / "data" / "unified", "train"), "merged/train", {"train.jsonl": "other"}, {"x": "new"})
    assert main(["verify", str(root / "results" / "r3")]) == 0
    told = capsys.readouterr().out
    assert "its input train_jsonl (" in told
    assert "0 damaged; 3 inputs are no longer in the workspace (replaced or removed since" in told


def test_a_copy_without_an_input_is_not_whole(root, capsys):
    shutil.rmtree(root / "indices" / "text")
    assert main(["verify", str(root / "results" / "r3")]) == 0
    assert main(["verify", str(root / "results" / "r3"), "--whole"]) == 1
    assert "0 damaged; 1 inputs are no longer" in capsys.readouterr().out


def test_a_manifest_that_was_edited_to_fit_another_file_does_not_verify(root, capsys):
    unified = root / "data" / "unified"
    (unified / "train.jsonl").write_text("another")
    manifest = unified / "train.manifest.json"
    edited = json.loads(manifest.read_text())
    edited["files"]["train.jsonl"]["sha256"] = hash_file(unified / "train.jsonl")
    manifest.write_text(json.dumps(edited))
    (root / "models" / "somebody").mkdir()
    (root / "models" / "somebody" / "manifest.json").write_text('{"version": 1}')
    assert main(["verify", str(root / "results" / "r3")]) == 1
    told = capsys.readouterr().out
    assert f"{manifest} was edited" in told
    assert "somebody" not in told


def test_an_input_whose_manifest_is_torn_does_not_verify(root, capsys):
    index = root / "indices" / "text" / "manifest.json"
    index.write_text(index.read_text()[:100])
    assert main(["verify", str(root / "results" / "r3")]) == 1
    told = capsys.readouterr().out
    assert "step_2: its input text_index (" in told
    assert ") is no longer in the workspace" in told
    assert f"verify: {index} cannot be read" in told
    assert "1 damaged; 1 inputs are no longer in the workspace\n" in told


def test_lineage_by_hand_finds_inputs_in_another_workspace(root, tmp_path, capsys):
    away = shutil.copytree(root / "models" / "r3", tmp_path / "away")
    assert main(["lineage", str(away)]) == 0
    assert "(no artefact of this workspace)" in capsys.readouterr().out
    assert main(["lineage", str(away), "--workspace", str(root)]) == 0
    assert "checkpoints/step_2" in capsys.readouterr().out
    assert damages(find(away)) == []
