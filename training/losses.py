"""What training minimises. Every function takes unit embeddings and returns a scalar mean."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax


def contrastive_loss(
    image_embeddings: Tensor, text_embeddings: Tensor, positives: Tensor, logit_scale: Tensor
) -> Tensor:
    """CLIP's symmetric loss where a row may have several positives.

    `positives` is boolean (images, texts). A positive is never another positive's negative: each
    is scored against the negatives and itself alone, and a row's positives weigh one together
    (SupCon's 'out' form would push siblings apart once the first is learned).
    """
    logits = logit_scale * image_embeddings @ text_embeddings.T  # (images, texts)
    return 0.5 * (_one_way(logits, positives) + _one_way(logits.T, positives.T))


def _one_way(logits: Tensor, positives: Tensor) -> Tensor:
    """Mean over rows that have a positive of the mean over positives of -log p(positive)."""
    has_positive = positives.any(dim=1)
    logits, positives = logits[has_positive], positives[has_positive]
    negatives = logits.masked_fill(positives, float("-inf")).logsumexp(dim=1, keepdim=True)
    surprise = torch.logaddexp(logits, negatives) - logits  # -log(e^l / (e^l + sum of negatives))
    return (surprise * positives).sum(dim=1).div(positives.sum(dim=1)).mean()


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
