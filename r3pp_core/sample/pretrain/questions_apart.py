"""Attention of packed pages at the cost of what is really seen.

A page's sequence is its context and then its questions, each of which sees the context and itself (`packing`). With a
mask over the whole sequence most of the attention's work is thrown away: half of a step's time. Here every token is
compared with the context, and with its own question only. B pages, T tokens, C of the longest context, N questions
over all pages, L tokens of the longest question.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

NAME = "questions_apart"
_UNSEEN = -1e9


@dataclass(frozen=True)
class Apart:
    """What attends to what. `row_of` of a token outside all questions is N x L, a row in which nothing is seen."""

    context_mask: "Tensor"  # [B, 1, T, C] added to the scores
    own_mask: "Tensor"  # [N, 1, L, L] added to the scores
    tokens: "Tensor"  # [N, L] in the flat sequence of B x T tokens
    row_of: "Tensor"  # [B x T] in the flat sequence of N x L


def lay_apart(segments: np.ndarray) -> Apart:
    """From the segment of each token [B, T]: 0 the context, from 1 on questions, -1 padding; in this order."""
    import torch

    num_pages, length = segments.shape
    in_context = segments == 0
    longest = max(1, int(in_context.sum(axis=1).max()))
    causal = np.tri(length, longest, dtype=bool)
    seen = in_context[:, None, :longest] & (causal[None] | ~in_context[:, :, None])
    starts = [
        (page, int(at[0]), len(at))
        for page in range(num_pages)
        for number in range(1, int(segments[page].max()) + 1)
        if len(at := np.flatnonzero(segments[page] == number))
    ]
    width = max((count for _, _, count in starts), default=1)
    tokens = np.zeros((len(starts), width), np.int64)
    valid = np.zeros((len(starts), width), bool)
    row_of = np.full(num_pages * length, len(starts) * width, np.int64)
    for number, (page, first, count) in enumerate(starts):
        own = page * length + first + np.arange(count)
        tokens[number, :count], valid[number, :count] = own, True
        row_of[own] = number * width + np.arange(count)
    own_seen = valid[:, None, :] & np.tri(width, dtype=bool)
    return Apart(
        context_mask=_added(seen[:, None]),
        own_mask=_added(own_seen[:, None]),
        tokens=torch.from_numpy(tokens),
        row_of=torch.from_numpy(row_of),
    )


def use_questions_apart(model: Any) -> None:
    """Let the language model attend so; from then on it wants `apart` with every call, and no mask."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attend)
    model.config.text_config._attn_implementation = NAME


def _added(seen: np.ndarray) -> "Tensor":
    import torch

    return torch.from_numpy(np.where(seen, np.float32(0), np.float32(_UNSEEN)))


def _attend(
    module: Any,
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    attention_mask: None,
    *,
    scaling: float,
    apart: Apart,
    **_: Any,
) -> tuple["Tensor", None]:
    """[B, H, T, d] queries, keys and values to [B, T, H, d]."""
    import torch

    batch, heads, length, _ = query.shape
    num_questions, width = apart.tokens.shape
    longest = apart.context_mask.shape[-1]
    query = query * scaling

    def own(states: "Tensor") -> "Tensor":  # [B, H, T, d] to [N, H, L, d]
        flat = states.transpose(1, 2).reshape(batch * length, heads, -1)
        return flat.index_select(0, apart.tokens.flatten()).view(num_questions, width, heads, -1).transpose(1, 2)

    def back(rows: "Tensor") -> "Tensor":  # [N, H, L, x] to [B, H, T, x]
        flat = rows.transpose(1, 2).reshape(num_questions * width, heads, -1)
        flat = torch.cat([flat, flat.new_zeros(1, heads, flat.shape[-1])])
        return flat.index_select(0, apart.row_of).view(batch, length, heads, -1).transpose(1, 2)

    to_context = query @ key[:, :, :longest].transpose(2, 3) + apart.context_mask
    to_own = back(own(query) @ own(key).transpose(2, 3) + apart.own_mask)
    outside = (apart.row_of == num_questions * width).view(batch, 1, length, 1)
    to_own = to_own.masked_fill(outside, _UNSEEN)
    weights = torch.cat([to_context, to_own], dim=-1).softmax(dim=-1)
    from_context = weights[..., :longest] @ value[:, :, :longest]
    from_own = back(own(weights[..., longest:]) @ own(value))
    return (from_context + from_own).transpose(1, 2), None
