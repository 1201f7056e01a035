"""DeepSpeed ZeRO-3: every rank holds a flat range of each weight and of its fp32 master; started by deepspeed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from r3pp_core.model.backbone import Backbone, load_backbone, mean_norm
from r3pp_core.model.tensor_files import StoredTensor, open_tensors, refuse_differences
from r3pp_core.training.backends.deepspeed_build import build_cpu_communication
from r3pp_core.training.backends.deepspeed_config import resolved
from r3pp_core.training.backends.fsdp import EMBEDDING, join_torchrun
from r3pp_core.training.backends.single import MOMENTS, SingleBackend, Update
from r3pp_core.training.group import Group
from r3pp_core.training.optimizer import build_optimizer

FP32_BYTES = 4


@dataclass(frozen=True)
class Part:
    """This rank's range of what belongs to a parameter, flat and padded to equal length over the ranks.

    `values` is None where DeepSpeed holds it, under `moment` of the optimizer.
    """

    parameter: Any
    moment: str | None
    values: Any = None

    def element_size(self) -> int:
        return FP32_BYTES


class Zero3Backend(SingleBackend):
    """Weights are read in parts by transformers, computed with in the run's dtype, and kept in fp32 by the engine."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        dtype = self.precision.computes
        self.precision = replace(self.precision, weights=dtype, autocast=None, loss_scaler=False)
        self.scaler = None
        self._is_scale_exhausted = False
        self._is_fp16 = dtype == "float16"
        self._deepspeed = resolved(config, self.size, dtype)

    def _join(self) -> Group:
        import deepspeed

        group = join_torchrun(self.device)
        if self.device == "cpu":
            build_cpu_communication()
        deepspeed.init_distributed(verbose=False)  # finds the processes joined
        return group

    def load_backbone(self) -> Backbone:
        from transformers.integrations import HfDeepSpeedConfig

        # transformers partitions what it loads as long as this lives.
        self._keep = HfDeepSpeedConfig(self._deepspeed)
        config = self.config
        return load_backbone(config.model_name, config.revision, self.precision.weights, self.device, _load_partitioned)

    def take(self, model: Any) -> None:
        import deepspeed
        import torch

        dtype = getattr(torch, self.precision.weights)
        for parameter in model.parameters():
            if parameter.dtype != dtype:
                parameter.data = parameter.data.to(dtype)
        optimizer = build_optimizer(model.trainable(), self.config, self.shape)
        self.engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=self._deepspeed)
        self.model, self.optimizer = model, optimizer

    @property
    def may_skip(self) -> bool:
        return self._is_fp16

    @property
    def is_scale_exhausted(self) -> bool:
        return self._is_scale_exhausted

    def forward(self, *inputs: Any) -> Any:
        return self.engine(*inputs)

    def zero_grad(self) -> None:
        """The engine did so after the last step."""

    def backward(self, loss: Any, *, is_last: bool) -> None:
        self.engine.set_gradient_accumulation_boundary(is_last)
        # DeepSpeed takes the mean over ranks.
        self.engine.backward(loss * self.size, scale_wrt_gas=False)

    def update(self) -> Update:
        """The engine clips and steps; it skips the step when a gradient is not finite."""
        try:
            self.engine.step()
        except Exception as error:
            if "minimum" not in str(error):  # DeepSpeed has no other name for it
                raise
            self._is_scale_exhausted = True
            return Update(float("nan"), is_done=False)
        if self.engine.optimizer.overflow:
            return Update(float("nan"), is_done=False)
        return Update(float(self.engine.get_global_grad_norm()), is_done=True)

    def scaler_state(self) -> dict[str, Any] | None:
        return {"scale": float(self.engine.optimizer.loss_scaler.cur_scale)} if self._is_fp16 else None

    def load_scaler(self, state: dict[str, Any] | None) -> None:
        if self._is_fp16 and state:
            self.engine.optimizer.loss_scaler.cur_scale = state["scale"]

    # Tensors by name.

    def shape(self, tensor: Any) -> tuple[int, ...]:
        parameter = tensor.parameter if isinstance(tensor, Part) else tensor
        return tuple(getattr(parameter, "ds_shape", parameter.shape))

    def whole(self, tensor: Any) -> Any:
        import torch
        from torch import distributed

        if hasattr(tensor, "ds_id"):
            tensor = Part(tensor, None)
        if not isinstance(tensor, Part):
            return super().whole(tensor)
        mine = self._values(tensor).contiguous()
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(parts, mine)
        return torch.cat(parts)[: tensor.parameter.ds_numel].view(self.shape(tensor)).cpu()

    def put(self, tensor: Any, stored: StoredTensor) -> None:
        import torch
        from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

        if hasattr(tensor, "ds_id"):
            tensor = Part(tensor, None)
        if not isinstance(tensor, Part):
            return super().put(tensor, stored)
        parameter, length = tensor.parameter, tensor.parameter.partition_numel()
        start = min(self.rank * length, parameter.ds_numel)
        found = stored.piece(start, min(start + length, parameter.ds_numel))
        mine = torch.zeros(length, device=self.device)
        mine[: len(found)] = found
        if tensor.values is not None:
            tensor.values.copy_(mine)
        elif tensor.moment:
            safe_set_local_optimizer_state(parameter, mine, tensor.moment)
        else:
            safe_set_local_fp32_param(parameter, mine)
        return None

    def _values(self, part: Part) -> Any:
        from deepspeed.utils import safe_get_local_fp32_param, safe_get_local_optimizer_state

        if part.values is not None:
            return part.values
        if part.moment:
            return safe_get_local_optimizer_state(part.parameter, part.moment)
        return safe_get_local_fp32_param(part.parameter)

    def moments(self) -> dict[str, Any]:
        """The step is one for all: the engine updates every parameter in each."""
        steps = [state["step"] for state in self.optimizer.state.values()]
        if not steps:
            return {}
        return {
            f"{key}:{name}": steps[0].clone() if key == "step" else Part(parameter, key)
            for name, parameter in self.model.trainable().items()
            for key in ("step", *MOMENTS)
        }

    def new_moments(self, stored: Mapping[str, StoredTensor]) -> dict[str, Any]:
        import torch

        steps = [float(tensor.whole()) for name, tensor in stored.items() if name.startswith("step:")]
        for flat in self.engine.optimizer.fp32_partitioned_groups_flat if steps else ():
            state = {key: torch.zeros_like(flat) for key in MOMENTS}
            self.optimizer.state[flat] = {"step": torch.tensor(max(steps), device=flat.device), **state}
        return {name: tensor for name, tensor in self.moments().items() if name in stored}

    def loaded(self) -> None:
        for parameter in self.model.trainable().values():
            parameter.ds_tensor.data.copy_(self._values(Part(parameter, None)))
        self._gather_anew()

    def held_weights(self) -> list[Any]:
        parameters = list(self.model.parameters())
        kept_whole = [one.data for one in parameters if one.data.numel() == one.ds_numel]
        masters = self.engine.optimizer.fp32_partitioned_groups_flat
        return [*(one.ds_tensor for one in parameters), *kept_whole, *masters]

    def held_gradients(self) -> list[Any]:
        return [self.engine.optimizer.grad_partitions_flat_buffer]

    # The teacher.

    def new_average(self, parameter: Any) -> Part:
        return Part(parameter, None, self._values(Part(parameter, None)).clone())

    def update_average(self, average: Part, parameter: Any, decay: float) -> None:
        average.values.lerp_(self._values(Part(parameter, None)), 1 - decay)

    @contextmanager
    def swapped(self, averages: Mapping[str, Part]) -> Iterator[None]:
        """The averages take the place of the weights that are computed with; the fp32 masters stay."""
        for average in averages.values():
            average.parameter.ds_tensor.data.copy_(average.values)
        self._gather_anew()
        try:
            yield
        finally:
            self.loaded()

    def _gather_anew(self) -> None:
        """Drop whole weights made from the parts as they were."""
        inside = self.engine.optimizer
        inside.parameter_offload.partition_all_parameters()
        if kept := inside.persistent_parameters:
            kept[0].partition(kept)
            kept[0].all_gather(kept)


def _load_partitioned(folder: Path, config: Any, dtype: str, device: str) -> tuple[Any, float]:
    """transformers gives each rank its range as it reads."""
    import torch
    from transformers import Qwen3VLForConditionalGeneration

    model = Qwen3VLForConditionalGeneration.from_pretrained(
        folder, config=config, dtype=getattr(torch, dtype), use_safetensors=True
    )
    weights = open_tensors(sorted(folder.glob("*.safetensors")))
    refuse_differences(str(folder), {name: weight.ds_shape for name, weight in model.named_parameters()}, weights)
    return model, mean_norm(weights[EMBEDDING].whole())
