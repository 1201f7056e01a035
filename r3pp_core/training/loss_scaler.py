"""Dynamic loss scaling for float16, decided by the global gradient norm.

torch's GradScaler looks at each gradient by itself, so ranks that hold parts of a gradient would disagree.
"""

from typing import Any

FIRST_SCALE = 2.0**16
GROWTH_INTERVAL = 2000
LEAST_SCALE = 1.0  # gradients that overflow even unscaled will always do so


class LossScaler:
    """`scale` is halved by an overflow and doubled after 2,000 steps without one."""

    def __init__(self) -> None:
        self.scale = FIRST_SCALE
        self._num_clean = 0

    def update(self, *, overflowed: bool) -> None:
        self._num_clean = 0 if overflowed else self._num_clean + 1
        if overflowed:
            self.scale /= 2
        elif self._num_clean == GROWTH_INTERVAL:
            self.scale *= 2
            self._num_clean = 0

    @property
    def is_exhausted(self) -> bool:
        return self.scale < LEAST_SCALE

    def state(self) -> dict[str, Any]:
        return {"scale": self.scale, "num_clean": self._num_clean}

    def load(self, state: dict[str, Any]) -> None:
        """DeepSpeed's own scaler tells no count."""
        self.scale, self._num_clean = float(state["scale"]), int(state.get("num_clean", 0))
