"""What the forward of one micro-batch keeps for its gradient, counted on an outline's own layers."""

from collections.abc import Callable
from typing import Any, NamedTuple

from r3pp_core.training.capacity.workload import RowSize
from r3pp_core.training.config import TrainConfig

FP32 = 4


class Activations(NamedTuple):
    """Bytes. `kept`: over the whole forward; `largest_layer`: what is there besides while one layer goes backwards."""

    kept: int
    largest_layer: int
    logits: int


def activations(config: TrainConfig, model: Any, row: RowSize) -> Activations:
    """`model`: an outline in the dtype that the run computes in."""
    import torch

    inside, rows = model.backbone.model, config.batch_size
    dtype = inside.language_model.layers[0].input_layernorm.weight.dtype
    text, vision = model.backbone.config.text_config, model.backbone.config.vision_config
    trains_sight = not config.use_lora

    def empty(*shape: int, needs_gradient: bool) -> Any:
        return torch.empty(shape, dtype=dtype, device="meta", requires_grad=needs_gradient)

    hidden = empty(rows, row.tokens, text.hidden_size, needs_gradient=True)
    angles = empty(rows, row.tokens, text.head_dim, needs_gradient=False)
    layer = _Stack(
        inside.language_model.layers[0],
        lambda one: one(hidden, position_embeddings=(angles, angles), attention_mask=None),
        hidden.nbytes,
        text.num_hidden_layers,
    )
    patches = empty(rows * row.patches, vision.hidden_size, needs_gradient=trains_sight)
    turns = empty(rows * row.patches, vision.hidden_size // vision.num_heads, needs_gradient=False)
    ends = torch.arange(rows + 1, dtype=torch.int32) * row.patches
    block = _Stack(
        inside.visual.blocks[0],
        lambda one: one(patches, cu_seqlens=ends, position_embeddings=(turns, turns)),
        patches.nbytes,
        vision.depth,
    )
    mergers = [inside.visual.merger, *inside.visual.deepstack_merger_list]
    kept = sum(_saved_bytes(merger, lambda one: one(patches)) for merger in mergers)
    kept += _saved_bytes(inside.language_model.norm, lambda one: one(hidden))
    largest = 0
    for stack in (layer, block):
        of_one = _saved_bytes(stack.module, stack.run)
        if config.gradient_checkpointing:
            kept += stack.num * (stack.input_bytes if of_one else 0)
            largest = max(largest, of_one)
        else:
            kept += stack.num * of_one
        largest = max(largest, of_one // 2)  # gradients of what a layer kept, about half of them at a time
    kept += hidden.nbytes  # embeddings, with soft tokens and the picture put in
    logits = rows * row.answer_tokens * text.vocab_size
    num_copies = 4 + (2 if config.losses.kl else 0)  # fp32 logits, log-probabilities and their gradients
    return Activations(kept, largest, logits * (num_copies * FP32 + 2 * dtype.itemsize))


class _Stack(NamedTuple):
    module: Any
    run: Callable[[Any], Any]
    input_bytes: int
    num: int


def _saved_bytes(module: Any, run: Callable[[Any], Any]) -> int:
    """Bytes that a forward keeps for the backward, its weights aside."""
    import torch

    own = {tensor.untyped_storage()._cdata for tensor in module.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that no other gets its address
        return tensor

    was_training = module.training
    module.train()
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            run(module)
    finally:
        module.train(was_training)
    return sum(storage.nbytes() for storage in kept.values())
