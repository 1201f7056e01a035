"""The plan's activations are within 15 % of what a real forward of the same batch keeps for its gradient."""

import pytest
import torch  # noqa: TID253 - what is tested here keeps torch's tensors

from r3pp_core.progress import silent
from r3pp_core.training.capacity.activations import activations
from r3pp_core.training.capacity.outline import outline
from r3pp_core.training.capacity.workload import RowSize
from r3pp_core.training.setup import set_up


def kept_by(run, batch) -> int:
    own = {parameter.untyped_storage()._cdata for parameter in run.model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    run.model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run.model(batch)
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("fields", [{"use_lora": True}, {"use_lora": False}, {"use_lora": True, "bf16": True}])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_what_a_forward_keeps(small_run, backbone, fields, batch_size):
    config = small_run(model_name=str(backbone), batch_size=batch_size, losses={"kl": 0}, **fields)
    run = set_up(config, silent)
    prepared = run.preparer.prepare([run.train_rows.row(number) for number in range(batch_size)], level=0.0)
    (batch,) = run.batcher.step(prepared).batches
    row = row_of(batch, batch_size)
    model = outline(config.model_name, config.resolved_r3(None, None), run.backend.precision.computes)
    found = activations(config, model, row)
    assert found.kept + found.logits == pytest.approx(kept_by(run, batch), rel=0.15)


def test_with_checkpointing_a_layer_keeps_its_input_and_one_is_whole(small_run, backbone):
    fields = {"model_name": str(backbone), "batch_size": 2, "max_pixels": 65_536}
    plain, recomputing = (small_run(**fields, gradient_checkpointing=value) for value in (False, True))
    row = RowSize(tokens=300, clean_tokens=300, patches=256, answer_tokens=8)
    model = outline(plain.model_name, plain.resolved_r3(None, None), "float32")
    kept, again = (activations(config, model, row) for config in (plain, recomputing))
    text = model.backbone.config.text_config
    inputs = 2 * row.tokens * text.hidden_size * 4 * text.num_hidden_layers
    assert inputs <= again.kept < inputs + (kept.kept - inputs) / 4
    assert again.largest_layer >= (kept.kept - again.kept) / text.num_hidden_layers * 0.9


def row_of(batch, batch_size) -> RowSize:
    return RowSize(
        tokens=batch.input_ids.shape[1],
        clean_tokens=0,
        patches=batch.pixel_values.shape[0] // batch_size,
        answer_tokens=-(-batch.num_answer_tokens // batch_size),
    )
