"""Losses and predictions that correct for the class prior: balanced softmax and logit adjustment."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.counts import as_counts
from longtail.losses.cross_entropy import cross_entropy
from longtail.losses.labels import IGNORED, check_labels
from longtail.shapes import Counts, Float, Target


def balanced_softmax(
    logits: Float[Tensor, "N K"],
    target: Target,
    *,
    counts: Counts,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORED,
) -> Float[Tensor, " N"]:
    """Balanced softmax: cross-entropy of a softmax in which each class counts n_c times.

    ``loss = -log( n_y exp(logits_y) / sum_c n_c exp(logits_c) )`` (Ren et al., the balanced softmax function).
    Minimised on the long-tailed training distribution, its plain softmax is the class posterior of a balanced one, so
    predict with the logits as they are. Equal counts give cross-entropy. Use it as the first thing to try when all
    classes matter equally: it has nothing to tune.

    A class without training images is left out of the sum; a sample of such a class has an infinite loss, which says
    that the counts are not those of the training set.

    Args:
        logits: (N, K).
        target: (N,) class numbers, or (N, K) soft labels.
        counts: (K,) training images per class, n.
        label_smoothing: share of each label that is spread evenly over the classes with images, in [0, 1].
        ignore_index: class number of samples without a label, whose loss is 0.

    Returns:
        Losses (N,) in nats.

    Raises:
        InputError: counts of another number of classes than the logits, or shapes that do not fit together.

    Example:
        >>> loss = balanced_softmax(torch.zeros(1, 2), torch.tensor([1]), counts=[9, 1])
        >>> round(float(loss.exp()), 4)
        10.0

    References:
        Ren et al., *Balanced Meta-Softmax for Long-Tailed Visual Recognition*, NeurIPS 2020, arXiv:2007.10740.
    """
    target = check_labels(logits, target)
    return cross_entropy(
        logits + _log_prior(counts, logits), target, label_smoothing=label_smoothing, ignore_index=ignore_index
    )


def logit_adjusted_cross_entropy(
    logits: Float[Tensor, "N K"],
    target: Target,
    *,
    counts: Counts,
    tau: float = 1.0,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORED,
) -> Float[Tensor, " N"]:
    """Logit-adjusted cross-entropy: add ``tau`` times the log-prior to the logits while training.

    ``loss = -log( exp(logits_y + tau log p_y) / sum_c exp(logits_c + tau log p_c) )`` with ``p = n / sum n``
    (Menon et al., Eq. 10). ``tau = 1`` is consistent for balanced error and equals :func:`balanced_softmax`; 0 is
    cross-entropy. Predict with the logits as they are. Use it to train for balanced accuracy with one strength to
    tune on validation data.

    A class without training images is left out of the sum unless ``tau`` is 0; a sample of such a class has an
    infinite loss, which says that the counts are not those of the training set.

    Args:
        logits: (N, K).
        target: (N,) class numbers, or (N, K) soft labels.
        counts: (K,) training images per class, n.
        tau: strength of the adjustment.
        label_smoothing: share of each label that is spread evenly over the classes with images, in [0, 1].
        ignore_index: class number of samples without a label, whose loss is 0.

    Returns:
        Losses (N,) in nats.

    Raises:
        InputError: counts of another number of classes than the logits, or shapes that do not fit together.

    Example:
        >>> loss = logit_adjusted_cross_entropy(torch.zeros(1, 2), torch.tensor([1]), counts=[9, 1])
        >>> round(float(loss.exp()), 4)
        10.0

    References:
        Menon et al., *Long-tail learning via logit adjustment*, ICLR 2021, arXiv:2007.07314.
    """
    target = check_labels(logits, target)
    adjusted = logits + _without_empty(tau, counts, logits)
    return cross_entropy(adjusted, target, label_smoothing=label_smoothing, ignore_index=ignore_index)


def vector_scaling(
    logits: Float[Tensor, "N K"],
    target: Target,
    *,
    counts: Counts,
    gamma: float = 0.3,
    tau: float = 1.0,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORED,
) -> Float[Tensor, " N"]:
    r"""Vector-scaling loss: logit adjustment with a factor for each class besides the term.

    .. math:: \ell = -\log \frac{\exp(\Delta_y f_y + \iota_y)}{\sum_c \exp(\Delta_c f_c + \iota_c)}, \quad
        \Delta_c = (n_c / n_{\max})^\gamma, \quad \iota_c = \tau \log \pi_c

    The term acts early in training; the factor still acts when the training set is fitted already, where it asks
    larger logits of rare classes. ``gamma = 0`` is :func:`logit_adjusted_cross_entropy`, ``tau = 0`` gives
    class-dependent temperatures. Predict with the logits as they are. Use it for networks that fit their training set
    perfectly. The defaults are those of the authors' code; choose both on validation data.

    A class without training images is left out of the sum unless ``tau`` is 0; a sample of such a class has an
    infinite loss then.

    Args:
        logits: f (N, K).
        target: (N,) class numbers, or (N, K) soft labels.
        counts: (K,) training images per class, n.
        gamma: exponent of the factors, at least 0.
        tau: strength of the terms.
        label_smoothing: share of each label that is spread evenly over the classes with images, in [0, 1].
        ignore_index: class number of samples without a label, whose loss is 0.

    Returns:
        Losses (N,) in nats.

    Raises:
        InputError: counts of another number of classes than the logits, or shapes that do not fit together.

    Example:
        >>> loss = vector_scaling(torch.tensor([[0.0, 2.0]]), torch.tensor([1]), counts=[100, 1], gamma=0.5, tau=0.0)
        >>> round(float(loss), 4)  # softplus(-0.1 * 2)
        0.5981

    References:
        Kini et al., *Label-Imbalanced and Group-Sensitive Classification under Overparameterization*, NeurIPS 2021,
        arXiv:2103.01550.
    """
    target = check_labels(logits, target)
    known = as_counts(counts, num_classes=logits.shape[1], device=logits.device)
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    factor = (known.to(wide.dtype) / known.amax()) ** gamma
    scaled = factor * wide + _without_empty(tau, known, wide)
    return cross_entropy(scaled, target, label_smoothing=label_smoothing, ignore_index=ignore_index)


def adjust_logits(logits: Float[Tensor, "N K"], *, counts: Counts, tau: float = 1.0) -> Float[Tensor, "N K"]:
    """Post-hoc logit adjustment of a network that was trained with plain cross-entropy.

    ``logits_c - tau log p_c`` with ``p = n / sum n`` (Menon et al., Eq. 9). With ``tau = 1`` and a network that has
    learned the class posterior of the training distribution, the largest is the Bayes decision for balanced error.
    Use it when the network is trained already and may not be trained again.

    A class without training images is never predicted: its adjusted logit is minus infinity unless ``tau`` is 0.

    Args:
        logits: (N, K).
        counts: (K,) training images per class, n.
        tau: strength of the adjustment; 0 leaves the logits as they are.

    Returns:
        Adjusted logits (N, K).

    Raises:
        InputError: counts of another number of classes than the logits.

    Example:
        >>> adjust_logits(torch.tensor([[1.0, 0.0]]), counts=[90, 10]).argmax(dim=1).tolist()
        [1]

    References:
        Menon et al., *Long-tail learning via logit adjustment*, ICLR 2021, arXiv:2007.07314.
    """
    return logits + _without_empty(-tau, counts, logits)


def _log_prior(counts: Counts, logits: Float[Tensor, "N K"]) -> Float[Tensor, " K"]:
    # Never in half precision, where the priors of neighbouring classes would coincide.
    known = as_counts(counts, num_classes=logits.shape[-1], device=logits.device)
    wide = known.to(torch.promote_types(logits.dtype, torch.float32))
    return (wide / wide.sum()).log()


def _without_empty(tau: float, counts: Counts, logits: Float[Tensor, "N K"]) -> Float[Tensor, " K"]:
    """``tau`` times the log-prior, with minus infinity for a class without images whatever the sign of ``tau``."""
    log_prior = _log_prior(counts, logits)
    return torch.where(log_prior > -torch.inf, tau * log_prior, -torch.inf if tau else 0.0)
