"""All R3 modules together: an evidence batch in, soft tokens with their mask, gate and confidence out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch  # noqa: TID253 - defines a torch module; imported inside functions only
from torch import Tensor, nn  # noqa: TID253 - see above

from r3pp_core.model.collation import NUM_OCR_FEATURES, EvidenceBatch, in_dtype
from r3pp_core.model.config import R3Config
from r3pp_core.model.losses import entropy
from r3pp_core.model.modules import (
    AdaptiveGate,
    ConfidenceHead,
    LatentImputation,
    MemoryAligner,
    PrefixEnhancer,
    Router,
    VisualMemory,
    weighted_mean,
)

UNKNOWN = 0.5  # the confidence that says neither yes nor no


@dataclass(frozen=True)
class Reconstructed:
    """`tokens` [B, K, D] with `token_mask` bool [B, K] (None when K = 0); the rest is None where its module is off."""

    tokens: Tensor | None
    token_mask: Tensor | None
    available: Tensor  # bool [B, 3]: text evidence, image evidence, own vision
    gate: Tensor | None  # [B, 3]
    confidence: Tensor | None  # [B, 2]: c_vis, c_text
    confidence_log_odds: Tensor | None  # [B, 2]: the head's own
    router_log_odds: Tensor | None  # [B]
    step_aligned: tuple[Tensor, Tensor] | None  # two [R, b]: the rows of `StepMeans`, None without them


@dataclass(frozen=True)
class StepMeans:
    """Weighted means of the hits of all R rows of a step: what alignment contrasts. `both`: rows with both kinds."""

    text: Tensor  # [R, text_dim]
    image: Tensor  # [R, image_dim]
    both: Tensor  # bool [R]

    def to(self, device: str) -> "StepMeans":
        return StepMeans(self.text.to(device), self.image.to(device), self.both.to(device))

    def unused(self) -> "StepMeans":
        """The same rows, none of them to be aligned."""
        return replace(self, both=torch.zeros_like(self.both))

    @classmethod
    def joined(cls, parts: "Sequence[StepMeans]") -> "StepMeans":
        """Those of all ranks."""
        return cls(
            torch.cat([part.text for part in parts]),
            torch.cat([part.image for part in parts]),
            torch.cat([part.both for part in parts]),
        )


def step_means(parts: Sequence[EvidenceBatch]) -> StepMeans:
    """Those of a step's micro-batches."""
    means = [hit_means(part) for part in parts]
    return StepMeans(
        torch.cat([text for text, _ in means]),
        torch.cat([image for _, image in means]),
        torch.cat([part.text_mask.any(1) & part.image_mask.any(1) for part in parts]),
    )


def hit_means(evidence: EvidenceBatch) -> tuple[Tensor, Tensor]:
    """Weighted means of a batch's hits: [B, text_dim], [B, image_dim]."""
    return (
        weighted_mean(evidence.text_vectors, evidence.text_weights),
        weighted_mean(evidence.image_vectors, evidence.image_weights),
    )


def told(confidence: Tensor) -> Tensor:
    """What gate and router read of a confidence [B, 2]: from -2 to 2, and 0 where it is UNKNOWN."""
    return 4 * (confidence.detach() - UNKNOWN)


class Reconstruction(nn.Module):
    """Built for hidden size D; `token_norm` is the backbone's mean embedding norm, which every soft token takes."""

    token_norm: Tensor

    def __init__(self, config: R3Config, D: int, token_norm: float) -> None:
        super().__init__()
        b, num_scores = config.bottleneck, 2 * config.k
        self.config = config
        self.register_buffer("token_norm", torch.tensor(token_norm))
        if config.use_prefix:
            self.prefix = PrefixEnhancer(config.text_dim, b, config.num_text_tokens, D)
        if config.use_visual_memory:
            self.visual = VisualMemory(config.image_dim, b, config.num_image_tokens, D)
        if config.use_latents:
            self.latents = LatentImputation(config.num_latent_tokens, D)
        if config.use_aligner:
            self.aligner = MemoryAligner(config.text_dim, config.image_dim, b)
        if config.use_confidence:
            self.confidence = ConfidenceHead(config.image_dim + NUM_OCR_FEATURES + num_scores, b)
        if config.use_gate:
            self.gate = AdaptiveGate(2 * b * config.use_aligner + 2 * config.use_confidence + num_scores, b)
        if config.use_router:
            self.router = Router(2 * config.use_confidence + num_scores + config.use_gate, b)

    def forward(
        self, evidence: EvidenceBatch, step: StepMeans | None = None, off: frozenset[str] = frozenset()
    ) -> Reconstructed:
        """`step`: the rows to align besides, once in a step. Everything is computed in the modules' own dtype.

        `off`: parts of a trained model to do without, by the names of `R3Config`'s switches. The tokens of a group are
        masked, the gate lets everything pass, and confidence is UNKNOWN to gate, latents and router.
        """
        dtype = next(self.parameters(), self.token_norm).dtype
        evidence, step = in_dtype(evidence, dtype), in_dtype(step, dtype) if step else None
        available = torch.stack(
            [evidence.text_mask.any(1), evidence.image_mask.any(1), torch.ones_like(evidence.text_mask[:, 0])], dim=1
        )
        scores = torch.cat([evidence.text_scores, evidence.image_scores], dim=1)
        log_odds = self._confidence_log_odds(evidence, scores)
        stated = None if log_odds is None else log_odds.sigmoid()
        confidence = None if stated is None else stated.to(dtype)
        if confidence is not None and "confidence" in off:
            stated, confidence = None, torch.full_like(confidence, UNKNOWN)
        aligned = self.aligner(*hit_means(evidence)) if self.config.use_aligner else None
        gate = self._gate(scores, confidence, aligned, available)
        router = self._router_log_odds(scores, confidence, gate)
        strength = torch.ones_like(evidence.c_vis) if router is None else router.sigmoid().to(dtype)
        if "gate" in off:
            gate = None
        tokens, token_mask = self._tokens(evidence, available, gate, confidence, strength, off)
        step_aligned = None
        if step and self.config.use_aligner:
            text, image = self.aligner(step.text, step.image)
            step_aligned = text.float(), image.float()
        gate = None if gate is None else gate.float()
        return Reconstructed(tokens, token_mask, available, gate, stated, log_odds, router, step_aligned)

    def stated_confidence(self, evidence: EvidenceBatch) -> Tensor | None:
        """[B, 2]: c_vis, c_text in [0, 1], in fp32, as `forward` has them; None where the head is off."""
        evidence = in_dtype(evidence, next(self.parameters(), self.token_norm).dtype)
        log_odds = self._confidence_log_odds(evidence, torch.cat([evidence.text_scores, evidence.image_scores], dim=1))
        return None if log_odds is None else log_odds.sigmoid()

    def _confidence_log_odds(self, evidence: EvidenceBatch, scores: Tensor) -> Tensor | None:
        if not self.config.use_confidence:
            return None
        seen = [evidence.image_query, evidence.ocr, scores]
        predicted: Tensor = self.confidence(torch.cat(seen, dim=1))
        return predicted.float()

    def _gate(
        self, scores: Tensor, confidence: Tensor | None, aligned: tuple[Tensor, Tensor] | None, available: Tensor
    ) -> Tensor | None:
        if not self.config.use_gate:
            return None
        features = [scores]
        if aligned is not None:
            features += [vectors * has[:, None] for vectors, has in zip(aligned, available.unbind(1)[:2], strict=True)]
        if confidence is not None:
            # Detached: the head stays an honest estimate of the truth, not a lever of the answer loss.
            features.append(told(confidence))
        gate: Tensor = self.gate(torch.cat(features, dim=1), available)
        return gate

    def _router_log_odds(self, scores: Tensor, confidence: Tensor | None, gate: Tensor | None) -> Tensor | None:
        if not self.config.use_router:
            return None
        features = [scores]
        if confidence is not None:
            features.append(told(confidence))
        if gate is not None:
            features.append(entropy(gate)[:, None].detach().to(gate.dtype))
        predicted: Tensor = self.router(torch.cat(features, dim=1))
        return predicted.float()

    def _tokens(
        self,
        evidence: EvidenceBatch,
        available: Tensor,
        gate: Tensor | None,
        confidence: Tensor | None,
        strength: Tensor,
        off: frozenset[str],
    ) -> tuple[Tensor | None, Tensor | None]:
        config, norm = self.config, self.token_norm
        groups: list[tuple[str, Tensor, Tensor, Tensor]] = []  # name, tokens, their weight g, whether there are any
        if config.use_prefix:
            g = strength if gate is None else strength * gate[:, 0]
            tokens = self.prefix(evidence.text_vectors, evidence.text_weights, g, norm)
            groups.append(("prefix", tokens, g, available[:, 0]))
        if config.use_visual_memory:
            g = strength if gate is None else strength * gate[:, 1]
            tokens = self.visual(evidence.image_vectors, evidence.image_weights, g, norm)
            groups.append(("visual_memory", tokens, g, available[:, 1]))
        if config.use_latents:
            g = strength if confidence is None else strength * (1 - confidence[:, 0])
            groups.append(("latents", self.latents(g, norm), g, available[:, 2]))
        if not groups:
            return None, None
        mask = [
            (has & (g >= config.tokens_from) & (name not in off))[:, None].expand(-1, tokens.shape[1])
            for name, tokens, g, has in groups
        ]
        return torch.cat([tokens for _, tokens, _, _ in groups], dim=1), torch.cat(mask, dim=1)
