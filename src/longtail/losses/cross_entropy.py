"""Cross-entropy: the baseline of every comparison, plain or weighted by class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from longtail.shapes import Float, Int


def cross_entropy(
    logits: Float[Tensor, "N K"], target: Int[Tensor, " N"], *, class_weights: Float[Tensor, " K"] | None = None
) -> Float[Tensor, " N"]:
    """Softmax cross-entropy, ``w_y * -log softmax(logits)_y``.

    Not divided by the sum of the weights, unlike PyTorch's reduced weighted cross-entropy: the weight of a sample does
    not depend on the other samples of its batch.

    Args:
        logits: (N, K).
        target: y (N,), classes in [0, K).
        class_weights: w (K,); all 1 by default. See :mod:`longtail.losses.reweighting`.

    Returns:
        Losses (N,) in nats, float32 or wider.

    Example:
        >>> logits, target = torch.zeros(2, 4), torch.tensor([0, 3])
        >>> weights = torch.tensor([1.0, 1.0, 1.0, 2.0])
        >>> [round(loss, 4) for loss in cross_entropy(logits, target, class_weights=weights).tolist()]
        [1.3863, 2.7726]
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    loss = functional.cross_entropy(wide, target, reduction="none")
    return loss if class_weights is None else loss * class_weights.index_select(0, target)
