"""Label smoothing that is stronger for frequent classes, as MiSLAS calibrates a classifier."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from longtail.counts import as_counts
from longtail.errors import InputError
from longtail.losses.labels import IGNORED, check_labels, known_classes
from longtail.shapes import Counts, Float, Shaped


def label_aware_smoothing(
    logits: Float[Tensor, "N K"],
    target: Shaped[Tensor, ...],
    *,
    counts: Counts,
    head: float = 0.4,
    tail: float = 0.1,
    ignore_index: int = IGNORED,
) -> Float[Tensor, " N"]:
    r"""Cross-entropy with labels that are smoothed the more the more frequent their class is.

    .. math:: \ell = -(1 - \epsilon_y) \log p_y - \frac{\epsilon_y}{K - 1} \sum_{c \neq y} \log p_c, \quad
        \epsilon_c = \epsilon_K + (\epsilon_1 - \epsilon_K)
        \sin\!\left(\frac{\pi}{2} \, \frac{n_c - n_K}{n_1 - n_K}\right)

    with the largest class 1 and the smallest K (Zhong et al., Eq. 3 and 4, the concave form). Use it for the classifier
    after mixup, which is then better calibrated; equal smoothings, or equal counts, give cross-entropy with one
    smoothing for all.

    Args:
        logits: (N, K), K at least 2.
        target: (N,) class numbers.
        counts: (K,) training images per class, n.
        head: epsilon of the largest class, in [0, 1).
        tail: epsilon of the smallest class, in [0, 1).
        ignore_index: class number of samples without a label, whose loss is 0.

    Returns:
        Losses (N,) in nats.

    Raises:
        InputError: a smoothing outside [0, 1), counts of another number of classes, or soft labels.

    Example:
        >>> loss = label_aware_smoothing(torch.tensor([[2.0, 0.0]]), torch.tensor([1]), counts=[9, 1], tail=0.0)
        >>> round(float(loss), 4)  # no smoothing of the smallest class: softplus(2)
        2.1269

    References:
        Zhong et al., *Improving Calibration for Long-Tailed Recognition*, CVPR 2021, arXiv:2104.00466.
    """
    if not (0 <= head < 1 and 0 <= tail < 1):
        raise InputError(f"smoothings must be from 0 to below 1, not {head:g} and {tail:g}")
    target = check_labels(logits, target, soft=False)
    sizes = as_counts(counts, num_classes=logits.shape[1], device=logits.device)
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    number = sizes.to(wide.dtype)
    span = (number.amax() - number.amin()).clamp(min=1.0)
    smoothing = tail + (head - tail) * torch.sin(0.5 * math.pi * (number - number.amin()) / span)
    known = known_classes(target, ignore_index)
    own = smoothing.index_select(0, known)
    cost = -functional.log_softmax(wide, dim=1)
    true = cost.gather(1, known[:, None]).squeeze(1)
    others = (cost.sum(dim=1) - true) / max(logits.shape[1] - 1, 1)
    return torch.where(target == ignore_index, 0.0, (1.0 - own) * true + own * others)
