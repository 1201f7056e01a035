"""The loss terms of METHOD 6 over plain tensors.

B rows; a gate is [B, 3]: text evidence, image evidence, own vision.
"""

import torch  # noqa: TID253 - torch functions; imported inside functions only
from torch import Tensor, nn  # noqa: TID253 - see above

ALIGN_TEMPERATURE = 0.07
MIN_PAIRS = 2


def cross_entropy_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum over answer tokens. [n, V], [n] -> scalar in fp32."""
    return nn.functional.cross_entropy(logits.float(), targets, reduction="sum")


def kl_sum(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) at temperature 1, summed over answer tokens. Logits [n, V] twice -> scalar in fp32."""
    wanted, found = teacher.float().log_softmax(dim=-1), student.float().log_softmax(dim=-1)
    return nn.functional.kl_div(found, wanted, reduction="sum", log_target=True)


def gate_target(c_vis: Tensor, c_text: Tensor, available: Tensor) -> Tensor:
    """Normalised [1 - c_text, 1 - c_vis, c_vis] over what is available; own vision alone where that is all zero."""
    wanted = torch.stack([1 - c_text, 1 - c_vis, c_vis], dim=-1) * available
    total = wanted.sum(dim=-1, keepdim=True)
    own_vision = torch.tensor([0.0, 0.0, 1.0], device=wanted.device).expand_as(wanted)
    return torch.where(total > 0, wanted / total.clamp_min(1e-9), own_vision)


def gate_loss(gate: Tensor, target: Tensor) -> Tensor:
    """KL(target || gate), mean over rows, in fp32.

    A squared distance would hardly move a softmax that came near 0 or 1.
    """
    target = target.float()
    found = gate.float().clamp_min(torch.finfo(torch.float32).tiny).log()
    return (torch.xlogy(target, target) - target * found).sum(dim=-1).mean()


def confidence_loss(log_odds: Tensor, c_vis: Tensor, c_text: Tensor) -> Tensor:
    """The stated shares, given as log odds [B, 2], against the simulator's truth: mean over rows and both."""
    return _share_kl(log_odds, torch.stack([c_vis, c_text], dim=-1))


def router_loss(log_odds: Tensor, c_vis: Tensor, c_text: Tensor) -> Tensor:
    """The strength, given as log odds [B], against 1 - c_vis c_text: evidence is wanted as far as picture or text is
    lost."""
    return _share_kl(log_odds, 1 - c_vis * c_text)


def _share_kl(log_odds: Tensor, truth: Tensor) -> Tensor:
    """KL(truth || share) of shares in [0, 1], mean, in fp32: cross-entropy less its least, so 0 where they agree.

    A squared error would hardly move a share that came near 0 or 1.
    """
    truth = truth.float()
    crossed = nn.functional.binary_cross_entropy_with_logits(log_odds.float(), truth, reduction="none")
    least = -(torch.xlogy(truth, truth) + torch.xlogy(1 - truth, 1 - truth))
    return (crossed - least).mean()


def entropy(gate: Tensor) -> Tensor:
    """In nats and fp32, [B, 3] -> [B]; a zero weight contributes nothing."""
    gate = gate.float()
    return -(gate * gate.clamp_min(1e-12).log()).sum(dim=-1)


def negative_entropy(gate: Tensor) -> Tensor:
    """Minus the entropy of the gate, mean over rows."""
    return -entropy(gate).mean()


def align_loss(text: Tensor, image: Tensor, both: Tensor) -> tuple[Tensor, int]:
    """Symmetric InfoNCE between unit vectors [B, b] of the rows that have both kinds of evidence, and their number.

    With fewer than two such rows there is nothing to tell apart: the loss is zero.
    """
    text, image = text[both], image[both]
    num_pairs = len(text)
    if num_pairs < MIN_PAIRS:
        return text.sum() * 0.0, num_pairs
    similarity = text @ image.T / ALIGN_TEMPERATURE
    own = torch.arange(num_pairs, device=text.device)
    loss = nn.functional.cross_entropy(similarity, own) + nn.functional.cross_entropy(similarity.T, own)
    return loss / 2, num_pairs
