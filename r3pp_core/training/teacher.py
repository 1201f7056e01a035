"""The teacher: the moving average of the backbone's trainable weights, which sees the clean row without retrieval.

Its prompt has no soft tokens, so of what is trained only the backbone's part says anything to it.
"""

from collections.abc import Sequence
from typing import Any

from r3pp_core.model.collation import Batch, to_device
from r3pp_core.training.optimizer import BACKBONE_PREFIX

MAX_DECAY = 0.999


class Teacher:
    """Averages in fp32, sharded as the parameters are."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        trainable = backend.model.trainable()
        self.averages = {
            name: backend.new_average(parameter)
            for name, parameter in trainable.items()
            if name.startswith(BACKBONE_PREFIX)
        }

    def logits(self, batches: Sequence[Batch]) -> list[Any]:
        """Of the answers in each batch's clean view: [n, V] each, in the batch's order."""
        import torch

        model, found = self.backend.model, []
        model.eval()
        try:
            with self.backend.swapped(self.averages), torch.no_grad():
                for batch in batches:
                    assert batch.clean is not None, "made by a Batcher for a teacher"
                    found.append(model(to_device(batch.clean, model.device), only_logits=True))
        finally:
            model.train()
        return found

    def update(self, step: int) -> None:
        """After step `step` (from 0) was done."""
        trainable = self.backend.model.trainable()
        for name, average in self.averages.items():
            self.backend.update_average(average, trainable[name], decay(step))


def decay(step: int) -> float:
    """min(0.999, (1 + t) / (10 + t)): the average follows quickly at first."""
    return min(MAX_DECAY, (1 + step) / (10 + step))
