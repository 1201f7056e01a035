"""Overflow of float16 inside the backbone, found in the first steps and named: it is known of this family.

The loss scaler sees gradients only; an activation that overflowed can end in a loss that is finite and wrong.
"""

from typing import Any

NUM_STEPS = 3


class ActivationWatch:
    """Remembers the first layer whose output was not finite, from now until `close`."""

    def __init__(self, backbone: Any) -> None:
        self._seen: list[tuple[str, Any]] = []
        inside = backbone.model
        layers = {
            **{f"vision block {number}": layer for number, layer in enumerate(inside.visual.blocks)},
            **{f"layer {number}": layer for number, layer in enumerate(inside.language_model.layers)},
        }
        self._handles = [layer.register_forward_hook(self._look(name)) for name, layer in layers.items()]

    def _look(self, name: str) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            self._seen.append((name, hidden.detach().isfinite().all()))

        return hook

    def first_overflow(self) -> str | None:
        """Its name, if there was one since the last call."""
        found = next((name for name, is_finite in self._seen if not bool(is_finite)), None)
        self._seen.clear()
        return found

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
