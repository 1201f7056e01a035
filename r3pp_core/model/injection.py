"""Soft tokens enter through the embedding layer's own forward.

K placeholders in the prompt take the normal path through tokenising, padding, labels, mRoPE and the image mask; a
forward hook on the embedding layer then replaces their rows. Nothing is concatenated, so no position moves.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from r3pp_core.errors import R3Error

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def injected(embedding: "nn.Module", placeholder_id: int, soft_tokens: "Tensor | None") -> Iterator[None]:
    """Within the block, the first forward of `embedding` (the prefill) gets its placeholders replaced.

    `soft_tokens` [B, K, D], or None for K = 0. Raises R3Error when a row of the prefill has not exactly K
    placeholders, or when the embedding never ran. Later forwards (decoding with the cache) are left alone.
    """
    num_calls = 0

    def replace_rows(module: "nn.Module", args: tuple[Any, ...], output: "Tensor") -> "Tensor | None":
        nonlocal num_calls
        num_calls += 1
        if num_calls > 1:
            return None
        at = args[0] == placeholder_id
        wanted = 0 if soft_tokens is None else soft_tokens.shape[1]
        found = at.sum(dim=1).tolist()
        if any(count != wanted for count in found):
            raise R3Error(f"each row needs exactly {wanted} soft-token placeholders at prefill, found {found}")
        if soft_tokens is None:
            return None
        return output.masked_scatter(at[..., None], soft_tokens.to(output.dtype))

    handle = embedding.register_forward_hook(replace_rows)
    try:
        yield
    finally:
        handle.remove()
    if num_calls == 0:
        raise R3Error("the backbone never looked its input ids up, so no soft token reached it")
