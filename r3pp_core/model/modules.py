"""The modules that turn evidence into soft tokens and decide how far to trust it (METHOD 5).

B batch, k hits, d embedding length, b bottleneck width, N tokens of a group, D hidden size of the backbone.
This file is imported inside functions only: it defines torch modules, so it needs torch at its head.
"""

import torch  # noqa: TID253 - defines torch modules; imported inside functions only
from torch import Tensor, nn  # noqa: TID253 - see above

NUM_SOURCES = 3  # text evidence, image evidence, own vision


def mix(tokens: Tensor, null: Tensor, g: Tensor, norm: Tensor) -> Tensor:
    """token = g e + (1 - g) e_null with |e| = |e_null| = norm. [B, N, D], [N, D], [B] in [0, 1] -> [B, N, D].

    A plain scale g e would do nothing: the backbone's RMSNorm cancels it.
    """
    weight = g[:, None, None]
    return weight * to_norm(tokens, norm) + (1 - weight) * to_norm(null, norm)


def to_norm(vectors: Tensor, norm: Tensor) -> Tensor:
    return nn.functional.normalize(vectors, dim=-1) * norm


def weighted_mean(vectors: Tensor, weights: Tensor) -> Tensor:
    """[B, k, d], [B, k] with zeros where there is no hit -> [B, d]."""
    return (vectors * weights[..., None]).sum(dim=1)


def two_layers(num_in: int, width: int, num_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(num_in, width), nn.GELU(), nn.Linear(width, num_out))


class EvidenceTokens(nn.Module):
    """k embeddings -> N tokens: learned queries attend to the hits, whose score weights are the attention's prior.

    They are mixed with the group's null tokens here, so that all parameters are used in their own module's forward,
    where sharded training has them. With zero weight a hit has no influence at all. Used as PrefixEnhancer (text) and
    VisualMemory (images).
    """

    def __init__(self, d: int, b: int, num_tokens: int, D: int) -> None:
        super().__init__()
        self.project = nn.Linear(d, b)
        self.queries = nn.Parameter(torch.randn(num_tokens, b) * b**-0.5)
        self.keys = nn.Linear(b, b, bias=False)
        self.values = nn.Linear(b, b, bias=False)
        self.widen = nn.Sequential(nn.LayerNorm(b), nn.Linear(b, 2 * b), nn.GELU(), nn.Linear(2 * b, b))
        self.out = nn.Linear(b, D)
        self.null = nn.Parameter(torch.randn(num_tokens, D))

    def forward(self, vectors: Tensor, weights: Tensor, g: Tensor, norm: Tensor) -> Tensor:
        """[B, k, d], [B, k], [B] in [0, 1] -> [B, N, D].

        A row whose weights are all zero gives finite tokens that mean nothing.
        """
        hits = nn.functional.gelu(self.project(vectors))
        affinity = torch.einsum("nb,rkb->rnk", self.queries, self.keys(hits)) * self.queries.shape[-1] ** -0.5
        prior = weights.float().clamp_min(torch.finfo(torch.float32).tiny).log()
        attention = (affinity.float() + prior[:, None, :]).softmax(dim=-1).to(hits.dtype)
        seen = self.queries + attention @ self.values(hits)
        return mix(self.out(seen + self.widen(seen)), self.null, g, norm)


class PrefixEnhancer(EvidenceTokens):
    """Text evidence as soft tokens."""


class VisualMemory(EvidenceTokens):
    """Image evidence as soft tokens."""


class LatentImputation(nn.Module):
    """Learned tokens that stand in for what the picture has lost; weighted by 1 - c_vis outside."""

    def __init__(self, num_tokens: int, D: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(num_tokens, D))
        self.null = nn.Parameter(torch.randn(num_tokens, D))

    def forward(self, g: Tensor, norm: Tensor) -> Tensor:
        """[B] in [0, 1] -> [B, N, D]."""
        return mix(self.tokens.expand(len(g), -1, -1), self.null, g, norm)


class MemoryAligner(nn.Module):
    """Text and image evidence in one space of width b, as unit vectors."""

    def __init__(self, text_dim: int, image_dim: int, b: int) -> None:
        super().__init__()
        self.text = two_layers(text_dim, b, b)
        self.image = two_layers(image_dim, b, b)

    def forward(self, text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted means of the hits [B, text_dim], [B, image_dim] -> two [B, b]."""
        return nn.functional.normalize(self.text(text), dim=-1), nn.functional.normalize(self.image(image), dim=-1)


class AdaptiveGate(nn.Module):
    """How far to trust text evidence, image evidence and one's own vision: weights that sum to one."""

    def __init__(self, num_features: int, b: int) -> None:
        super().__init__()
        self.logits = two_layers(num_features, b, NUM_SOURCES)

    def forward(self, features: Tensor, available: Tensor) -> Tensor:
        """[B, F], bool [B, 3] -> [B, 3]. One softmax, with gradients; what is not available gets exactly zero."""
        return self.logits(features).masked_fill(~available, float("-inf")).softmax(dim=-1)


class Router(nn.Module):
    """How strongly to use the soft tokens at all, from confidence, retrieval scores and the gate's entropy."""

    def __init__(self, num_features: int, b: int) -> None:
        super().__init__()
        self.logit = two_layers(num_features, b, 1)

    def forward(self, features: Tensor) -> Tensor:
        """[B, F] -> [B]: the log odds of the strength, whose sigmoid lies in [0, 1]."""
        log_odds: Tensor = self.logit(features).squeeze(-1)
        return log_odds


class ConfidenceHead(nn.Module):
    """c_vis and c_text from what can be seen at run time."""

    def __init__(self, num_features: int, b: int) -> None:
        super().__init__()
        self.logits = two_layers(num_features, b, 2)

    def forward(self, features: Tensor) -> Tensor:
        """[B, F] -> [B, 2]: the log odds of c_vis and c_text, whose sigmoid lies in [0, 1]."""
        log_odds: Tensor = self.logits(features)
        return log_odds
