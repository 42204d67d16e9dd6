"""Images mixed with others of the batch: mixup and CutMix, on normalised images.

Both return which image each was mixed with and how much of the image itself is left, so the loss of an image is
``weight * loss(logits, target) + (1 - weight) * loss(logits, target[partner])``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from longtail.augment.noise import integer, uniform
from longtail.augment.pixels import per_image
from longtail.errors import InputError
from longtail.shapes import Float, Int


class Mixed(NamedTuple):
    """A batch of mixed images, and what each is made of.

    Attributes:
        images: (N, C, H, W).
        partner: (N,) int64, a permutation: image i was mixed with image ``partner[i]``.
        weight: (N,) share of image i that is its own, in [0, 1].
    """

    images: Float[Tensor, "N C H W"]
    partner: Int[Tensor, " N"]
    weight: Float[Tensor, " N"]


def mixup(images: Float[Tensor, "N C H W"], *, alpha: float = 1.0, generator: torch.Generator) -> Mixed:
    r"""Each image averaged with another one.

    .. math:: x_i' = w_i x_i + (1 - w_i) x_{\pi(i)}, \quad w_i \sim \mathrm{Beta}(\alpha, \alpha)

    Every image has a weight of its own (the authors' code draws one for the batch).

    Args:
        images: (N, C, H, W) float.
        alpha: parameter of the Beta distribution, positive: 1 is uniform, small is little mixing.
        generator: random generator on the device of ``images``.

    Returns:
        Images, partners and weights.

    Raises:
        InputError: an alpha that is not positive.

    Example:
        >>> mixed = mixup(torch.zeros(4, 3, 8, 8), generator=torch.Generator())
        >>> mixed.partner.sort().values
        tensor([0, 1, 2, 3])

    References:
        Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018, arXiv 1710.09412.
    """
    return mixup_with(images, uniform((3, len(images)), generator=generator, device=images.device), alpha=alpha)


def cutmix(images: Float[Tensor, "N C H W"], *, alpha: float = 1.0, generator: torch.Generator) -> Mixed:
    r"""Each image with a box of another one pasted in.

    The box has sides :math:`\sqrt{1 - \lambda}` of the image's with :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)`
    and a centre uniform over the pixels; it is cut off at the border, and ``weight`` is the share of pixels left.

    Args:
        images: (N, C, H, W) float.
        alpha: parameter of the Beta distribution, positive.
        generator: random generator on the device of ``images``.

    Returns:
        Images, partners and weights.

    Raises:
        InputError: an alpha that is not positive.

    Example:
        >>> mixed = cutmix(torch.zeros(4, 3, 8, 8), generator=torch.Generator())
        >>> mixed.images.shape, mixed.weight.shape
        (torch.Size([4, 3, 8, 8]), torch.Size([4]))

    References:
        Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features, ICCV 2019,
        arXiv 1905.04899.
    """
    return cutmix_with(images, uniform((5, len(images)), generator=generator, device=images.device), alpha=alpha)


def mixup_with(images: Float[Tensor, "N C H W"], noise: Float[Tensor, "3 N"], *, alpha: float = 1.0) -> Mixed:
    """Mix images as ``mixup`` does, with its random numbers given: a pure function, taken whole by ``torch.compile``.

    Use it inside a step that is compiled or captured in a graph.

    Args:
        images: (N, C, H, W) float.
        noise: (3, N) in [0, 1).
        alpha: parameter of the Beta distribution, positive.

    Returns:
        Images, partners and weights.

    Example:
        >>> images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
        >>> noise = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.25, 0.25]])  # partners 1 and 0, weights of a half
        >>> mixup_with(images, noise).images.flatten()
        tensor([0.5000, 0.5000])
    """
    partner = noise[0].argsort()
    weight = symmetric_beta(noise[1:], alpha)
    return Mixed(torch.lerp(images[partner], images, per_image(weight).to(images.dtype)), partner, weight)


def cutmix_with(images: Float[Tensor, "N C H W"], noise: Float[Tensor, "5 N"], *, alpha: float = 1.0) -> Mixed:
    """Mix images as ``cutmix`` does, with its random numbers given: a pure function, taken whole by ``torch.compile``.

    Use it inside a step that is compiled or captured in a graph.

    Args:
        images: (N, C, H, W) float.
        noise: (5, N) in [0, 1).
        alpha: parameter of the Beta distribution, positive.

    Returns:
        Images, partners and weights.

    Example:
        >>> images = torch.zeros(2, 1, 8, 8)
        >>> cutmix_with(images, torch.full((5, 2), 0.5)).images.shape
        torch.Size([2, 1, 8, 8])
    """
    partner = noise[0].argsort()
    pasted, weight = paste_with(images, images[partner], noise[1:], alpha=alpha)
    return Mixed(pasted, partner, weight)


def paste_with(
    images: Float[Tensor, "N C H W"],
    others: Float[Tensor, "N C H W"],
    noise: Float[Tensor, "4 N"],
    *,
    alpha: float = 1.0,
) -> tuple[Float[Tensor, "N C H W"], Float[Tensor, " N"]]:
    """Paste a box of another image into each, as ``cutmix`` does, with other images and random numbers given.

    Use it where the pasted images come from elsewhere than the batch.

    Args:
        images: (N, C, H, W) float, what the boxes are pasted into.
        others: (N, C, H, W), row for row, what they are cut out of.
        noise: (4, N) in [0, 1).
        alpha: parameter of the Beta distribution of the share that is left, positive.

    Returns:
        The images, and the share (N,) of the pixels that is left of each.

    Example:
        >>> dark, light = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
        >>> pasted, share = paste_with(dark, light, torch.full((4, 1), 0.5))
        >>> bool(torch.isclose(1 - pasted.mean(), share))
        True
    """
    height, width = images.shape[-2:]
    share = torch.sqrt(1.0 - symmetric_beta(noise[:2], alpha))
    rows = _covered(integer(noise[2], height), share, height)
    columns = _covered(integer(noise[3], width), share, width)
    box = (rows[:, :, None] & columns[:, None, :])[:, None]
    weight = 1.0 - rows.sum(dim=1) * columns.sum(dim=1) / (height * width)
    return torch.where(box, others, images), weight


def symmetric_beta(noise: Float[Tensor, "2 N"], alpha: float) -> Float[Tensor, " N"]:
    r"""Beta(alpha, alpha) variates from pairs of uniform numbers, exactly and without rejection.

    :math:`t = \sqrt{u^{-1/\alpha} - 1}\,\cos(2\pi v)` is Student-distributed up to scale, and
    :math:`\tfrac12 (1 + t / \sqrt{1 + t^2})` has the Beta distribution.

    Args:
        noise: (2, N), u and v in [0, 1).
        alpha: parameter of the distribution, positive.

    Returns:
        (N,) variates in [0, 1].

    Raises:
        InputError: an alpha that is not positive.

    Example:
        >>> symmetric_beta(torch.tensor([[0.5], [0.25]]), 1.0)
        tensor([0.5000])

    References:
        Devroye, Random Variate Generation in One Line of Code, WSC 1996, after Bailey, Mathematics of Computation 1994.
    """
    if not alpha > 0:
        raise InputError(f"alpha of the mixing weights must be positive, not {alpha}")
    u, v = noise
    # -log(u) / alpha may overflow expm1 to infinity, which the arc tangent takes for what it is.
    t = torch.sqrt(torch.expm1(-torch.log(u) / alpha)) * torch.cos(2.0 * math.pi * v)
    return 0.5 * (1.0 + torch.sin(torch.atan(t)))


def _covered(centre: Int[Tensor, " N"], share: Float[Tensor, " N"], length: int) -> Tensor:
    """(N, length) bool: the lines that a box with this centre and share of the length covers."""
    half = ((share * length).long() // 2)[:, None]
    line = torch.arange(length, device=centre.device)
    return (line >= centre[:, None] - half) & (line < centre[:, None] + half)
