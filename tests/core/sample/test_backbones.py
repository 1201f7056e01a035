"""The small backbones have the real architectures, stay small, and come out the same every time."""

import pytest

from r3pp_core.model.backbone import REQUIRED_TOKENS, load_backbone
from r3pp_core.sample.backbones import build_small_backbone, build_small_clip
from r3pp_core.sample.tokenizer import SPECIAL_TOKENS

TEXTS = [f"Total sales in {year}: {year % 37 * 13} units" for year in range(1950, 2020)]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "backbone"
    return folder, build_small_backbone(folder, TEXTS, seed=3)


def test_the_same_texts_and_seed_give_the_same_bytes(built, tmp_path):
    assert build_small_backbone(tmp_path / "a", TEXTS, seed=3).content_hash == built[1].content_hash
    assert build_small_backbone(tmp_path / "b", TEXTS, seed=4).content_hash != built[1].content_hash
    one, other = build_small_clip(tmp_path / "c"), build_small_clip(tmp_path / "d")
    assert one.content_hash == other.content_hash


def test_it_has_deepstack_mrope_tied_embeddings_and_few_parameters(built):
    model = load_backbone(built[0]).model
    assert 1_000_000 < sum(parameter.numel() for parameter in model.parameters()) <= 3_000_000
    assert len(model.model.visual.deepstack_merger_list) == 2
    assert model.config.text_config.rope_parameters["mrope_section"] == [6, 5, 5]
    assert model.lm_head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()


def test_every_special_token_is_one_id_and_any_text_survives_the_tokenizer(built):
    tokenizer = load_backbone(built[0]).tokenizer
    assert set(REQUIRED_TOKENS) <= set(SPECIAL_TOKENS)
    assert all(len(tokenizer(token)["input_ids"]) == 1 for token in SPECIAL_TOKENS)
    text = "Grüße, 三 €5\n<|im_end|>"
    assert tokenizer.decode(tokenizer(text, split_special_tokens=True)["input_ids"]) == text


def test_pictures_are_bounded_at_256_by_256(built):
    import numpy as np

    processor = load_backbone(built[0]).image_processor
    grid = processor(images=[np.zeros((900, 1200, 3), np.uint8)], return_tensors="np")["image_grid_thw"][0]
    assert int(grid.prod()) * 16 * 16 <= 256 * 256


def test_the_small_clip_tells_pictures_apart(tmp_path):
    """With CLIP's own random start any two pages have a cosine above 0.99."""
    import numpy as np
    from PIL import Image, ImageDraw

    from r3pp_core.retrieval.encoders import load_image_encoder

    build_small_clip(tmp_path / "clip")
    pictures = []
    for number in range(6):
        picture = Image.new("RGB", (160, 120), "white")
        ImageDraw.Draw(picture).rectangle((10, 10, 30 + 20 * number, 100), fill=(40 * number, 90, 220 - 40 * number))
        pictures.append(picture)
    vectors = load_image_encoder(tmp_path / "clip").encode(pictures)
    cosines = (vectors @ vectors.T)[~np.eye(6, dtype=bool)]
    assert cosines.mean() < 0.95
