"""What training minimises. Every function takes unit embeddings and returns a scalar mean."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    kl_div,
    log_softmax,
)


def contrastive_loss(
    image_embeddings: Tensor,
    text_embeddings: Tensor,
    targets: Tensor,
    negative_weights: Tensor,
    logit_scale: Tensor,
) -> Tensor:
    """CLIP's symmetric loss where a row may have several positives; matrices are (images, texts).

    A target above 0 makes a pair positive and is its weight beside the row's other positives. A
    positive is never another positive's negative: each is compared with the negatives and itself
    alone (SupCon's 'out' form would push siblings apart once the first is learned). A negative
    counts as often as its weight says: more than 1 for a confirmed non-match, 0 for a pair that is
    neither, which then neither attracts nor repels.
    """
    logits = logit_scale * image_embeddings @ text_embeddings.T  # (images, texts)
    there = _one_way(logits, targets, negative_weights)
    back = _one_way(logits.T, targets.T, negative_weights.T)
    return 0.5 * (there + back)


def _one_way(logits: Tensor, targets: Tensor, negative_weights: Tensor) -> Tensor:
    """The mean, over the rows that have a positive, of -log p(positive)."""
    rows = targets.sum(dim=1) > 0
    logits, targets, negative_weights = logits[rows], targets[rows], negative_weights[rows]
    # Masked, not added as log 0: a row without any negative would get a gradient of NaN.
    out = (targets > 0) | (negative_weights == 0)
    pushed = logits + negative_weights.clamp(min=1e-6).log()
    negatives = pushed.masked_fill(out, float("-inf")).logsumexp(dim=1, keepdim=True)
    surprise = torch.logaddexp(logits, negatives) - logits  # -log(e^l / (e^l + sum of negatives))
    return (surprise * targets).sum(dim=1).div(targets.sum(dim=1)).mean()


def soft_target_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy from a row of target probabilities, less the target's own entropy."""
    return kl_div(log_softmax(logits, dim=1), targets, reduction="batchmean")


def prototype_loss(
    prototype_embeddings: Tensor, label_embeddings: Tensor, logit_scale: Tensor
) -> Tensor:
    """Each class's weight vector, seen as a picture, belongs to its own name, and back."""
    logits = logit_scale * prototype_embeddings @ label_embeddings.T  # (classes, classes)
    target = torch.arange(len(logits), device=logits.device)
    return 0.5 * (cross_entropy(logits, target) + cross_entropy(logits.T, target))


def judgment_loss(
    cosines: Tensor, shares: Tensor, votes: Tensor, slope: Tensor, intercept: Tensor
) -> Tensor:
    """Cross-entropy of sigmoid(slope * cosine + intercept) with the votes, each counting once.

    The same sigmoid that calibration fits afterwards: what is trained is what `relevance` shows.
    The target's own entropy is subtracted, so that a perfect answer costs nothing.
    """
    if not len(cosines):
        return cosines.sum()
    logits = slope * cosines + intercept
    surprise = binary_cross_entropy_with_logits(logits, shares, reduction="none")
    own: Tensor = torch.special.entr(shares) + torch.special.entr(1 - shares)
    return ((surprise - own) * votes).sum() / votes.sum()
