"""What the plan says of the 8B on real cards, and what it offers where a run does not fit."""

import pytest
from small_world import small_config

from r3pp_core.errors import R3Error, UsageError
from r3pp_core.recipes.paths import RunPaths
from r3pp_core.recipes.resolve import resolve
from r3pp_core.training.capacity.cards import GIB, KNOWN, card_of, parse_cards
from r3pp_core.training.capacity.check import message, refuse_unfit
from r3pp_core.training.capacity.outline import QWEN3_VL_8B, outline
from r3pp_core.training.capacity.plan import notes, plan, remedies, table
from r3pp_core.workspace import Workspace


@pytest.fixture
def recipe(tmp_path):
    """`recipe(name, **changes)`: for the 8B, whose weights are not here."""

    def make(name, **changes):
        changes = {"model_name": QWEN3_VL_8B, **changes}
        return resolve(name, RunPaths.of(Workspace(tmp_path)), changes)

    return make


@pytest.fixture
def full_disk(monkeypatch):
    monkeypatch.setattr("r3pp_core.training.capacity.plan._free_bytes", lambda folder: 10**9)


@pytest.fixture
def endless_disk(monkeypatch):
    monkeypatch.setattr("r3pp_core.training.capacity.plan._free_bytes", lambda folder: 10**15)


def test_the_outline_of_the_8b_has_its_number_of_parameters(recipe):
    """8,767,123,696, as the index of its published weights says: 17,534,247,392 bytes in bfloat16."""
    model = outline(QWEN3_VL_8B, recipe("qwen3vl_8b_fsdp").resolved_r3(None, None), "bfloat16")
    own = [parameter for name, parameter in model.named_parameters() if name.startswith("backbone.")]
    assert sum(parameter.numel() for parameter in own) == 8_767_123_696
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


@pytest.mark.parametrize("cards", ["V100-32G", "8xV100-32G", "A100-80G"])
def test_all_weights_of_the_8b_do_not_fit_on_one_card_without_sharding(recipe, cards):
    made = plan(recipe("qwen3vl_8b_lora", use_lora=False), parse_cards(cards))
    assert not made.memory_fits
    assert made.num_ranks == 1
    assert made.demand.held.weights > 32 * GIB
    assert "does not fit" in table(made)


@pytest.mark.parametrize(
    ("name", "cards", "fits"),
    [
        ("qwen3vl_8b_lora", "V100-32G", True),
        ("qwen3vl_8b_lora", "A100-40G", True),
        ("qwen3vl_8b_lora", "T4-16G", False),
        ("qwen3vl_8b_fsdp", "8xA100-80G", True),
        ("qwen3vl_8b_zero3", "8xA100-80G", True),
        ("qwen3vl_8b_fsdp", "8xV100-16G", False),
        ("qwen3vl_8b_fsdp", "2xA100-80G", False),
    ],
)
def test_recipes_on_cards(recipe, name, cards, fits):
    assert plan(recipe(name), parse_cards(cards)).memory_fits == fits


def test_sharding_divides_what_is_held(recipe):
    one, eight = (plan(recipe("qwen3vl_8b_fsdp"), parse_cards(f"{n}xA100-80G")).demand.held for n in (1, 8))
    assert eight.total == pytest.approx(one.total / 8, rel=1e-3)


def test_checkpointing_fewer_pixels_and_shorter_rows_need_less(recipe):
    most = plan(recipe("qwen3vl_8b_lora", gradient_checkpointing=False), parse_cards("H100-80G")).demand.total
    for change in ({"gradient_checkpointing": True}, {"max_pixels": 262_144}, {"max_length": 1024}):
        config = recipe("qwen3vl_8b_lora", **{"gradient_checkpointing": False, **change})
        assert plan(config, parse_cards("H100-80G")).demand.total < most


def test_every_remedy_that_is_offered_fits(recipe):
    made = plan(recipe("qwen3vl_8b_lora", gradient_checkpointing=False, batch_size=8), parse_cards("V100-32G"))
    assert not made.memory_fits
    offered = remedies(made)
    assert "--batch_size 1 --grad_accum 64" in offered or "--gradient_checkpointing" in offered
    changes = {
        "--gradient_checkpointing": {"gradient_checkpointing": True},
        "--batch_size 1 --grad_accum 64": {"batch_size": 1, "grad_accum": 64},
    }
    for flag in offered:
        if flag in changes:
            config = made.config.model_copy(update=changes[flag])
            assert plan(config, made.cards).memory_fits


def test_where_no_single_change_fits_several_are_offered(recipe):
    made = plan(recipe("qwen3vl_8b_lora", use_lora=False, gradient_checkpointing=False), parse_cards("V100-32G"))
    (together,) = remedies(made)
    assert "--use_lora" in together
    assert "--gradient_checkpointing" in together or "--max_pixels" in together


def test_sharding_over_the_other_cards_is_offered(recipe):
    made = plan(recipe("qwen3vl_8b_lora", use_lora=False), parse_cards("8xA100-80G"))
    assert "--backend fsdp --num_processes 8" in remedies(made)


def test_where_lora_alone_would_do_the_least_that_still_trains_all_weights_is_offered_too(recipe):
    made = plan(recipe("qwen3vl_8b_lora", use_lora=False), parse_cards("8xV100-32G"))
    assert remedies(made) == ["--use_lora", "--backend fsdp --num_processes 8 --losses.kl 0"]


def test_where_nothing_fits_nothing_is_offered(recipe):
    made = plan(recipe("qwen3vl_8b_lora"), parse_cards("T4-16G"))
    assert remedies(made) == []
    with pytest.raises(R3Error, match="nothing that is known here"):
        refuse_unfit(made)


def test_bf16_on_a_v100_is_noted(recipe):
    assert "fp16 is used" in notes(plan(recipe("qwen3vl_8b_lora"), parse_cards("V100-32G")))[0]
    assert notes(plan(recipe("qwen3vl_8b_lora"), parse_cards("A100-40G"))) == []


def test_a_checkpoint_of_all_weights_takes_140_gb_and_a_small_disk_is_refused(recipe, full_disk):
    made = plan(recipe("qwen3vl_8b_fsdp"), parse_cards("8xA100-80G"))
    assert made.demand.checkpoint_bytes == pytest.approx(140e9, rel=0.01)
    assert made.memory_fits
    with pytest.raises(R3Error, match=r"702\.\d GB are needed, 1\.0 GB are free"):
        refuse_unfit(made)


def test_checkpoints_that_are_there_make_room_for_the_next(recipe, tmp_path, endless_disk):
    config = recipe("qwen3vl_8b_lora", output_dir=str(tmp_path / "out"))
    before = plan(config, None).disk_needed
    for step in (1, 2):
        (tmp_path / "out" / f"step_{step}").mkdir(parents=True)
    assert plan(config, None).disk_needed == before * 3 // 5


def test_a_run_that_fits_is_not_refused_and_tells_its_numbers(recipe, endless_disk):
    made = plan(recipe("qwen3vl_8b_lora"), parse_cards("A100-40G"))
    refuse_unfit(made)
    told = message(made)
    assert told["memory_bytes"] < told["card_bytes"]
    assert told["stop_grace_s"] > 60
    assert 5 < told["hours"] < 100
    assert len(told["table"]) < 4000
    assert told["smaller"]


def test_a_large_checkpoint_gets_time_to_be_saved(recipe, endless_disk):
    lora, full = (plan(recipe(name), None).stop_grace_s for name in ("qwen3vl_8b_lora", "qwen3vl_8b_fsdp"))
    assert 60 < lora < 90
    assert full > 600


@pytest.mark.parametrize(
    ("text", "count", "name"),
    [("8xV100-32G", 8, "V100-32G"), ("a100-80gb", 1, "A100-80G"), ("4 x h200-141G", 4, "H200-141G")],
)
def test_cards_by_name(text, count, name):
    found = parse_cards(text)
    assert (found.count, found.card.name) == (count, name)


@pytest.mark.parametrize("text", ["", "8x", "V100", "0xV100-32G", "8xV100-48G", "GTX-8G", "-1xV100-32G"])
def test_an_unknown_card_is_refused_with_those_that_are_known(text):
    with pytest.raises(UsageError, match=r"give for example 8xV100-32G; known are .*H100-80G"):
        parse_cards(text)


@pytest.mark.parametrize(
    ("device", "gib", "capability", "like"),
    [
        ("Tesla V100-SXM2-32GB", 31.7, (7, 0), "V100-32G"),
        ("NVIDIA A100-SXM4-80GB", 79.2, (8, 0), "A100-80G"),
        ("NVIDIA H100 80GB HBM3", 79.1, (9, 0), "H100-80G"),
        ("NVIDIA Something New", 95.0, (12, 0), None),
    ],
)
def test_a_card_of_this_machine_keeps_its_own_memory(device, gib, capability, like):
    card = card_of(device, int(gib * GIB), capability)
    assert (card.name, card.memory_bytes, card.capability) == (device, int(gib * GIB), capability)
    known = {card.name: card.peak_flops for card in KNOWN}
    assert card.peak_flops == known[like] if like else card.peak_flops > 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no model folder .*fetch or build it first"),
        ("{", "does not describe a model"),
        ("[1]", "does not describe a model"),
        ('{"model_type": "llama"}', "is a llama model; this project needs a qwen3_vl"),
    ],
)
def test_a_folder_without_a_model_is_a_clear_error(world, tmp_path, content, said):
    if content is not None:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "config.json").write_text(content)
    config = small_config(world, tmp_path / "out", model_name=str(tmp_path / "model"))
    with pytest.raises(R3Error, match=said):
        plan(config, None)
