"""What is saved is what is loaded, in layouts that others can open, and nothing loads by half."""

import json
import shutil

import pytest
import torch  # noqa: TID253 - what is tested here is torch
from prepared_rows import TEXTS, prepared_row, small_config
from safetensors.torch import load_file, save_file

from r3pp_core.errors import R3Error
from r3pp_core.model.backbone import load_backbone
from r3pp_core.model.collation import collate
from r3pp_core.model.r3 import R3Model
from r3pp_core.model.storage import read_config
from r3pp_core.sample.backbones import SmallSizes, build_small_backbone


def logits_of(model):
    row = prepared_row(model.image_processor, 1)
    batch = collate([row], model.tokenizer, model.config, with_answers=True)
    with torch.no_grad():
        return model.answer_logits(batch)[0]


def scramble(model):
    """Give every trainable weight a value that no fresh model has."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(torch.randn_like(parameter) * 0.05)


@pytest.fixture(scope="module")
def saved_lora(new_model, tmp_path_factory):
    model = new_model()
    before = logits_of(model)
    scramble(model)
    folder = tmp_path_factory.mktemp("saved") / "lora"
    model.save_pretrained(folder, {"train.jsonl": "abc"})
    assert (logits_of(model) - before).abs().max() > 1e-2
    return folder, logits_of(model)


@pytest.fixture
def copy_of_lora(saved_lora, tmp_path):
    return shutil.copytree(saved_lora[0], tmp_path / "copy")


def test_adapters_and_modules_come_back_bit_equal(saved_lora):
    folder, logits = saved_lora
    assert torch.equal(logits_of(R3Model.from_pretrained(folder)), logits)


def test_peft_alone_loads_the_adapter(saved_lora, backbone_dir):
    from peft import PeftModel

    folder, _ = saved_lora
    wrapped = PeftModel.from_pretrained(load_backbone(backbone_dir).model, folder)
    loaded = {name: tensor for name, tensor in wrapped.state_dict().items() if "lora_" in name}
    ours = load_file(folder / "adapter_model.safetensors")
    assert len(loaded) == len(ours) > 0
    assert all(torch.equal(tensor, ours[name.replace(".default", "")]) for name, tensor in loaded.items())


def test_adapters_sit_on_v_and_o_of_the_language_model_only(model):
    adapted = {name.split(".lora_")[0] for name in model.trainable() if "lora_" in name}
    assert len(adapted) == 2 * SmallSizes().layers
    assert all("language_model" in name and name.endswith(("v_proj", "o_proj")) for name in adapted)


def test_a_fully_trained_model_that_is_saved_again_still_names_the_backbone_that_it_began_as(new_model, tmp_path):
    model = new_model(adapter="full")
    scramble(model)
    model.save_pretrained(tmp_path / "once")
    R3Model.from_pretrained(tmp_path / "once").save_pretrained(tmp_path / "again")
    once, again = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("once", "again"))
    assert once["backbone_hash"] == model.backbone_hash
    assert again == once


def test_a_fully_trained_model_comes_back_bit_equal_without_its_first_backbone(new_model, tmp_path):
    model = new_model(adapter="full")
    scramble(model)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits_of(R3Model.from_pretrained(tmp_path)), logits_of(model))


def test_the_folder_says_what_it_was_made_from(saved_lora):
    folder, _ = saved_lora
    assert json.loads((folder / "config.json").read_text())["made_from"] == {"train.jsonl": "abc"}
    assert "train.jsonl: `abc`" in (folder / "README.md").read_text()


@pytest.mark.parametrize("file", ["model.safetensors", "adapter_model.safetensors"])
@pytest.mark.parametrize("fault", ["missing", "unexpected", "truncated", "absent"])
def test_weights_that_do_not_fit_are_refused(copy_of_lora, file, fault):
    path = copy_of_lora / file
    tensors = load_file(path)
    if fault == "missing":
        tensors.popitem()
    elif fault == "unexpected":
        tensors["stranger"] = torch.zeros(1)
    if fault in ("missing", "unexpected"):
        save_file(tensors, path)
    elif fault == "truncated":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        path.unlink()
    said = {"missing": "1 weights missing", "unexpected": "1 unexpected"}.get(fault, "missing or damaged")
    with pytest.raises(R3Error, match=said):
        R3Model.from_pretrained(copy_of_lora)


def test_adapters_of_another_backbone_are_refused(copy_of_lora, tmp_path):
    build_small_backbone(tmp_path / "other", TEXTS, seed=1)
    with pytest.raises(R3Error, match="another backbone"):
        R3Model.from_pretrained(copy_of_lora, tmp_path / "other")


def test_a_gate_that_learned_from_other_features_is_refused(copy_of_lora):
    """It would load, and state what it never learned to."""
    path = copy_of_lora / "config.json"
    described = json.loads(path.read_text())
    del described["seen_version"]  # as the first version wrote it
    path.write_text(json.dumps(described))
    with pytest.raises(R3Error, match="learned from what another version told them; train again"):
        R3Model.from_pretrained(copy_of_lora)
    described["r3"] |= {"use_gate": False, "use_confidence": False}
    path.write_text(json.dumps(described))
    assert not read_config(copy_of_lora).use_gate, "a control has neither, and stays what it was"


def test_a_model_of_another_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(R3Error, match="gpt2 model"):
        load_backbone(tmp_path)
    with pytest.raises(R3Error, match="gpt2 model"):
        R3Model.from_pretrained(tmp_path)


def test_trained_weights_are_fp32_and_move_at_a_small_rate_on_a_bf16_backbone(new_model):
    """A bf16 LoRA weight does not move at a rate of 1e-7."""
    model = new_model(dtype="bfloat16")
    scramble(model)
    assert model.embedding.weight.dtype == torch.bfloat16
    trainable = model.trainable()
    assert {parameter.dtype for parameter in trainable.values()} == {torch.float32}
    before = {name: parameter.detach().clone() for name, parameter in trainable.items()}
    optimizer = torch.optim.AdamW(trainable.values(), lr=1e-7, weight_decay=0.0)
    batch = collate(
        [prepared_row(model.image_processor, n) for n in range(2)], model.tokenizer, small_config(), with_answers=True
    )
    output = model(batch)
    (output.ce_sum / output.num_answer_tokens).backward()
    optimizer.step()
    moved = [
        name for name, parameter in trainable.items() if "lora_B" in name and not torch.equal(parameter, before[name])
    ]
    assert len(moved) == 2 * SmallSizes().layers
