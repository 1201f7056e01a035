"""What a run's tensors really take on this rank, to be put beside the plan."""

from collections.abc import Iterable
from typing import Any

from r3pp_core.training.backends.zero3 import Part
from r3pp_core.training.capacity.memory import Held
from r3pp_core.training.setup import Training


def held_bytes(run: Training) -> Held:
    """After a step's backward and update, with its gradients still there."""
    weights, gradients = run.backend.held_weights(), run.backend.held_gradients()
    states = [value for state in run.backend.optimizer.state.values() for value in state.values()]
    averages = run.teacher.averages.values() if run.teacher else []
    averages = [average.values if isinstance(average, Part) else average for average in averages]
    return Held(_bytes(weights), _bytes(gradients), _bytes(states), _bytes(averages))


def _bytes(tensors: Iterable[Any]) -> int:
    """This rank's parts; memory that two of them share is counted once."""
    parts = {}
    for tensor in tensors:
        local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        if hasattr(local, "data_ptr") and local.numel():
            parts[local.data_ptr()] = local.nbytes
    return sum(parts.values())
