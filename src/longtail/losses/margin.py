"""Losses with a margin for each class: LDAM."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.losses.cross_entropy import cross_entropy
from longtail.shapes import Float, Int


def ldam_margins(counts: Int[Tensor, " K"], *, max_margin: float = 0.5) -> Float[Tensor, " K"]:
    """LDAM's margins, ``C / n_c^(1/4)`` with C such that the largest is ``max_margin``.

    A class without images has margin 0.

    Args:
        counts: n (K,), training images per class.
        max_margin: the margin of the smallest class, in units of the logits before ``scale``.

    Returns:
        Margins (K,).

    Example:
        >>> ldam_margins(torch.tensor([16, 1])).tolist()
        [0.25, 0.5]
    """
    inverse = torch.where(counts > 0, counts.to(torch.get_default_dtype()) ** -0.25, 0.0)
    return max_margin * inverse / inverse.amax()


def ldam(
    logits: Float[Tensor, "N K"],
    target: Int[Tensor, " N"],
    *,
    counts: Int[Tensor, " K"],
    max_margin: float = 0.5,
    scale: float = 30.0,
) -> Float[Tensor, " N"]:
    """Label-distribution-aware margin loss: the true class must win by a margin that is larger for rarer classes.

    ``loss = -log( exp(s (f_y - m_y)) / (exp(s (f_y - m_y)) + sum_{c != y} exp(s f_c)) )`` (Cao et al., the LDAM loss,
    with the scale of their code), ``m`` from :func:`ldam_margins`. The margins are meant for the logits of a normalised
    classifier, cosines in [-1, 1], without a scale of its own. LDAM-DRW multiplies by class weights in its last epochs.

    Args:
        logits: f (N, K), cosines.
        target: y (N,), classes in [0, K).
        counts: n (K,), training images per class.
        max_margin: the margin of the smallest class.
        scale: s.

    Returns:
        Losses (N,) in nats.

    Example:
        >>> loss = ldam(torch.tensor([[0.5, 0.0]]), torch.tensor([0]), counts=torch.tensor([1, 16]))
        >>> round(float(loss), 4)  # the margin of 0.5 is just reached
        0.6931

    References:
        Cao et al., *Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss*, NeurIPS 2019,
        arXiv:1906.07413.
    """
    margin = ldam_margins(counts, max_margin=max_margin).index_select(0, target)
    true = torch.arange(logits.shape[1], device=logits.device) == target[:, None]
    return cross_entropy(scale * (logits - margin[:, None] * true), target)
