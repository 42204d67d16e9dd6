"""Weights for classes, and the losses that are cross-entropy times a weight: class-balanced and focal."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from longtail.counts import effective_number
from longtail.errors import InputError
from longtail.losses.cross_entropy import cross_entropy
from longtail.shapes import Float, Int


def inverse_frequency_weights(counts: Int[Tensor, " K"]) -> Float[Tensor, " K"]:
    """Weights proportional to ``1 / n_c``, with mean 1 over the classes that have images.

    A class without images has weight 0.

    Args:
        counts: n (K,), training images per class.

    Returns:
        Weights (K,).

    Example:
        >>> inverse_frequency_weights(torch.tensor([3, 1])).tolist()
        [0.5, 1.5]
    """
    return _inverse(counts, counts)


def effective_number_weights(counts: Int[Tensor, " K"], *, beta: float = 0.9999) -> Float[Tensor, " K"]:
    """Weights proportional to ``1 / E_c = (1 - beta) / (1 - beta^n_c)``, with mean 1 over the classes with images.

    ``E_c`` is the effective number of samples (Cui et al., Proposition 1): at ``beta = 0`` every weight is 1, towards
    ``beta = 1`` they become those of :func:`inverse_frequency_weights`. A class without images has weight 0.

    Args:
        counts: n (K,), training images per class.
        beta: in [0, 1).

    Returns:
        Weights (K,).

    Example:
        >>> [round(weight, 4) for weight in effective_number_weights(torch.tensor([2, 1]), beta=0.5).tolist()]
        [0.8, 1.2]

    References:
        Cui et al., *Class-Balanced Loss Based on Effective Number of Samples*, CVPR 2019, arXiv:1901.05555.
    """
    return _inverse(effective_number(counts, beta), counts)


def relative_frequency_weights(counts: Int[Tensor, " K"]) -> Float[Tensor, " K"]:
    """Weights ``n_c / max n``: the head counts most.

    This favours frequent classes; the released DRO-LT training weighs the cross-entropy of its class-balanced batches
    so, which restores about the natural frequencies.

    Args:
        counts: n (K,), training images per class.

    Returns:
        Weights (K,).

    Example:
        >>> relative_frequency_weights(torch.tensor([4, 1])).tolist()
        [1.0, 0.25]
    """
    return counts.to(torch.get_default_dtype()) / counts.amax()


def class_balanced(
    logits: Float[Tensor, "N K"], target: Int[Tensor, " N"], *, counts: Int[Tensor, " K"], beta: float = 0.9999
) -> Float[Tensor, " N"]:
    """Class-balanced cross-entropy: each sample weighted by the inverse effective number of its class.

    ``loss = w_y * -log softmax(logits)_y`` with ``w_c`` proportional to ``(1 - beta) / (1 - beta^n_c)``, normalised to
    mean 1 over classes (Cui et al.; see :func:`effective_number_weights`).

    Args:
        logits: (N, K).
        target: y (N,), classes in [0, K).
        counts: n (K,), training images per class.
        beta: in [0, 1).

    Returns:
        Losses (N,) in nats.

    Example:
        >>> loss = class_balanced(torch.zeros(2, 2), torch.tensor([0, 1]), counts=torch.tensor([2, 1]), beta=0.5)
        >>> [round(value, 4) for value in loss.tolist()]
        [0.5545, 0.8318]

    References:
        Cui et al., *Class-Balanced Loss Based on Effective Number of Samples*, CVPR 2019, arXiv:1901.05555.
    """
    return cross_entropy(logits, target, class_weights=effective_number_weights(counts, beta=beta))


def class_weighted_cross_entropy(
    logits: Float[Tensor, "N K"],
    target: Int[Tensor, " N"],
    *,
    counts: Int[Tensor, " K"],
    weight: Literal["inverse", "effective", "prior"] = "inverse",
    beta: float = 0.9999,
) -> Float[Tensor, " N"]:
    """Cross-entropy weighted by class and divided by the mean weight of the batch.

    ``loss_i = w_{y_i} * -log softmax(logits_i)_{y_i} / mean_j w_{y_j}``: its mean over the batch is PyTorch's own mean
    of a weighted cross-entropy, so the size of a step does not depend on how the weights are scaled. Use it where a
    paper weighs the loss of a whole batch; use :func:`class_balanced` where a sample's weight must not depend on the
    rest of its batch.

    Args:
        logits: (N, K).
        target: y (N,), classes in [0, K).
        counts: n (K,), training images per class.
        weight: ``inverse`` for 1 / n_c; ``effective`` for 1 / E_c, the effective number of samples with ``beta``;
            ``prior`` for n_c / max n, as the released DRO-LT weighs its representation stage.
        beta: of the effective number, in [0, 1).

    Returns:
        Losses (N,) in nats.

    Raises:
        InputError: a ``weight`` that is none of the three.

    Example:
        >>> loss = class_weighted_cross_entropy(torch.zeros(2, 2), torch.tensor([0, 1]), counts=torch.tensor([3, 1]))
        >>> [round(value, 4) for value in loss.tolist()]  # log(2) times 0.5 and 1.5
        [0.3466, 1.0397]
    """
    if weight == "inverse":
        weights = inverse_frequency_weights(counts)
    elif weight == "effective":
        weights = effective_number_weights(counts, beta=beta)
    elif weight == "prior":
        weights = relative_frequency_weights(counts)
    else:
        raise InputError(f"weight is {weight!r}: give inverse, effective or prior")
    loss = cross_entropy(logits, target, class_weights=weights)
    mean = weights.to(loss.dtype).index_select(0, target).mean()
    return loss / torch.where(mean > 0, mean, 1.0)


def focal(logits: Float[Tensor, "N K"], target: Int[Tensor, " N"], *, gamma: float = 2.0) -> Float[Tensor, " N"]:
    """Focal loss: cross-entropy that fades for samples that are already well classified.

    ``loss = (1 - p_y)^gamma * -log p_y`` with ``p = softmax(logits)`` (Lin et al., Eq. 4, for a softmax). With
    ``gamma = 0`` it is cross-entropy. Times ``effective_number_weights(counts)[target]`` it is class-balanced focal.

    Args:
        logits: (N, K).
        target: y (N,), classes in [0, K).
        gamma: at least 0; how fast it fades.

    Returns:
        Losses (N,) in nats.

    Example:
        >>> loss = focal(torch.zeros(1, 2), torch.tensor([0]), gamma=2.0)
        >>> round(float(loss), 4)  # ln(2) / 4
        0.1733

    References:
        Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017, arXiv:1708.02002.
    """
    loss = cross_entropy(logits, target)
    # 1 - p without cancellation. At p = 1 the power has no finite slope for gamma < 1, so stay just above 0.
    wrong = -torch.expm1(-loss)
    return loss * wrong.clamp(min=torch.finfo(loss.dtype).tiny) ** gamma


def _inverse(number: Tensor, counts: Int[Tensor, " K"]) -> Float[Tensor, " K"]:
    present = counts > 0
    weights = torch.where(present, 1.0 / number, 0.0)
    return weights * present.sum() / weights.sum()
