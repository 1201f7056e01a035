"""All R3 modules together: an evidence batch in, soft tokens with their mask, gate and confidence out."""

from dataclasses import dataclass

import torch  # noqa: TID253 - defines a torch module; imported inside functions only
from torch import Tensor, nn  # noqa: TID253 - see above

from r3pp_core.model.collation import EvidenceBatch
from r3pp_core.model.config import R3Config
from r3pp_core.model.modules import (
    AdaptiveGate,
    ConfidenceHead,
    LatentImputation,
    MemoryAligner,
    PrefixEnhancer,
    VisualMemory,
    mix,
    weighted_mean,
)


@dataclass(frozen=True)
class Reconstructed:
    """`tokens` [B, K, D] with `token_mask` bool [B, K] (None when K = 0); the rest is None where its module is off."""

    tokens: Tensor | None
    token_mask: Tensor | None
    available: Tensor  # bool [B, 3]: text evidence, image evidence, own vision
    gate: Tensor | None  # [B, 3]
    confidence: Tensor | None  # [B, 2]: c_vis, c_text
    aligned: tuple[Tensor, Tensor] | None  # two [B, b]


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
            self.confidence = ConfidenceHead(config.image_dim + 2 + num_scores, b)
        if config.use_gate:
            self.gate = AdaptiveGate(2 * b * config.use_aligner + 2 * config.use_confidence + num_scores, b)

    def forward(self, evidence: EvidenceBatch) -> Reconstructed:
        available = torch.stack(
            [evidence.text_mask.any(1), evidence.image_mask.any(1), torch.ones_like(evidence.text_mask[:, 0])], dim=1
        )
        scores = torch.cat([evidence.text_scores, evidence.image_scores], dim=1)
        confidence = self._confidence(evidence, scores)
        aligned = self._aligned(evidence)
        gate = self._gate(scores, confidence, aligned, available)
        tokens, token_mask = self._tokens(evidence, available, gate, confidence)
        return Reconstructed(tokens, token_mask, available, gate, confidence, aligned)

    def _confidence(self, evidence: EvidenceBatch, scores: Tensor) -> Tensor | None:
        if not self.config.use_confidence:
            return None
        seen = [evidence.image_query, evidence.ocr_conf[:, None], evidence.ocr_known[:, None], scores]
        predicted: Tensor = self.confidence(torch.cat(seen, dim=1))
        return predicted

    def _aligned(self, evidence: EvidenceBatch) -> tuple[Tensor, Tensor] | None:
        if not self.config.use_aligner:
            return None
        text = weighted_mean(evidence.text_vectors, evidence.text_weights)
        image = weighted_mean(evidence.image_vectors, evidence.image_weights)
        aligned: tuple[Tensor, Tensor] = self.aligner(text, image)
        return aligned

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
            features.append(confidence.detach())
        gate: Tensor = self.gate(torch.cat(features, dim=1), available)
        return gate

    def _tokens(
        self, evidence: EvidenceBatch, available: Tensor, gate: Tensor | None, confidence: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        config, norm = self.config, self.token_norm
        full = torch.ones_like(evidence.ocr_conf)
        groups: list[tuple[Tensor, Tensor]] = []
        if config.use_prefix:
            tokens = self.prefix(evidence.text_vectors, evidence.text_weights)
            g = full if gate is None else gate[:, 0]
            groups.append((mix(tokens, self.prefix.null, g, norm), available[:, 0]))
        if config.use_visual_memory:
            tokens = self.visual(evidence.image_vectors, evidence.image_weights)
            g = full if gate is None else gate[:, 1]
            groups.append((mix(tokens, self.visual.null, g, norm), available[:, 1]))
        if config.use_latents:
            tokens = self.latents.tokens.expand(len(full), -1, -1)
            g = full if confidence is None else 1 - confidence[:, 0]
            groups.append((mix(tokens, self.latents.null, g, norm), available[:, 2]))
        if not groups:
            return None, None
        mask = [has[:, None].expand(-1, tokens.shape[1]) for tokens, has in groups]
        return torch.cat([tokens for tokens, _ in groups], dim=1), torch.cat(mask, dim=1)
