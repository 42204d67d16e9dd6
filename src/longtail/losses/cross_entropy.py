"""Cross-entropy: the baseline of every comparison, plain or weighted by class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from longtail.errors import InputError
from longtail.losses.labels import IGNORED, check_labels, check_smoothing, expected_cost, known_classes
from longtail.shapes import Float, Shaped, Target


def cross_entropy(
    logits: Float[Tensor, "N K"],
    target: Target,
    *,
    class_weights: Shaped[Tensor, ...] | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORED,
) -> Float[Tensor, " N"]:
    """Softmax cross-entropy, ``w_y * -log softmax(logits)_y``: the baseline that every other loss is compared with.

    The weight of a sample does not depend on the other samples of its batch, since the values are not divided by the
    sum of the weights as PyTorch's reduced weighted cross-entropy is.

    For a soft label t it is the expectation over labels drawn from t, ``-sum_c w_c t_c log softmax(logits)_c``.

    Args:
        logits: (N, K).
        target: (N,) class numbers, or (N, K) soft labels.
        class_weights: w (K,); all 1 by default. See :mod:`longtail.losses.reweighting`.
        label_smoothing: share of each label that is spread evenly over the classes, in [0, 1].
        ignore_index: class number of samples without a label, whose loss is 0.

    Returns:
        Losses (N,) in nats, float32 or wider.

    Raises:
        InputError: shapes that do not fit together, or a smoothing outside [0, 1].

    Example:
        >>> logits, target = torch.zeros(2, 4), torch.tensor([0, 3])
        >>> weights = torch.tensor([1.0, 1.0, 1.0, 2.0])
        >>> [round(loss, 4) for loss in cross_entropy(logits, target, class_weights=weights).tolist()]
        [1.3863, 2.7726]
    """
    target = check_labels(logits, target)
    check_smoothing(label_smoothing)
    if class_weights is not None and class_weights.shape != logits.shape[1:]:
        raise InputError(
            f"class_weights must be ({logits.shape[1]},) for logits {tuple(logits.shape)}, "
            f"not {tuple(class_weights.shape)}"
        )
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if target.is_floating_point() or label_smoothing:
        cost = -functional.log_softmax(wide, dim=1)
        if class_weights is not None:
            # Not infinity times 0: a class that is left out and weighs nothing is still left out.
            cost = torch.where(cost < torch.inf, cost * class_weights, cost)
        return expected_cost(cost, target, label_smoothing=label_smoothing, ignore_index=ignore_index)
    loss = functional.cross_entropy(wide, target, reduction="none", ignore_index=ignore_index)
    if class_weights is None:
        return loss
    return loss * class_weights.index_select(0, known_classes(target, ignore_index))
