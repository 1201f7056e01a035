"""torch FSDP2: every rank holds a part of each weight, its gradient and its moments; started by torchrun."""

import os
from pathlib import Path
from typing import Any

from r3pp_core.model.backbone import Backbone, load_backbone, mean_norm
from r3pp_core.model.tensor_files import StoredTensor, open_tensors, refuse_differences
from r3pp_core.training.backends.single import SingleBackend
from r3pp_core.training.group import Group
from r3pp_core.training.optimizer import build_optimizer

EMBEDDING = "model.language_model.embed_tokens.weight"


class FsdpBackend(SingleBackend):
    """The backbone starts on no device; each rank then reads its own rows of every weight."""

    def _join(self) -> Group:
        return join_torchrun(self.device)

    def load_backbone(self) -> Backbone:
        config = self.config
        dtype = self.precision.weights
        return load_backbone(config.model_name, config.revision, dtype, self.device, self._on_no_device)

    def _on_no_device(self, folder: Path, config: Any, dtype: str, device: str) -> tuple[Any, float]:
        """The model without its weights. Raises R3Error when the files do not hold exactly these."""
        import torch
        from accelerate import init_empty_weights
        from transformers import Qwen3VLForConditionalGeneration

        self._stored = open_tensors(sorted(folder.glob("*.safetensors")))
        with init_empty_weights(include_buffers=False):
            model = Qwen3VLForConditionalGeneration._from_config(config, dtype=getattr(torch, dtype))
        model.tie_weights()
        refuse_differences(str(folder), {name: weight.shape for name, weight in model.named_parameters()}, self._stored)
        for module in model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer.to(device))
        return model, mean_norm(self._stored[EMBEDDING].whole())

    def take(self, model: Any) -> None:
        import torch
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        mesh = init_device_mesh(self.device, (self.size,))
        # Where all weights are trained they are fp32, and computed with in the run's dtype; gradients add up in fp32.
        computed = getattr(torch, self.precision.autocast) if self.precision.autocast else None
        policy = MixedPrecisionPolicy(computed, torch.float32 if computed else None)
        fully_shard(model.reconstruction, mesh=mesh)
        for block in _blocks(model.backbone):
            fully_shard(block, mesh=mesh, mp_policy=policy)
        own_inputs = MixedPrecisionPolicy(policy.param_dtype, policy.reduce_dtype, cast_forward_inputs=False)
        fully_shard(model, mesh=mesh, mp_policy=own_inputs, reshard_after_forward=True)
        self._fill(model.backbone)
        self.model = model
        self.optimizer = build_optimizer(model.trainable(), self.config)

    def _fill(self, backbone: Any) -> None:
        """Give the weights that are on no device this rank's rows from the files."""
        import torch
        from torch.distributed.tensor import DTensor

        state = {}
        for name, parameter in backbone.named_parameters():
            if parameter.is_meta:
                start, stop = self._rows(parameter)
                rows = self._stored[name.replace(".base_layer.", ".")].rows(start, stop)
                part = rows.to(device=self.device, dtype=parameter.dtype)
                state[name] = DTensor.from_local(
                    part, parameter.device_mesh, parameter.placements, shape=parameter.shape, stride=parameter.stride()
                )
        with torch.no_grad():
            backbone.load_state_dict(state, strict=False, assign=True)
        backbone.tie_weights()  # an output layer that is the embedding is so again

    def _rows(self, tensor: Any) -> tuple[int, int]:
        """First and last row (exclusive) of the whole that this rank holds."""
        from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

        shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
        return (offset[0], offset[0] + shape[0]) if shape[0] else (0, 0)

    def backward(self, loss: Any, *, is_last: bool) -> None:
        super().backward(loss * self.size, is_last=is_last)  # FSDP2 takes the mean over ranks

    def whole(self, tensor: Any) -> Any:
        return super().whole(self._plain(tensor))

    def put(self, tensor: Any, stored: StoredTensor) -> None:
        from torch.distributed.tensor import DTensor

        if isinstance(tensor, DTensor):
            self.local(tensor.detach()).copy_(stored.rows(*self._rows(tensor)))
        else:
            super().put(tensor, stored)

    def local(self, tensor: Any) -> Any:
        return tensor.to_local()

    def _plain(self, tensor: Any) -> Any:
        return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def join_torchrun(device: str) -> Group:
    """Join the processes that torchrun started, each with a card of its own."""
    import torch
    from torch import distributed

    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    return Group(distributed.get_rank(), distributed.get_world_size())


def _blocks(backbone: Any) -> list[Any]:
    """What is gathered one at a time: layers, and the two large tables where they are two."""
    inside = backbone.model
    tables = [inside.language_model.embed_tokens, backbone.lm_head]
    if tables[0].weight is tables[1].weight:
        tables = []  # two modules cannot share a weight and be gathered apart
    return [*inside.visual.blocks, *inside.language_model.layers, *tables]
