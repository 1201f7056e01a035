"""A model that is made quicker for answers gives the same ones."""

import pytest
import torch  # noqa: TID253 - what is tested here is torch
from prepared_rows import prepared_row

from r3pp_core.model.collation import collate


@pytest.fixture
def trained(new_model):
    """`trained(dtype)`: with an adapter that does something."""

    def make(dtype="float32"):
        model = new_model(dtype)
        drawn = torch.Generator().manual_seed(0)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.data.normal_(std=0.1, generator=drawn)
        return model

    return make


def batch_of(model):
    rows = [prepared_row(model.image_processor, number) for number in range(3)]
    return collate(rows, model.tokenizer, model.config, with_answers=True)


def logits_of(model):
    with torch.inference_mode():
        return model(batch_of(model), only_logits=True)


def test_what_the_model_says_is_the_same_but_for_rounding(trained):
    model = trained()
    before, seen = logits_of(model), model.see(batch_of(model)).pooler_output
    with model.peft_model.disable_adapter():
        assert not torch.allclose(logits_of(model), before, atol=1e-2), "the adapter does nothing"
    assert model.prepare_to_ask() is model
    torch.testing.assert_close(logits_of(model), before, atol=1e-4, rtol=1e-4)
    for one, other in zip(model.see(batch_of(model)).pooler_output, seen, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_patches_and_adapter_take_fewer_operations(trained):
    model = trained().prepare_to_ask()
    called = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv3d) or "lora_" in name:
            module.register_forward_hook(lambda *_, name=name: called.append(name))
    logits_of(model)
    assert called == []


def test_in_a_half_the_adapter_stays_beside_the_weights(trained):
    model = trained("bfloat16")
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    model.prepare_to_ask()
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name]), name
