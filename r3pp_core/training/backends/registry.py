"""The backends by name."""

from typing import TYPE_CHECKING

from r3pp_core.training.config import TrainConfig

if TYPE_CHECKING:
    from r3pp_core.training.backends.single import SingleBackend


def open_backend(config: TrainConfig) -> "SingleBackend":
    """Join the run's processes. Raises R3Error for what the backend cannot honour."""
    if config.backend == "fsdp":
        from r3pp_core.training.backends.fsdp import FsdpBackend

        return FsdpBackend(config)
    if config.backend == "deepspeed":
        from r3pp_core.training.backends.zero3 import Zero3Backend

        return Zero3Backend(config)
    from r3pp_core.training.backends.single import SingleBackend

    return SingleBackend(config)
