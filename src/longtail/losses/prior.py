"""Losses and predictions that correct for the class prior: balanced softmax and logit adjustment."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.losses.cross_entropy import cross_entropy
from longtail.shapes import Float, Int


def balanced_softmax(
    logits: Float[Tensor, "N K"], target: Int[Tensor, " N"], *, counts: Int[Tensor, " K"]
) -> Float[Tensor, " N"]:
    """Balanced softmax: cross-entropy of a softmax in which each class counts n_c times.

    ``loss = -log( n_y exp(logits_y) / sum_c n_c exp(logits_c) )`` (Ren et al., the balanced softmax function).
    Minimised on the long-tailed training distribution, its plain softmax is the class posterior of a balanced one, so
    predict with the logits as they are. Equal counts give cross-entropy; a class with count 0 is left out of the sum.

    Args:
        logits: (N, K).
        target: y (N,), classes in [0, K).
        counts: n (K,), training images per class.

    Returns:
        Losses (N,) in nats.

    Example:
        >>> loss = balanced_softmax(torch.zeros(1, 2), torch.tensor([1]), counts=torch.tensor([9, 1]))
        >>> round(float(loss.exp()), 4)
        10.0

    References:
        Ren et al., *Balanced Meta-Softmax for Long-Tailed Visual Recognition*, NeurIPS 2020, arXiv:2007.10740.
    """
    return cross_entropy(logits + _log_prior(counts, logits), target)


def logit_adjusted_cross_entropy(
    logits: Float[Tensor, "N K"], target: Int[Tensor, " N"], *, counts: Int[Tensor, " K"], tau: float = 1.0
) -> Float[Tensor, " N"]:
    """Logit-adjusted cross-entropy: add ``tau`` times the log-prior to the logits while training.

    ``loss = -log( exp(logits_y + tau log p_y) / sum_c exp(logits_c + tau log p_c) )`` with ``p = n / sum n``
    (Menon et al., Eq. 10). ``tau = 1`` is consistent for balanced error and equals :func:`balanced_softmax`; 0 is
    cross-entropy. Predict with the logits as they are.

    Args:
        logits: (N, K).
        target: y (N,), classes in [0, K).
        counts: n (K,), training images per class; one with count 0 is left out of the sum if ``tau`` is above 0.
        tau: strength of the adjustment.

    Returns:
        Losses (N,) in nats.

    Example:
        >>> loss = logit_adjusted_cross_entropy(torch.zeros(1, 2), torch.tensor([1]), counts=torch.tensor([9, 1]))
        >>> round(float(loss.exp()), 4)
        10.0

    References:
        Menon et al., *Long-tail learning via logit adjustment*, ICLR 2021, arXiv:2007.07314.
    """
    return cross_entropy(logits + tau * _log_prior(counts, logits), target)


def adjust_logits(logits: Float[Tensor, "N K"], *, counts: Int[Tensor, " K"], tau: float = 1.0) -> Float[Tensor, "N K"]:
    """Post-hoc logit adjustment of a network that was trained with plain cross-entropy.

    ``logits_c - tau log p_c`` with ``p = n / sum n`` (Menon et al., Eq. 9). With ``tau = 1`` and a network that has
    learned the class posterior of the training distribution, the largest is the Bayes decision for balanced error.

    Args:
        logits: (N, K).
        counts: n (K,), training images per class, at least 1.
        tau: strength of the adjustment; 0 leaves the logits as they are.

    Returns:
        Adjusted logits (N, K).

    Example:
        >>> adjust_logits(torch.tensor([[1.0, 0.0]]), counts=torch.tensor([90, 10])).argmax(dim=1).tolist()
        [1]

    References:
        Menon et al., *Long-tail learning via logit adjustment*, ICLR 2021, arXiv:2007.07314.
    """
    return logits - tau * _log_prior(counts, logits)


def _log_prior(counts: Int[Tensor, " K"], logits: Float[Tensor, "N K"]) -> Float[Tensor, " K"]:
    # Never in half precision, where the priors of neighbouring classes would coincide.
    wide = counts.to(torch.promote_types(logits.dtype, torch.float32))
    return (wide / wide.sum()).log()
