"""A run that was stopped goes on as if it had not been, and what it begins with can look back."""

import dataclasses
import json

import pytest

from r3pp_core.errors import R3Error
from r3pp_core.sample.pretrain import train
from r3pp_core.sample.pretrain.config import PretrainConfig
from r3pp_core.sample.pretrain.first_weights import set_first_weights
from r3pp_core.sample.pretrain.train import pretrain

SHORT = PretrainConfig(
    steps=6,
    num_groups=5,
    list_steps=3,
    lookup_steps=2,
    naming_steps=2,
    naming_pages=4,
    pages=2,
    look_pages=2,
    save_every=2,
    num_threads=1,
)


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(train, "_NUM_TOKENIZER_GROUPS", 20)
    monkeypatch.setattr(train, "_NUM_HELD_OUT_STEPS", 5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(train, "_NUM_TOKENIZER_GROUPS", 20)
    patch.setattr(train, "_NUM_HELD_OUT_STEPS", 5)
    folder = tmp_path_factory.mktemp("pretrain") / "run"
    folder.mkdir()
    pretrain(folder, SHORT)
    patch.undo()
    return folder


def test_a_run_that_was_killed_ends_with_the_same_weights(whole, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "pages").symlink_to(whole / "pages")
    update = train._Run._update
    num_updates = 0

    def failing(run, loss, lr):
        nonlocal num_updates
        num_updates += 1
        if num_updates == SHORT.list_steps + 5:
            raise KeyboardInterrupt
        update(run, loss, lr)

    monkeypatch.setattr(train._Run, "_update", failing)
    with pytest.raises(KeyboardInterrupt):
        pretrain(folder, SHORT)
    monkeypatch.undo()
    monkeypatch.setattr(train, "_NUM_HELD_OUT_STEPS", 5)
    pretrain(folder, SHORT)
    weights = [(one / "backbone" / "model.safetensors").read_bytes() for one in (whole, folder)]
    assert weights[0] == weights[1]


def test_the_log_says_what_held_out_pages_make_of_it(whole):
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == SHORT.steps
    assert set(lines[-1]["held_out"]) == set(SHORT.modes)


def test_pictures_of_words_are_read_without_a_look_at_the_pixels(whole):
    import torch

    run = train._Run(whole, SHORT, lambda _: None)
    run.start(None)
    batch = run._batches().batch_of("words", "any")
    blank = dataclasses.replace(batch, pixel_values=torch.zeros_like(batch.pixel_values))
    wordless = dataclasses.replace(batch, cells=torch.zeros_like(batch.cells))
    with torch.inference_mode():
        loss, with_blank, without_words = (float(run._loss(one, as_words=True)[0]) for one in (batch, blank, wordless))
        seen, seen_blank = float(run._loss(batch)[0]), float(run._loss(blank)[0])
        named = float(run._naming_loss(blank))
        run._loss(batch, as_words=True)
    assert loss == with_blank != without_words
    assert seen != seen_blank
    assert named > 0
    assert run._naming_loss(batch) == 0, "the vision tower gave nothing for it"


def test_the_backbone_is_small(whole):
    assert (whole / "backbone" / "model.safetensors").stat().st_size <= 6_000_000


def test_another_config_is_refused(whole):
    with pytest.raises(R3Error, match="holds a run of another config"):
        pretrain(whole, SHORT.model_copy(update={"lr": 1.0}))


def test_heads_of_the_first_layer_look_1_to_4_tokens_back(random_backbone):
    import copy

    import torch

    model = copy.deepcopy(random_backbone.model).eval()
    set_first_weights(model, random_backbone.tokenizer, seed=0)
    model.set_attn_implementation("eager")
    ids = torch.randint(300, 900, (1, 40), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        attention = model(input_ids=ids, output_attentions=True).attentions[0][0]
    for head in range(4):
        looked_at = attention[head].argmax(-1)[8:]
        assert (torch.arange(8, 40) - looked_at).tolist() == [head + 1] * 32


def test_heads_of_the_second_layer_fetch_the_name_and_the_number_that_were_asked_for(whole):
    import torch
    from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration

    from r3pp_core.model.prompt import encode
    from r3pp_core.sample.world import first_words

    tokenizer = AutoTokenizer.from_pretrained(whole / "first")
    model = Qwen3VLForConditionalGeneration.from_pretrained(whole / "first", dtype=torch.float32).eval()
    set_first_weights(model, tokenizer, seed=0)
    model.set_attn_implementation("eager")
    one, two, *others = first_words()
    context = " | ".join(f"{word} Lamp | {i}" for i, word in enumerate([one, *others[:6], two], start=12))

    def fetched(question, head):
        ids = encode(tokenizer, f"{context}\nAnswer.\n{question}", None, 0, 0).prompt_ids
        with torch.inference_mode():
            attention = model(input_ids=torch.tensor([ids]), output_attentions=True).attentions[1][0]
        return tokenizer.decode([ids[int(attention[head, -1].argmax())]]).strip()

    for question in ("What is the price of {} Lamp?", "How many people did {} Lamp see in March?"):
        assert fetched(question.format(one), 0) == one
        assert fetched(question.format(two), 0) == two
    assert fetched("Which product costs 15?", 1) == "15"


def test_a_second_sitting_goes_on_at_the_first_one_s_step(whole, tmp_path, monkeypatch):
    said, folder = [], tmp_path / "run"
    folder.mkdir()
    (folder / "pages").symlink_to(whole / "pages")
    monkeypatch.setattr(train, "_NUM_TOKENIZER_GROUPS", 20)
    pretrain(folder, SHORT, max_steps=4)
    later = tmp_path / "later"
    later.mkdir()
    (later / "pages").symlink_to(whole / "pages")
    pretrain(later, SHORT, said.append, earlier=folder / "backbone")
    assert any(line.endswith(f"at step 4 of {SHORT.steps}") for line in said)
    lines = [json.loads(line) for line in (later / "log.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "step" in line]
    assert steps[0] == 4
    assert steps[-1] == SHORT.steps
    with pytest.raises(R3Error, match=r"has no log.jsonl"):
        pretrain(tmp_path / "third", SHORT, earlier=whole / "first")


def test_the_card_tells_how_it_was_made_and_what_it_can_do(whole):
    from r3pp_core.sample.pretrain.card import backbone_card
    from r3pp_core.sample.pretrain.train import num_parameters

    parameters = num_parameters(whole / "backbone")
    assert 1_500_000 < parameters <= 3_000_000
    card = backbone_card(whole, SHORT, parameters)
    assert "A Qwen3-VL of 2." in card
    assert f"| {SHORT.steps} | " in card
    assert "- `list_steps`: 3" in card
    assert "| both | " in card
