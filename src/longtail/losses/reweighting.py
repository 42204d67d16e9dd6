"""Weights for classes, and the losses that are cross-entropy times a weight: class-balanced and focal."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from longtail.counts import as_counts, effective_number
from longtail.errors import InputError
from longtail.losses.cross_entropy import cross_entropy
from longtail.losses.labels import IGNORED, check_labels, check_smoothing, expected_cost, known_classes
from longtail.shapes import Counts, Float, Int, Target


def inverse_frequency_weights(counts: Counts, *, power: float = 1.0) -> Float[Tensor, " K"]:
    """Weights proportional to ``1 / n_c^power``, with mean 1 over the classes that have images.

    A class without images has weight 0. Use them to make every class weigh the same in the loss of an epoch; on a long
    tail the largest weights are large, and :func:`effective_number_weights` are milder.

    Args:
        counts: (K,) training images per class, n.
        power: exponent of the counts; 1/2 gives weights by the inverse square root, 0 equal ones.

    Returns:
        Weights (K,).

    Example:
        >>> inverse_frequency_weights(torch.tensor([3, 1])).tolist()
        [0.5, 1.5]
    """
    known = as_counts(counts)
    return _inverse(known if power == 1 else known.to(torch.get_default_dtype()) ** power, known)


def effective_number_weights(counts: Counts, *, beta: float = 0.9999) -> Float[Tensor, " K"]:
    """Weights proportional to ``1 / E_c = (1 - beta) / (1 - beta^n_c)``, with mean 1 over the classes with images.

    ``E_c`` is the effective number of samples (Cui et al., Proposition 1): at ``beta = 0`` every weight is 1, towards
    ``beta = 1`` they become those of :func:`inverse_frequency_weights`. A class without images has weight 0. Use them
    where inverse frequencies are too harsh on the head.

    Args:
        counts: (K,) training images per class, n.
        beta: base of the effective number, in [0, 1).

    Returns:
        Weights (K,).

    Example:
        >>> [round(weight, 4) for weight in effective_number_weights(torch.tensor([2, 1]), beta=0.5).tolist()]
        [0.8, 1.2]

    References:
        Cui et al., *Class-Balanced Loss Based on Effective Number of Samples*, CVPR 2019, arXiv:1901.05555.
    """
    known = as_counts(counts)
    return _inverse(effective_number(known, beta), known)


def relative_frequency_weights(counts: Counts) -> Float[Tensor, " K"]:
    """Weights ``n_c / max n``: the head counts most.

    This favours frequent classes; the released DRO-LT training weighs the cross-entropy of its class-balanced batches
    so, which restores about the natural frequencies.

    Args:
        counts: (K,) training images per class, n.

    Returns:
        Weights (K,).

    Example:
        >>> relative_frequency_weights(torch.tensor([4, 1])).tolist()
        [1.0, 0.25]
    """
    known = as_counts(counts)
    return known.to(torch.get_default_dtype()) / known.amax()


def class_balanced(
    logits: Float[Tensor, "N K"],
    target: Target,
    *,
    counts: Counts,
    beta: float = 0.9999,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORED,
) -> Float[Tensor, " N"]:
    """Class-balanced cross-entropy: each sample weighted by the inverse effective number of its class.

    ``loss = w_y * -log softmax(logits)_y`` with ``w_c`` proportional to ``(1 - beta) / (1 - beta^n_c)``, normalised to
    mean 1 over classes (Cui et al.; see :func:`effective_number_weights`). Use it as the standard re-weighted baseline.
    A class without training images has weight 0, so a sample of it costs nothing.

    Args:
        logits: (N, K).
        target: (N,) class numbers, or (N, K) soft labels.
        counts: (K,) training images per class, n.
        beta: base of the effective number, in [0, 1).
        label_smoothing: share of each label that is spread evenly over the classes, in [0, 1].
        ignore_index: class number of samples without a label, whose loss is 0.

    Returns:
        Losses (N,) in nats.

    Raises:
        InputError: counts of another number of classes than the logits, shapes that do not fit together, or beta
            outside [0, 1).

    Example:
        >>> loss = class_balanced(torch.zeros(2, 2), torch.tensor([0, 1]), counts=[2, 1], beta=0.5)
        >>> [round(value, 4) for value in loss.tolist()]
        [0.5545, 0.8318]

    References:
        Cui et al., *Class-Balanced Loss Based on Effective Number of Samples*, CVPR 2019, arXiv:1901.05555.
    """
    known = as_counts(counts, num_classes=logits.shape[-1], device=logits.device)
    return cross_entropy(
        logits,
        target,
        class_weights=effective_number_weights(known, beta=beta),
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )


def class_weighted_cross_entropy(
    logits: Float[Tensor, "N K"],
    target: Target,
    *,
    counts: Counts,
    weight: Literal["inverse", "effective", "prior"] = "inverse",
    beta: float = 0.9999,
    power: float = 1.0,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORED,
) -> Float[Tensor, " N"]:
    """Cross-entropy weighted by class and divided by the mean weight of the batch.

    ``loss_i = w_{y_i} * -log softmax(logits_i)_{y_i} / mean_j w_{y_j}``: its mean over the batch is PyTorch's own mean
    of a weighted cross-entropy, so the size of a step does not depend on how the weights are scaled. Use it where a
    paper weighs the loss of a whole batch; use :func:`class_balanced` where a sample's weight must not depend on the
    rest of its batch.

    Args:
        logits: (N, K).
        target: (N,) class numbers, or (N, K) soft labels, whose weight is ``sum_c t_c w_c``.
        counts: (K,) training images per class, n; a class without any has weight 0.
        weight: ``inverse`` for 1 / n_c^power; ``effective`` for 1 / E_c, the effective number of samples with ``beta``;
            ``prior`` for n_c / max n, as the released DRO-LT weighs its representation stage.
        beta: base of the effective number, in [0, 1).
        power: exponent of the counts in the inverse frequency.
        label_smoothing: share of each label that is spread evenly over the classes, in [0, 1].
        ignore_index: class number of samples without a label, whose loss and weight are 0.

    Returns:
        Losses (N,) in nats.

    Raises:
        InputError: counts of another number of classes than the logits, shapes that do not fit together, or a
            ``weight`` that is none of the three.

    Example:
        >>> loss = class_weighted_cross_entropy(torch.zeros(2, 2), torch.tensor([0, 1]), counts=[3, 1])
        >>> [round(value, 4) for value in loss.tolist()]  # log(2) times 0.5 and 1.5
        [0.3466, 1.0397]
    """
    target = check_labels(logits, target)
    known = as_counts(counts, num_classes=logits.shape[1], device=logits.device)
    if weight == "inverse":
        weights = inverse_frequency_weights(known, power=power)
    elif weight == "effective":
        weights = effective_number_weights(known, beta=beta)
    elif weight == "prior":
        weights = relative_frequency_weights(known)
    else:
        raise InputError(f"weight is {weight!r}: give inverse, effective or prior")
    loss = cross_entropy(
        logits, target, class_weights=weights, label_smoothing=label_smoothing, ignore_index=ignore_index
    )
    weights = weights.to(loss.dtype)
    if target.is_floating_point():
        mean = (target.to(loss.dtype) @ weights).mean()
    else:
        own = weights.index_select(0, known_classes(target, ignore_index))
        mean = torch.where(target == ignore_index, 0.0, own).mean()
    return loss / torch.where(mean > 0, mean, 1.0)


def focal(
    logits: Float[Tensor, "N K"],
    target: Target,
    *,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORED,
) -> Float[Tensor, " N"]:
    """Focal loss: cross-entropy that fades for samples that are already well classified.

    ``loss = (1 - p_y)^gamma * -log p_y`` with ``p = softmax(logits)`` (Lin et al., Eq. 4, for a softmax). With
    ``gamma = 0`` it is cross-entropy. Times ``effective_number_weights(counts)[target]`` it is class-balanced focal.
    For a soft label t it is the expectation over labels drawn from t. Use it where easy samples drown the hard ones;
    it does not know the class counts.

    Args:
        logits: (N, K).
        target: (N,) class numbers, or (N, K) soft labels.
        gamma: exponent, at least 0: how fast the loss fades as p_y grows.
        label_smoothing: share of each label that is spread evenly over the classes, in [0, 1].
        ignore_index: class number of samples without a label, whose loss is 0.

    Returns:
        Losses (N,) in nats.

    Raises:
        InputError: shapes that do not fit together.

    Example:
        >>> loss = focal(torch.zeros(1, 2), torch.tensor([0]), gamma=2.0)
        >>> round(float(loss), 4)  # ln(2) / 4
        0.1733

    References:
        Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017, arXiv:1708.02002.
    """
    target = check_labels(logits, target)
    check_smoothing(label_smoothing)
    if target.is_floating_point() or label_smoothing:
        cost = -functional.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=1)
        return expected_cost(_faded(cost, gamma), target, label_smoothing=label_smoothing, ignore_index=ignore_index)
    return _faded(cross_entropy(logits, target, ignore_index=ignore_index), gamma)


def class_balanced_focal(
    logits: Float[Tensor, "N K"],
    target: Target,
    *,
    counts: Counts,
    beta: float = 0.9999,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORED,
) -> Float[Tensor, " N"]:
    """Class-balanced focal loss: focal loss with each sample weighted by the inverse effective number of its class.

    ``loss = w_y * (1 - p_y)^gamma * -log p_y`` with ``w`` from :func:`effective_number_weights` and the softmax ``p``
    (Cui et al. use sigmoids). With ``gamma = 0`` it is :func:`class_balanced`, with ``beta = 0`` :func:`focal`. Use it
    as the re-weighted focal baseline of the field's tables.

    Args:
        logits: (N, K).
        target: (N,) class numbers, or (N, K) soft labels.
        counts: (K,) training images per class, n; a class without any has weight 0.
        beta: base of the effective number, in [0, 1).
        gamma: exponent, at least 0: how fast the loss fades as p_y grows.
        label_smoothing: share of each label that is spread evenly over the classes, in [0, 1].
        ignore_index: class number of samples without a label, whose loss is 0.

    Returns:
        Losses (N,) in nats.

    Raises:
        InputError: counts of another number of classes than the logits, shapes that do not fit together, or beta
            outside [0, 1).

    Example:
        >>> loss = class_balanced_focal(torch.zeros(2, 2), torch.tensor([0, 1]), counts=[2, 1], beta=0.5)
        >>> [round(value, 4) for value in loss.tolist()]  # log(2) / 4 times 0.8 and 1.2
        [0.1386, 0.2079]

    References:
        Cui et al., *Class-Balanced Loss Based on Effective Number of Samples*, CVPR 2019, arXiv:1901.05555.
    """
    target = check_labels(logits, target)
    check_smoothing(label_smoothing)
    known = as_counts(counts, num_classes=logits.shape[1], device=logits.device)
    cost = -functional.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=1)
    weighted = _faded(cost, gamma) * effective_number_weights(known, beta=beta)
    return expected_cost(weighted, target, label_smoothing=label_smoothing, ignore_index=ignore_index)


def _faded(loss: Tensor, gamma: float) -> Tensor:
    # 1 - p without cancellation. At p = 1 the power has no finite slope for gamma < 1, so stay just above 0.
    wrong = -torch.expm1(-loss)
    return loss * wrong.clamp(min=torch.finfo(loss.dtype).tiny) ** gamma


def _inverse(number: Tensor, counts: Int[Tensor, " K"]) -> Float[Tensor, " K"]:
    present = counts > 0
    weights = torch.where(present, 1.0 / number, 0.0)
    return weights * present.sum() / weights.sum()
