"""The small CLIP learns, goes on where it was stopped, and is loaded as any CLIP."""

import json

import pytest

from r3pp_core.errors import R3Error
from r3pp_core.retrieval.encoders import load_image_encoder
from r3pp_core.sample.pretrain import clip, train
from r3pp_core.sample.pretrain.card import clip_card
from r3pp_core.sample.pretrain.clip import train_clip
from r3pp_core.sample.pretrain.config import ClipConfig

SHORT = ClipConfig(steps=12, num_groups=5, pages=8, num_threads=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(train, "_NUM_TOKENIZER_GROUPS", 20)
    patch.setattr(clip, "_LOG_EVERY", 2)
    patch.setattr(clip, "_SAVE_EVERY", 4)
    folder = tmp_path_factory.mktemp("clip")
    train_clip(folder, SHORT)
    yield folder
    patch.undo()


def test_a_run_that_was_killed_ends_with_the_same_weights(whole, tmp_path, monkeypatch):
    for made in ("pages", "tokenizer"):
        (tmp_path / made).symlink_to(whole / made)
    log = clip._log

    def failing(out_dir, line, progress):
        log(out_dir, line, progress)
        if line["step"] == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(clip, "_log", failing)
    with pytest.raises(KeyboardInterrupt):
        train_clip(tmp_path, SHORT)
    monkeypatch.setattr(clip, "_log", log)
    train_clip(tmp_path, SHORT)
    steps = [json.loads(line)["step"] for line in (tmp_path / clip.CLIP_LOG).read_text().splitlines()]
    assert steps == [2, 4, 6, 6, 8, 10, 12, 12]
    weights = [(one / "clip" / "model.safetensors").read_bytes() for one in (whole, tmp_path)]
    assert weights[0] == weights[1]


def test_it_tells_its_pages_apart_after_a_few_steps(whole):
    losses = [json.loads(line).get("loss") for line in (whole / clip.CLIP_LOG).read_text().splitlines()]
    assert losses[-2] < losses[0]


def test_another_config_is_refused(whole):
    with pytest.raises(R3Error, match="of another config"):
        train_clip(whole, SHORT.model_copy(update={"lr": 1.0}))


def test_it_is_small_and_loads_as_any_clip(whole):
    assert (whole / "clip" / "model.safetensors").stat().st_size <= 4_000_000
    encoder = load_image_encoder(whole / "clip")
    assert encoder.dim == clip.DIM


def test_the_card_tells_how_it_was_made(whole):
    card = clip_card(whole, SHORT, 1_000_000)
    assert "A CLIP of 1.00 M parameters" in card
    assert "at step 2" in card
    assert "Among 48 pages at once" in card
