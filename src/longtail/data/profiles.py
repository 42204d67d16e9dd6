"""How class sizes fall from the largest class to the smallest: exponentially, in one step, or by a power law.

Each profile takes the size of the largest class and the imbalance factor, and gives the sizes of all classes, class 0
the largest. It may give a class 0 images; drawing such a subset is what is refused, not looking at its profile.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from longtail.errors import InputError, unknown
from longtail.shapes import Int

Profile = Callable[[int, int, float | int], Tensor]

GIVEN = "class sizes"
"""What the profile of a data set is called whose sizes were given one by one."""


def exponential_profile(num_classes: int, largest: int, imbalance: float | int) -> Int[Tensor, " K"]:
    r"""Sizes that fall by the same factor from each class to the next: the profile of CIFAR-LT.

    .. math:: n_c = \lfloor n_{\max} \, \rho^{-c / (K - 1)} \rfloor

    Args:
        num_classes: K.
        largest: images of class 0.
        imbalance: :math:`\rho`, largest over smallest, at least 1.

    Returns:
        (K,) int64.

    Raises:
        InputError: an imbalance below 1 or not finite, no classes, or a largest class without images.

    Example:
        >>> exponential_profile(5, 1000, 100)
        tensor([1000,  316,  100,   31,   10])

    References:
        Cui et al., *Class-Balanced Loss Based on Effective Number of Samples*, CVPR 2019;
        Cao et al., *Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss*, NeurIPS 2019.
    """
    _check(num_classes, largest, imbalance)
    last = max(num_classes - 1, 1)
    return torch.tensor([_floor(largest * imbalance ** (-c / last)) for c in range(num_classes)])


def step_profile(num_classes: int, largest: int, imbalance: float | int) -> Int[Tensor, " K"]:
    r"""Two sizes: the first half of the classes has ``largest`` images, the rest ``largest / imbalance``.

    With an odd K the class in the middle is a small one, as in LDAM's code.

    Args:
        num_classes: K.
        largest: images of each large class.
        imbalance: largest over smallest, at least 1.

    Returns:
        (K,) int64.

    Raises:
        InputError: as ``exponential_profile``.

    Example:
        >>> step_profile(5, 100, 10)
        tensor([100, 100,  10,  10,  10])

    References:
        Buda et al., *A Systematic Study of the Class Imbalance Problem in Convolutional Neural Networks*, 2018.
    """
    _check(num_classes, largest, imbalance)
    # A single class is its own head.
    head = max(num_classes // 2, 1)
    return torch.tensor([largest] * head + [_floor(largest / imbalance)] * (num_classes - head))


def pareto_profile(num_classes: int, largest: int, imbalance: float | int) -> Int[Tensor, " K"]:
    r"""Sizes that fall with a power of the rank: a sharper head and a flatter tail than the exponential profile.

    .. math:: n_c = \lfloor n_{\max} \, (c + 1)^{-a} \rfloor, \quad a = \ln \rho / \ln K

    so that the last class has ``largest / imbalance`` images, like the last of the other profiles.

    Args:
        num_classes: K.
        largest: images of class 0.
        imbalance: :math:`\rho`, largest over smallest, at least 1.

    Returns:
        (K,) int64.

    Raises:
        InputError: as ``exponential_profile``.

    Example:
        >>> pareto_profile(4, 160, 16)
        tensor([160,  40,  17,  10])
    """
    _check(num_classes, largest, imbalance)
    power = math.log(imbalance) / math.log(max(num_classes, 2))
    return torch.tensor([_floor(largest * (c + 1) ** -power) for c in range(num_classes)])


PROFILES: dict[str, Profile] = {
    "exponential": exponential_profile,
    "step": step_profile,
    "pareto": pareto_profile,
}


def by_name(name: str) -> Profile:
    """The profile function called ``name``.

    Raises:
        InputError: no profile has this name.

    Example:
        >>> by_name("step")(2, 30, 3)
        tensor([30, 10])
    """
    if name not in PROFILES:
        raise unknown("profile", name, PROFILES)
    return PROFILES[name]


def largest_that_fits(profile: Profile, available: Int[Tensor, " K"], imbalance: float | int) -> int:
    """The largest size of the largest class for which every class has the images that the profile asks of it.

    Args:
        profile: one of the functions above; its sizes do not fall as ``largest`` grows.
        available: (K,) images that each class has, at least one each.
        imbalance: largest over smallest, at least 1.

    Example:
        >>> largest_that_fits(exponential_profile, torch.tensor([500, 500, 500]), 100)
        500
        >>> largest_that_fits(exponential_profile, torch.tensor([500, 10, 5]), 100)
        109
    """
    low, high = 1, int(available.max())
    while low < high:
        middle = (low + high + 1) // 2
        if bool((profile(len(available), middle, imbalance) <= available).all()):
            low = middle
        else:
            high = middle - 1
    return low


def _floor(value: float) -> int:
    """The floor, by which a value that rounding has left just below an integer counts as that integer.

    Where the formula has an integer value (500 / 100, or the middle one of three classes), the last bit of ``pow`` may
    differ between machines; a plain ``int`` would then lose an image on one of them.
    """
    near = round(value)
    return near if abs(value - near) <= 1e-9 * max(value, 1.0) else math.floor(value)


def _check(num_classes: int, largest: int, imbalance: float | int) -> None:
    if num_classes < 1 or largest < 1:
        raise InputError(f"a profile needs a class and an image at least, not {num_classes} classes of up to {largest}")
    if not (math.isfinite(imbalance) and imbalance >= 1):
        raise InputError(f"imbalance {imbalance:g}: largest over smallest class, a number from 1 (100, not 0.01)")
