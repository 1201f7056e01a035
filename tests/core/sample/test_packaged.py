"""The models that come with the package: whole, small, and loaded as any of their kind."""

import shutil

import pytest

from r3pp_core.errors import R3Error
from r3pp_core.model.backbone import load_backbone
from r3pp_core.retrieval.encoders import load_image_encoder
from r3pp_core.sample import packaged
from r3pp_core.sample.packaged import CARD, NAMES, WEIGHTS_DIR, copy_packaged_model, is_current, pack
from r3pp_core.sample.pretrain.train import num_parameters


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_an_artefact_and_a_second_one_does_nothing(tmp_path, name):
    manifest = copy_packaged_model(name, tmp_path / name)
    written = (tmp_path / name / "manifest.json").stat().st_mtime_ns
    assert is_current(name, tmp_path / name)
    assert copy_packaged_model(name, tmp_path / name).content_hash == manifest.content_hash
    assert (tmp_path / name / "manifest.json").stat().st_mtime_ns == written


def test_the_backbone_is_a_qwen3_vl_of_at_most_three_million_parameters(tmp_path):
    copy_packaged_model("backbone", tmp_path / "backbone")
    assert load_backbone(tmp_path / "backbone").model.config.model_type == "qwen3_vl"
    assert num_parameters(tmp_path / "backbone") <= 3_000_000
    assert (tmp_path / "backbone" / "model.safetensors").stat().st_size <= 6_000_000


def test_clip_is_an_image_encoder_of_at_most_four_megabytes(tmp_path):
    copy_packaged_model("clip", tmp_path / "clip")
    assert load_image_encoder(tmp_path / "clip").dim == 64
    assert (tmp_path / "clip" / "model.safetensors").stat().st_size <= 4_000_000


@pytest.mark.parametrize("name", NAMES)
def test_a_card_tells_the_data_the_recipe_and_the_scores(name):
    card = (WEIGHTS_DIR / name / CARD).read_text(encoding="utf-8")
    for part in ("## Data", "## Recipe", "python -m r3pp_core.sample.pretrain", "## On pages of worlds it never saw"):
        assert part in card


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setattr(packaged, "WEIGHTS_DIR", tmp_path / "weights")
    made = tmp_path / "made"
    made.mkdir()
    for name in ("config.json", "model.safetensors"):
        (made / name).write_text(f"what {name} holds")
    return pack(made, "backbone", "# A card\n")


def test_what_was_packed_is_copied_without_card_and_hashes(weights, tmp_path):
    manifest = copy_packaged_model("backbone", tmp_path / "models" / "backbone")
    copied = {path.name for path in (tmp_path / "models" / "backbone").iterdir() if path.name[0] != "."}
    assert copied == {"config.json", "model.safetensors", "manifest.json"}
    assert manifest.stage == "models/backbone"
    assert (weights / "README.md").read_text() == "# A card\n"
    assert copy_packaged_model("backbone", tmp_path / "models" / "backbone") == manifest


def test_other_bytes_and_missing_files_are_refused(weights, tmp_path):
    (weights / "model.safetensors").write_text("another")
    with pytest.raises(R3Error, match=r"model.safetensors has SHA-256 .*install r3pp again"):
        copy_packaged_model("backbone", tmp_path / "copy")
    (weights / "model.safetensors").unlink()
    with pytest.raises(R3Error, match="no file"):
        copy_packaged_model("backbone", tmp_path / "copy")
    with pytest.raises(R3Error, match="lacks the sample's weights"):
        copy_packaged_model("clip", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_other_weights_make_a_copy_outdated(tmp_path, monkeypatch):
    copy_packaged_model("clip", tmp_path / "clip")
    shutil.copytree(WEIGHTS_DIR, tmp_path / "weights")
    monkeypatch.setattr(packaged, "WEIGHTS_DIR", tmp_path / "weights")
    hashes = tmp_path / "weights" / "clip" / packaged.HASHES
    hashes.write_text(hashes.read_text().replace("0", "1"))
    assert not is_current("clip", tmp_path / "clip")
