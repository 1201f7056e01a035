"""Pre-trained models travel with the package, and no other bytes pass for them."""

import pytest

from r3pp_core.errors import R3Error
from r3pp_core.sample import packaged
from r3pp_core.sample.packaged import copy_packaged_model, pack


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
