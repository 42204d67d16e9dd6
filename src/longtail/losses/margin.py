"""Losses with a margin for each class: LDAM."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.counts import as_counts
from longtail.losses.cross_entropy import cross_entropy
from longtail.losses.labels import IGNORED, check_labels, known_classes
from longtail.losses.reweighting import effective_number_weights
from longtail.shapes import Counts, Float, Shaped


def ldam_margins(counts: Counts, *, max_margin: float = 0.5) -> Float[Tensor, " K"]:
    """LDAM's margins, ``C / n_c^(1/4)`` with C such that the largest is ``max_margin``.

    A class without images has margin 0. Use it to see which margins :func:`ldam` will ask for.

    Args:
        counts: (K,) training images per class, n.
        max_margin: the margin of the smallest class, in units of the logits before ``scale``.

    Returns:
        Margins (K,).

    Example:
        >>> ldam_margins(torch.tensor([16, 1])).tolist()
        [0.25, 0.5]
    """
    known = as_counts(counts)
    inverse = torch.where(known > 0, known.to(torch.get_default_dtype()) ** -0.25, 0.0)
    return max_margin * inverse / inverse.amax()


def ldam(
    logits: Float[Tensor, "N K"],
    target: Shaped[Tensor, ...],
    *,
    counts: Counts,
    max_margin: float = 0.5,
    scale: float = 30.0,
    beta: float = 0.0,
    relative: bool = False,
    ignore_index: int = IGNORED,
) -> Float[Tensor, " N"]:
    """Label-distribution-aware margin loss: the true class must win by a margin that is larger for rarer classes.

    ``loss = -log( exp(s (f_y - m_y)) / (exp(s (f_y - m_y)) + sum_{c != y} exp(s f_c)) )`` (Cao et al., the LDAM loss,
    with the scale of their code), ``m`` from :func:`ldam_margins`. LDAM-DRW is this loss with ``beta = 0`` and, in its
    last epochs, with ``beta = 0.9999``, which multiplies it by :func:`effective_number_weights`. Use it with a cosine
    classifier, where margins of up to 0.5 mean something: **the logits are cosines in [-1, 1], without a scale of the
    head's own**. On the logits of a plain linear head the scale of 30 ends the training at chance, so the function says
    what it needs in its attribute ``head``, which is ``"cosine"``.

    Args:
        logits: f (N, K), cosines.
        target: (N,) class numbers; the margin belongs to one true class, so soft labels are refused.
        counts: (K,) training images per class, n.
        max_margin: the margin of the smallest class.
        scale: factor s of the cosines.
        beta: base of the effective number whose inverse weighs the classes, in [0, 1); 0 for equal weights.
        relative: divide by the mean weight of the batch, as the authors' code does.
        ignore_index: class number of samples without a label, whose loss is 0.

    Returns:
        Losses (N,) in nats.

    Raises:
        InputError: counts of another number of classes than the logits, soft labels, or shapes that do not fit.

    Example:
        >>> loss = ldam(torch.tensor([[0.5, 0.0]]), torch.tensor([0]), counts=[1, 16])
        >>> round(float(loss), 4)  # the margin of 0.5 is just reached
        0.6931

    References:
        Cao et al., *Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss*, NeurIPS 2019,
        arXiv:1906.07413.
    """
    target = check_labels(logits, target, soft=False)
    sizes = as_counts(counts, num_classes=logits.shape[1], device=logits.device)
    margins = ldam_margins(sizes, max_margin=max_margin)
    known = known_classes(target, ignore_index)
    margin = margins.index_select(0, known)
    true = torch.arange(logits.shape[1], device=logits.device) == known[:, None]
    weights = effective_number_weights(sizes, beta=beta) if beta else None
    loss = cross_entropy(
        scale * (logits - margin[:, None] * true), target, class_weights=weights, ignore_index=ignore_index
    )
    if weights is None or not relative:
        return loss
    mean = torch.where(target == ignore_index, 0.0, weights.index_select(0, known).to(loss.dtype)).mean()
    return loss / torch.where(mean > 0, mean, 1.0)


ldam.head = "cosine"  # type: ignore[attr-defined]
