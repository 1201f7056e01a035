"""In which numbers a run computes, decided by the card's compute capability."""

from dataclasses import dataclass

from r3pp_core.training.config import TrainConfig

BF16_CAPABILITY = (8, 0)


@dataclass(frozen=True)
class Precision:
    """`weights`: dtype of the backbone as loaded; `autocast`: dtype of its products, None for that of the weights.

    Trainable weights are fp32 always. `note` says what was asked for and not served.
    """

    device: str
    weights: str
    autocast: str | None
    loss_scaler: bool
    note: str | None = None

    @property
    def computes(self) -> str:
        """The dtype of products."""
        return self.autocast or self.weights


def choose_precision(config: TrainConfig, device: str, capability: tuple[int, int] | None) -> Precision:
    """`capability` is the card's (None without one). bf16 below 8.0 is served as fp16 with a loss scaler.

    The capability decides and not torch's is_bf16_supported(), which is true through slow emulation.
    """
    dtype = "bfloat16" if config.bf16 else "float16" if config.fp16 else None
    note = None
    if dtype == "bfloat16" and capability is not None and capability < BF16_CAPABILITY:
        dtype = "float16"
        note = f"bf16 was asked for; this card has compute capability {capability[0]}.{capability[1]}: fp16 is used"
    if dtype is None:
        return Precision(device, "float32", None, loss_scaler=False)
    scaled = dtype == "float16"
    if config.use_lora:
        return Precision(device, dtype, None, scaled, note)
    return Precision(device, "float32", dtype, scaled, note)


def current_device() -> tuple[str, tuple[int, int] | None]:
    """cuda with its compute capability where there is a card, else cpu."""
    import torch

    if torch.cuda.is_available():
        return "cuda", torch.cuda.get_device_capability()
    return "cpu", None
