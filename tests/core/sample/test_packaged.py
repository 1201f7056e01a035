"""The models that come with the package: whole, small, and loaded as any of their kind."""

import shutil

import pytest

from r3pp_core.errors import R3Error
from r3pp_core.model.backbone import load_backbone
from r3pp_core.retrieval.encoders import load_image_encoder
from r3pp_core.sample import packaged
from r3pp_core.sample.packaged import CARD, NAMES, WEIGHTS_DIR, copy_packaged_model, is_current
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


def test_a_damaged_file_and_a_missing_one_are_named(tmp_path, monkeypatch):
    shutil.copytree(WEIGHTS_DIR / "clip", tmp_path / "weights" / "clip")
    monkeypatch.setattr(packaged, "WEIGHTS_DIR", tmp_path / "weights")
    weights = tmp_path / "weights" / "clip" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(R3Error, match=r"model.safetensors has SHA-256 .* it was packaged with"):
        copy_packaged_model("clip", tmp_path / "clip")
    weights.unlink()
    with pytest.raises(R3Error, match="no file"):
        copy_packaged_model("clip", tmp_path / "clip")
    with pytest.raises(R3Error, match="lacks the sample"):
        copy_packaged_model("backbone", tmp_path / "backbone")
    assert not (tmp_path / "clip").exists()


def test_other_weights_make_a_copy_outdated(tmp_path, monkeypatch):
    copy_packaged_model("clip", tmp_path / "clip")
    shutil.copytree(WEIGHTS_DIR, tmp_path / "weights")
    monkeypatch.setattr(packaged, "WEIGHTS_DIR", tmp_path / "weights")
    hashes = tmp_path / "weights" / "clip" / packaged.HASHES
    hashes.write_text(hashes.read_text().replace("0", "1"))
    assert not is_current("clip", tmp_path / "clip")
