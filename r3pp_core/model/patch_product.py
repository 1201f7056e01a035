"""A convolution whose stride is its kernel is a product, and quicker as one: its kernels are made for other shapes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def multiply_patches(patch_embed: Any) -> None:
    """Let `patch_embed`, of a Qwen3-VL, multiply; its weights stay as they are and what it gives is the same."""
    from torch.nn.functional import linear

    convolution = patch_embed.proj

    def forward(patches: "Tensor") -> "Tensor":  # [P, patch length] to [P, width]
        weight = convolution.weight.flatten(1)
        return linear(patches.flatten(1).to(weight.dtype), weight, convolution.bias)

    patch_embed.forward = forward
