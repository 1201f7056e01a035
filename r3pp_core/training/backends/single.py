"""One process that holds everything; and what the sharded backends do in the same way."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from r3pp_core.errors import R3Error
from r3pp_core.model.backbone import Backbone, load_backbone
from r3pp_core.model.tensor_files import StoredTensor, Unsharded
from r3pp_core.training.config import TrainConfig
from r3pp_core.training.group import Group
from r3pp_core.training.loss_scaler import LossScaler
from r3pp_core.training.optimizer import build_optimizer
from r3pp_core.training.precision import Precision, choose_precision, current_device

MOMENTS = ("exp_avg", "exp_avg_sq")
T = TypeVar("T")


class Update(NamedTuple):
    """Gradient norm before clipping, and whether the weights were touched: never where the norm is not finite."""

    grad_norm: float
    is_done: bool


class SingleBackend(Unsharded):
    """Loads a model, computes with it, updates it, and gives its tensors whole. Gradients are sums over ranks."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.device, self.capability = current_device()
        self.group = self._join()
        self.rank, self.size = self.group.rank, self.group.size
        self.precision: Precision = choose_precision(config, self.device, self.capability)
        self.scaler: LossScaler | None = LossScaler() if self.precision.loss_scaler else None
        self.model: Any = None
        self.optimizer: Any = None

    def _join(self) -> Group:
        return Group()

    def from_first(self, work: Callable[[], T]) -> T:
        return self.group.from_first(work)

    def raise_together(self, error: R3Error | None) -> None:
        self.group.raise_together(error)

    def load_backbone(self) -> Backbone:
        config = self.config
        return load_backbone(config.model_name, config.revision, self.precision.weights, self.device)

    def take(self, model: Any) -> None:
        """Take a model over, made on what `load_backbone` gave, and build its optimizer."""
        import torch

        model.autocast_dtype = getattr(torch, self.precision.autocast) if self.precision.autocast else None
        self.model = model
        self.optimizer = build_optimizer(model.trainable(), self.config)

    def forward(self, *inputs: Any) -> Any:
        """The model's forward with gradients."""
        return self.model(*inputs)

    def zero_grad(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Any, *, is_last: bool) -> None:
        """Of one micro-batch; `is_last` in this step."""
        (loss * self.scaler.scale if self.scaler else loss).backward()

    def update(self) -> Update:
        """Clip by the global norm and step. With a loss scaler an overflow lowers its scale and skips the step."""
        from torch.nn.utils import clip_grads_with_norm_, get_total_norm

        parameters = [parameter for parameter in self.model.trainable().values() if parameter.grad is not None]
        if self.scaler:
            for parameter in parameters:
                parameter.grad.div_(self.scaler.scale)
        norm = get_total_norm([parameter.grad for parameter in parameters])
        grad_norm = float(self._plain(norm))
        is_finite = grad_norm - grad_norm == 0
        if is_finite:
            clip_grads_with_norm_(parameters, self.config.max_grad_norm, norm)
            self.optimizer.step()
        if self.scaler:
            self.scaler.update(overflowed=not is_finite)
        return Update(grad_norm, is_finite)

    @property
    def may_skip(self) -> bool:
        """Whether a step may be skipped because scaled gradients overflowed."""
        return self.scaler is not None

    @property
    def is_scale_exhausted(self) -> bool:
        """Whether gradients overflowed even where nothing is scaled any more."""
        return self.scaler is not None and self.scaler.is_exhausted

    @property
    def computes_in_fp16(self) -> bool:
        return "float16" in (self.precision.autocast, self.precision.weights)

    def scaler_state(self) -> dict[str, Any] | None:
        return self.scaler.state() if self.scaler else None

    def load_scaler(self, state: dict[str, Any] | None) -> None:
        if self.scaler and state:
            self.scaler.load(state)

    def _plain(self, tensor: Any) -> Any:
        return tensor

    # What a checkpoint holds: tensors by name, for `write_tensors` and `read_tensors` with this object as sharding.

    def moments(self) -> dict[str, Any]:
        """AdamW's state as `exp_avg:<name>`, `exp_avg_sq:<name>` and `step:<name>`, of what ever had a gradient."""
        return {
            f"{key}:{name}": self.optimizer.state[parameter][key]
            for name, parameter in self.model.trainable().items()
            for key in ("step", *MOMENTS)
            if parameter in self.optimizer.state
        }

    def new_moments(self, stored: Mapping[str, StoredTensor]) -> dict[str, Any]:
        """Empty ones for all parameters that `stored` names, to be filled."""
        import torch

        for name, parameter in self.model.trainable().items():
            if f"step:{name}" in stored:
                state = {key: torch.zeros_like(parameter) for key in MOMENTS}
                self.optimizer.state[parameter] = {"step": torch.zeros((), device=self.device), **state}
        return self.moments()

    def loaded(self) -> None:
        """Weights and moments were put in place by a checkpoint."""

    # The teacher's weights: an average beside each parameter, sharded as it is.

    def new_average(self, parameter: Any) -> Any:
        return parameter.detach().clone()

    def update_average(self, average: Any, parameter: Any, decay: float) -> None:
        self.local(average).lerp_(self.local(parameter.detach()), 1 - decay)

    @contextmanager
    def swapped(self, averages: Mapping[str, Any]) -> Iterator[None]:
        """Within the block the averages are the parameters' values, and the other way round."""
        self._exchange(averages)
        try:
            yield
        finally:
            self._exchange(averages)

    def _exchange(self, averages: Mapping[str, Any]) -> None:
        trainable = self.model.trainable()
        for name, average in averages.items():
            ours, theirs = self.local(trainable[name].detach()), self.local(average)
            kept = ours.clone()
            ours.copy_(theirs)
            theirs.copy_(kept)

    def local(self, tensor: Any) -> Any:
        """This rank's part."""
        return tensor

    # What lies on this rank, for the memory plan.

    def held_weights(self) -> list[Any]:
        return list(self.model.parameters())

    def held_gradients(self) -> list[Any]:
        return [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
