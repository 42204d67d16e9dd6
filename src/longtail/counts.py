"""The class-count vector, and what can be read from it: prior, effective number, shot groups, how long the tail is.

``counts`` is a plain ``(K,)`` int64 tensor of training images per class; lists and arrays are taken too. Data sets make
it; losses, samplers, heads and metrics consume it. The measures of a tail are computed in integers before their one
division, so they are equal on every machine.
"""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.shapes import Bool, Counts, Float, Int, Labels

__all__ = [
    "as_counts",
    "as_labels",
    "class_counts",
    "effective_number",
    "gini",
    "imbalance",
    "pareto_ratio",
    "prior",
    "shot_groups",
]


def as_counts(
    counts: Counts | object, *, num_classes: int | None = None, device: torch.device | str | None = None
) -> Int[Tensor, " K"]:
    """Class counts as a tensor, from a list, an array or a tensor.

    Every function of this library that takes ``counts`` begins with it. It looks at type and shape alone, never at
    values, so a loss may call it at every step; a tensor that is already on ``device`` comes back as it is.

    Args:
        counts: (K,) training images per class.
        num_classes: number of classes where it is known, such as the width of the logits.
        device: device of the result; by default that of ``counts``.

    Returns:
        (K,) int64.

    Raises:
        InputError: counts that are not one row of whole numbers, or not ``num_classes`` of them.

    Example:
        >>> as_counts([500, 60, 5])
        tensor([500,  60,   5])
        >>> as_counts([500, 60, 5], num_classes=2)
        Traceback (most recent call last):
        longtail.errors.InputError: counts has 3 entries, but there are 2 classes: give one count for each class
    """
    found = _whole_numbers(counts, "counts", "the number of training images of each class, (K,)", device)
    if num_classes is not None and len(found) != num_classes:
        raise InputError(
            f"counts has {len(found)} entries, but there are {num_classes} classes: give one count for each class"
        )
    return found


def as_labels(target: Labels | object, *, device: torch.device | str | None = None) -> Int[Tensor, " N"]:
    """Class numbers as a tensor, from a list (torchvision's ``dataset.targets``), an array or a tensor.

    Args:
        target: (N,) class numbers.
        device: device of the result; by default that of ``target``.

    Returns:
        (N,) int64.

    Raises:
        InputError: labels that are not one row of whole numbers, such as names or one-hot rows.

    Example:
        >>> as_labels([0, 2, 0])
        tensor([0, 2, 0])
        >>> as_labels(["cat", "dog"])
        Traceback (most recent call last):
        longtail.errors.InputError: target must be a row of class numbers from 0, (N,), not a list of str: number ...
    """
    return _whole_numbers(target, "target", "a row of class numbers from 0, (N,)", device)


def _whole_numbers(values: object, name: str, right: str, device: torch.device | str | None) -> Tensor:
    if isinstance(values, Tensor):
        found = values
    else:
        try:
            found = torch.as_tensor(values)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"{name} must be {right}, not {_kind(values)}") from None
    if found.ndim != 1 or found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise InputError(f"{name} must be {right}, not {found.dtype} of shape {tuple(found.shape)}")
    return found.to(device=device, dtype=torch.int64)


def _kind(values: object) -> str:
    """What was given, in words, with the usual remedy."""
    inside = getattr(values, "dtype", None)
    if inside is None and isinstance(values, (list, tuple)) and values:
        inside = type(values[0]).__name__
    kind = type(values).__name__ + (f" of {inside}" if inside is not None else "")
    text = "str" in str(inside) or "<U" in str(inside) or str(inside) == "object"
    return f"a {kind}" + (": number the names, as numpy.unique(names, return_inverse=True) does" if text else "")


def class_counts(target: Labels, num_classes: int) -> Int[Tensor, " K"]:
    """Count the images of each class.

    Args:
        target: (N,) class numbers from 0; a list, an array or a tensor.
        num_classes: number of classes, K; classes without images count 0.

    Returns:
        (K,) int64, on the device of ``target``.

    Raises:
        InputError: a class number below 0 or not below ``num_classes``.

    Example:
        >>> class_counts([0, 2, 0], 3)
        tensor([2, 0, 1])
    """
    if num_classes < 1:
        raise InputError(f"num_classes must be at least 1, not {num_classes}")
    target = as_labels(target) if len(target) > 0 else torch.zeros(0, dtype=torch.int64)
    if len(target) > 0:
        low, high = int(target.min()), int(target.max())
        if low < 0 or high >= num_classes:
            raise InputError(
                f"target holds class {low if low < 0 else high}, but {num_classes} classes are 0..{num_classes - 1}"
            )
    return torch.bincount(target, minlength=num_classes)


def prior(counts: Counts) -> Float[Tensor, " K"]:
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
    counts = as_counts(counts)
    return counts / counts.sum()


def effective_number(counts: Counts, beta: float | int) -> Float[Tensor, " K"]:
    r"""Expected volume of n samples that may overlap (Eq. 2 of Cui et al.).

    .. math:: E_n = (1 - \beta^n) / (1 - \beta)

    It is 1 for every class at beta = 0 and tends to n as beta tends to 1.

    Args:
        counts: (K,) training images per class.
        beta: base of the effective number, in [0, 1).

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
    powers = torch.pow(beta, as_counts(counts).double())
    return ((1 - powers) / (1 - beta)).to(torch.get_default_dtype())


def shot_groups(counts: Counts, many: int = 100, few: int = 20) -> dict[str, Bool[Tensor, " K"]]:
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
    counts = as_counts(counts)
    is_many, is_few = counts > many, counts < few
    return {"many": is_many, "medium": ~(is_many | is_few), "few": is_few}


def imbalance(counts: Counts) -> float:
    """Imbalance factor: images of the largest class over images of the smallest, at least 1.

    Args:
        counts: (K,) training images per class.

    Returns:
        The factor: 100 says that the largest class has 100 times the images of the smallest.

    Raises:
        InputError: a class without images, which makes the factor infinite.

    Example:
        >>> imbalance(torch.tensor([500, 50, 5]))
        100.0
    """
    counts = as_counts(counts)
    _require_images(counts)
    return int(counts.max()) / int(counts.min())


def gini(counts: Counts) -> float:
    r"""Gini coefficient: 0 when all classes are equally large, (K - 1) / K when one class has everything.

    .. math:: G = \frac{\sum_{i=1}^{K} (2i - K - 1) \, n_{(i)}}{K \sum_i n_{(i)}}

    with the classes in ascending order of size.

    Args:
        counts: (K,) training images per class, not all 0.

    Returns:
        The coefficient, in [0, 1).

    Raises:
        InputError: no images at all.

    Example:
        >>> gini(torch.tensor([5, 5])), gini(torch.tensor([10, 0]))
        (0.0, 0.5)

    References:
        Yang et al., *A Survey on Long-Tailed Visual Recognition*, IJCV 2022, on Gini as a measure of a tail.
    """
    ascending: list[int] = sorted(as_counts(counts).tolist())
    total, size = sum(ascending), len(ascending)
    if total == 0:
        raise InputError("no class has any images")
    return sum((2 * rank - size + 1) * n for rank, n in enumerate(ascending)) / (size * total)


def pareto_ratio(counts: Counts) -> float:
    r"""How many classes share the last fifth of the images, for each class that shares the first four fifths.

    .. math:: (K - Q) / Q, \quad Q = \min \{ q : n_{(1)} + \dots + n_{(q)} \ge 0.8 \, N \}

    with the classes in descending order of size. By Pareto's rule (a fifth of the classes holds four fifths of the
    images) it is 4; it is 0.25 for equal classes and grows with the tail. Unlike the imbalance factor it does not hang
    on the two extreme classes alone.

    Args:
        counts: (K,) training images per class, not all 0.

    Returns:
        Classes that share the last fifth, over classes that share the first four fifths.

    Raises:
        InputError: no images at all.

    Example:
        >>> pareto_ratio(torch.tensor([80, 5, 5, 5, 5]))
        4.0

    References:
        Wang et al., *Towards Heterogeneous Long-tailed Learning: Benchmarking, Metrics, and Toolbox* (HeroLT),
        NeurIPS 2024, the Pareto-LT ratio.
    """
    descending: list[int] = sorted(as_counts(counts).tolist(), reverse=True)
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
