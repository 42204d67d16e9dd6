"""Colour and sharpness: jitter, greyness, blur."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from longtail.augment.compose import compose
from longtail.augment.noise import between, constant, integer
from longtail.augment.pixels import (
    check_channels,
    check_probability,
    cut,
    luminance,
    luminance_level,
    nearest,
    per_image,
    select,
)
from longtail.errors import InputError
from longtail.shapes import Bool, Float, Int, Shaped, UInt8

_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


@dataclass(frozen=True)
class ColorJitter:
    """Brightness, contrast, saturation and hue changed at random, in random order.

    The factors of the first three are uniform in [max(0, 1 - x), 1 + x], the hue moves by a uniform part of the colour
    circle in [-x, x]. Factors and order are drawn for each image. Computed in float32 with one rounding at the end,
    where torchvision cuts a byte image to whole levels after every step.

    Args:
        brightness: x of the brightness, 0 or more.
        contrast: x of the contrast.
        saturation: x of the saturation.
        hue: x of the hue, 0 to 0.5.
        probability: probability of changing an image at all.

    Raises:
        InputError: a negative x, a hue above 0.5, or no probability.

    Example:
        >>> images = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
        >>> ColorJitter(brightness=0.5)(images, generator=torch.Generator()).shape
        torch.Size([2, 3, 4, 4])
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "hue"):
            if getattr(self, name) < 0:
                raise InputError(f"ColorJitter: {name} must be 0 or more, not {getattr(self, name)}")
        if self.hue > 0.5:
            raise InputError(f"ColorJitter: the hue moves by at most 0.5, half the colour circle, not {self.hue}")
        check_probability(self.probability, "ColorJitter")

    @property
    def draws(self) -> int:
        """Number of uniform numbers that it needs for an image."""
        return 7

    def parameters(
        self, noise: Float[Tensor, "7 N"]
    ) -> tuple[Float[Tensor, "3 N"], Float[Tensor, " N"], Int[Tensor, "3 N"], Int[Tensor, " N"]]:
        """Read from uniform numbers what is done to each image.

        Args:
            noise: (7, N) in [0, 1).

        Returns:
            (3, N) factors of brightness, contrast and saturation, 1 where the image stays as it is;
            (N,) shift of the hue, 0 where it stays;
            (3, N) order of the first three: 0, 1, 2 for brightness, contrast, saturation;
            (N,) how many of them come before the hue.
        """
        changed = noise[0] < self.probability
        widths = (self.brightness, self.contrast, self.saturation)
        factors = torch.stack([between(n, max(0.0, 1 - x), 1 + x) for n, x in zip(noise[1:4], widths, strict=True)])
        shift = between(noise[4], -self.hue, self.hue)
        orders = constant(_ORDERS, noise.device)
        order = orders[integer(noise[5], len(_ORDERS))].T
        return torch.where(changed, factors, 1.0), shift * changed, order, integer(noise[6], 4)

    def apply(self, images: UInt8[Tensor, "N C H W"], noise: Float[Tensor, "7 N"]) -> UInt8[Tensor, "N C H W"]:
        """Change the colours of the images as the numbers say."""
        return nearest(jitter(images, *self.parameters(noise)))

    def __call__(self, images: Shaped[Tensor, " ..."], *, generator: torch.Generator) -> UInt8[Tensor, "N C H W"]:
        """Each image (N, C, H, W) uint8, 1 or 3 channels, in its own colours."""
        return compose((self,), images, generator=generator)


@dataclass(frozen=True)
class Grayscale:
    """The image without its colours, with some probability; its channels stay three.

    Args:
        probability: probability of greying an image.

    Raises:
        InputError: no probability.

    Example:
        >>> images = torch.tensor([200, 100, 50], dtype=torch.uint8).view(1, 3, 1, 1)
        >>> Grayscale(probability=1.0)(images, generator=torch.Generator()).flatten()
        tensor([124, 124, 124], dtype=torch.uint8)
    """

    probability: float = 0.2

    def __post_init__(self) -> None:
        check_probability(self.probability, "Grayscale")

    @property
    def draws(self) -> int:
        """Number of uniform numbers that it needs for an image."""
        return 1

    def parameters(self, noise: Float[Tensor, "1 N"]) -> Bool[Tensor, " N"]:
        """Read from uniform numbers which images lose their colours.

        Args:
            noise: (1, N) in [0, 1).

        Returns:
            (N,) True where an image becomes grey.
        """
        return noise[0] < self.probability

    def apply(self, images: UInt8[Tensor, "N C H W"], noise: Float[Tensor, "1 N"]) -> UInt8[Tensor, "N C H W"]:
        """Make the images grey where the numbers say so."""
        check_channels(images)
        return select(self.parameters(noise), cut(luminance_level(images.float())).expand_as(images), images)

    def __call__(self, images: Shaped[Tensor, " ..."], *, generator: torch.Generator) -> UInt8[Tensor, "N C H W"]:
        """Each image (N, C, H, W) uint8, 1 or 3 channels, grey or not."""
        return compose((self,), images, generator=generator)


@dataclass(frozen=True)
class GaussianBlur:
    """The image blurred by a small Gaussian of random width, reflected at the borders.

    Args:
        kernel: side of the filter in pixels, odd.
        sigma: smallest and largest standard deviation in pixels; uniform between them.

    Raises:
        InputError: an even or negative kernel, or sigmas that are not positive and increasing.

    Example:
        >>> images = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
        >>> bool((GaussianBlur()(images, generator=torch.Generator()) == 100).all())
        True
    """

    kernel: int = 3
    sigma: tuple[float, float] = (0.1, 2.0)

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise InputError(f"GaussianBlur: the kernel must be an odd number of pixels, not {self.kernel}")
        if not 0.0 < self.sigma[0] <= self.sigma[1]:
            raise InputError(f"GaussianBlur: sigma must be two increasing positive numbers, not {self.sigma}")

    @property
    def draws(self) -> int:
        """Number of uniform numbers that it needs for an image."""
        return 1

    def parameters(self, noise: Float[Tensor, "1 N"]) -> Float[Tensor, " N"]:
        """Read from uniform numbers how wide the blur of each image is.

        Args:
            noise: (1, N) in [0, 1).

        Returns:
            (N,) standard deviations in pixels.
        """
        return between(noise[0], *self.sigma)

    def apply(self, images: UInt8[Tensor, "N C H W"], noise: Float[Tensor, "1 N"]) -> UInt8[Tensor, "N C H W"]:
        """Blur the images as the numbers say."""
        if self.kernel // 2 >= min(images.shape[-2:]):
            raise InputError(
                f"GaussianBlur: a kernel of {self.kernel} does not fit images of {tuple(images.shape[-2:])} pixels"
            )
        return blur(images, self.parameters(noise), kernel=self.kernel)

    def __call__(self, images: Shaped[Tensor, " ..."], *, generator: torch.Generator) -> UInt8[Tensor, "N C H W"]:
        """Each image (N, C, H, W) uint8 blurred by its own width."""
        return compose((self,), images, generator=generator)


def jitter(
    images: UInt8[Tensor, "N C H W"],
    factors: Float[Tensor, "3 N"],
    shift: Float[Tensor, " N"],
    order: Int[Tensor, "3 N"],
    before: Int[Tensor, " N"],
) -> Float[Tensor, "N C H W"]:
    """Brightness, contrast, saturation and hue of each image changed, in its own order, without rounding.

    Hue is by far the dearest, so it is computed once: the three others are offered a turn before it and a turn after
    it, and each takes one of the two (a factor of 1 is no change). That is any of the 24 orders.

    Args:
        images: (N, C, H, W), 1 or 3 channels. Grey images have no saturation and no hue to change.
        factors: (3, N) of brightness, contrast, saturation.
        shift: (N,) of the hue, as part of the circle.
        order: (3, N) of the first three, 0 to 2.
        before: (N,) how many of them come before the hue, 0 to 3.

    Returns:
        (N, C, H, W) levels in [0, 255].
    """
    check_channels(images)
    turns = factors.gather(0, order)
    levels = images.float()
    for turn in range(3):
        levels = _blend(levels, torch.where(before > turn, turns[turn], 1.0), order[turn])
    if images.shape[1] == 3:
        levels = turn_hue(levels, shift)
    for turn in range(3):
        levels = _blend(levels, torch.where(before > turn, 1.0, turns[turn]), order[turn])
    return levels


def _blend(
    levels: Float[Tensor, "N C H W"], factor: Float[Tensor, " N"], kind: Int[Tensor, " N"]
) -> Float[Tensor, "N C H W"]:
    """Away from black (kind 0), from the mean grey (1) or from each pixel's own grey (2), by a factor."""
    grey = luminance(levels)
    mean = grey.mean(dim=(1, 2, 3))
    rest = 1.0 - factor
    base = grey * per_image(rest * (kind == 2)) + per_image(mean * rest * (kind == 1))
    return (levels * per_image(factor)).add_(base).clamp_(0.0, 255.0)


def turn_hue(levels: Float[Tensor, "N 3 H W"], shift: Float[Tensor, " N"]) -> Float[Tensor, "N 3 H W"]:
    """Each image's hue moved along the colour circle, value and saturation kept.

    With h in [0, 6) the hue, v the largest and v - d the smallest of a pixel's channels, channel n = 5, 3, 1 (red,
    green, blue) of a colour is v - d clip(min(k, 4 - k), 0, 1), k = (n + h) mod 6.

    Args:
        levels: (N, 3, H, W), any scale.
        shift: (N,) as part of the circle, so that 1 changes nothing.
    """
    red, green, blue = levels[:, 0:1], levels[:, 1:2], levels[:, 2:3]
    value = torch.maximum(torch.maximum(red, green), blue)
    depth = value - torch.minimum(torch.minimum(red, green), blue)
    # A grey pixel has no hue: its depth is 0, and any divisor will do.
    safe = torch.where(depth > 0, depth, 1.0)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe),
    )
    channel = constant((5.0, 3.0, 1.0), levels.device)[:, None, None]
    k = torch.remainder(hue + per_image(6.0 * shift) + channel, 6.0)
    return value - depth * torch.minimum(k, 4.0 - k).clamp_(0.0, 1.0)


def blur(images: UInt8[Tensor, "N C H W"], sigma: Float[Tensor, " N"], *, kernel: int) -> UInt8[Tensor, "N C H W"]:
    """Each image blurred by its own Gaussian, reflected at the borders.

    Args:
        images: (N, C, H, W), each side longer than half the kernel.
        sigma: (N,) standard deviations in pixels.
        kernel: side of the filter in pixels, odd.
    """
    radius = kernel // 2
    offset = torch.arange(radius + 1, device=images.device)
    bell = torch.exp(-0.5 * (offset[:, None] / sigma) ** 2)
    weights = bell / (2.0 * bell.sum(dim=0) - bell[0])
    return nearest(_smooth(_smooth(images.float(), weights, 3), weights, 2))


def _smooth(levels: Float[Tensor, "N C H W"], weights: Float[Tensor, "R N"], dim: int) -> Float[Tensor, "N C H W"]:
    """The symmetric filter with these one-sided weights along one axis."""
    radius, length = len(weights) - 1, levels.shape[dim]
    sides = (radius, radius, 0, 0) if dim == 3 else (0, 0, radius, radius)
    wide = torch.nn.functional.pad(levels, sides, mode="reflect")
    total = levels * per_image(weights[0])
    for offset in range(1, radius + 1):
        pair = wide.narrow(dim, radius - offset, length) + wide.narrow(dim, radius + offset, length)
        total = total.add_(pair.mul_(per_image(weights[offset])))
    return total
