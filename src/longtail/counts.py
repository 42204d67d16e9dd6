"""The class-count vector, and what can be read from it: prior, effective number, shot groups, how long the tail is.

``counts`` is a plain ``(K,)`` int64 tensor of training images per class. Data sets make it; losses, samplers, heads and
metrics consume it. The measures of a tail are computed in integers before their one division, so they are equal on
every machine.
"""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.shapes import Bool, Float, Int

__all__ = [
    "class_counts",
    "effective_number",
    "gini",
    "imbalance",
    "pareto_ratio",
    "prior",
    "shot_groups",
]


def class_counts(target: Int[Tensor, " N"], num_classes: int) -> Int[Tensor, " K"]:
    """Images per class.

    Args:
        target: (N,) class numbers from 0.
        num_classes: K; classes without images count 0.

    Returns:
        (K,) int64, on the device of ``target``.

    Raises:
        InputError: a class number below 0 or not below ``num_classes``.

    Example:
        >>> class_counts(torch.tensor([0, 2, 0]), 3)
        tensor([2, 0, 1])
    """
    if num_classes < 1:
        raise InputError(f"num_classes must be at least 1, not {num_classes}")
    if len(target) > 0:
        low, high = int(target.min()), int(target.max())
        if low < 0 or high >= num_classes:
            raise InputError(
                f"target holds class {low if low < 0 else high}, but {num_classes} classes are 0..{num_classes - 1}"
            )
    return torch.bincount(target, minlength=num_classes)


def prior(counts: Int[Tensor, " K"]) -> Float[Tensor, " K"]:
    r"""Share of each class in the training set.

    .. math:: \pi_c = n_c / \sum_k n_k

    Args:
        counts: (K,) training images per class.

    Returns:
        (K,) that sums to 1.

    Example:
        >>> prior(torch.tensor([3, 1]))
        tensor([0.7500, 0.2500])
    """
    return counts / counts.sum()


def effective_number(counts: Int[Tensor, " K"], beta: float | int) -> Float[Tensor, " K"]:
    r"""Expected volume of n samples that may overlap (Eq. 2 of Cui et al.).

    .. math:: E_n = (1 - \beta^n) / (1 - \beta)

    It is 1 for every class at beta = 0 and tends to n as beta tends to 1.

    Args:
        counts: (K,) training images per class.
        beta: in [0, 1).

    Returns:
        (K,) in images; 0 for a class without images.

    Raises:
        InputError: beta outside [0, 1).

    Example:
        >>> effective_number(torch.tensor([0, 1, 2]), beta=0.5)
        tensor([0.0000, 1.0000, 1.5000])

    References:
        Cui et al., *Class-Balanced Loss Based on Effective Number of Samples*, CVPR 2019.
    """
    if not 0 <= beta < 1:
        raise InputError(f"beta must lie in [0, 1), not {beta}")
    # In double precision: 1 - beta^n loses all of float32's digits at the usual beta of 0.9999 and small n.
    powers = torch.pow(beta, counts.double())
    return ((1 - powers) / (1 - beta)).to(torch.get_default_dtype())


def shot_groups(counts: Int[Tensor, " K"], many: int = 100, few: int = 20) -> dict[str, Bool[Tensor, " K"]]:
    """Which classes are many-, medium- and few-shot.

    Args:
        counts: (K,) training images per class.
        many: classes with more images than this are many-shot.
        few: classes with fewer images than this are few-shot.

    Returns:
        Masks (K,) under "many", "medium" and "few"; each class is in exactly one. A mask may be all False: an empty
        group has no value, which is not the same as 0.

    Raises:
        InputError: thresholds by which a class could be in two groups.

    Example:
        >>> shot_groups(torch.tensor([101, 100, 20, 19]))["medium"]
        tensor([False,  True,  True, False])

    References:
        Liu et al., *Large-Scale Long-Tailed Recognition in an Open World*, CVPR 2019.
    """
    if few > many + 1:
        raise InputError(f"the shot thresholds overlap: few-shot is below {few}, many-shot above {many}")
    is_many, is_few = counts > many, counts < few
    return {"many": is_many, "medium": ~(is_many | is_few), "few": is_few}


def imbalance(counts: Int[Tensor, " K"]) -> float:
    """Imbalance factor: images of the largest class over images of the smallest, at least 1.

    Args:
        counts: (K,) training images per class.

    Raises:
        InputError: a class without images, which makes the factor infinite.

    Example:
        >>> imbalance(torch.tensor([500, 50, 5]))
        100.0
    """
    _require_images(counts)
    return int(counts.max()) / int(counts.min())


def gini(counts: Int[Tensor, " K"]) -> float:
    r"""Gini coefficient: 0 when all classes are equally large, (K - 1) / K when one class has everything.

    .. math:: G = \frac{\sum_{i=1}^{K} (2i - K - 1) \, n_{(i)}}{K \sum_i n_{(i)}}

    with the classes in ascending order of size.

    Args:
        counts: (K,) training images per class, not all 0.

    Raises:
        InputError: no images at all.

    Example:
        >>> gini(torch.tensor([5, 5])), gini(torch.tensor([10, 0]))
        (0.0, 0.5)

    References:
        Yang et al., *A Survey on Long-Tailed Visual Recognition*, IJCV 2022, on Gini as a measure of a tail.
    """
    ascending: list[int] = sorted(counts.tolist())
    total, size = sum(ascending), len(ascending)
    if total == 0:
        raise InputError("no class has any images")
    return sum((2 * rank - size + 1) * n for rank, n in enumerate(ascending)) / (size * total)


def pareto_ratio(counts: Int[Tensor, " K"]) -> float:
    r"""How many classes share the last fifth of the images, for each class that shares the first four fifths.

    .. math:: (K - Q) / Q, \quad Q = \min \{ q : n_{(1)} + \dots + n_{(q)} \ge 0.8 \, N \}

    with the classes in descending order of size. By Pareto's rule (a fifth of the classes holds four fifths of the
    images) it is 4; it is 0.25 for equal classes and grows with the tail. Unlike the imbalance factor it does not hang
    on the two extreme classes alone.

    Args:
        counts: (K,) training images per class, not all 0.

    Raises:
        InputError: no images at all.

    Example:
        >>> pareto_ratio(torch.tensor([80, 5, 5, 5, 5]))
        4.0

    References:
        Wang et al., *Towards Heterogeneous Long-tailed Learning: Benchmarking, Metrics, and Toolbox* (HeroLT),
        NeurIPS 2024, the Pareto-LT ratio.
    """
    descending: list[int] = sorted(counts.tolist(), reverse=True)
    total = sum(descending)
    if total == 0:
        raise InputError("no class has any images")
    head, images = 0, 0
    while 5 * images < 4 * total:
        images += descending[head]
        head += 1
    return (len(descending) - head) / head


def _require_images(counts: Tensor) -> None:
    empty = torch.nonzero(counts < 1).flatten().tolist()
    if empty:
        raise InputError(f"class {empty[0]} has no images ({len(empty)} of {len(counts)} classes have none)")
