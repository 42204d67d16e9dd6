"""Learned and random policies: which operations an image meets, and how strong they are."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from longtail.augment.compose import compose
from longtail.augment.noise import constant, integer
from longtail.augment.pixels import check_fill
from longtail.augment.variation import NAMES, STRENGTHS, magnitude, vary
from longtail.errors import InputError
from longtail.shapes import Float, Int, Shaped, UInt8

# The policy that was learned on CIFAR-10 (table 7 of the paper): 25 pairs of (operation, probability, level of 0 to 9).
# Operations without a strength have level 0 here.
CIFAR10_POLICY = (
    (("Invert", 0.1, 0), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 0), ("Equalize", 0.9, 0)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 0), ("Equalize", 0.5, 0)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 0), ("AutoContrast", 0.4, 0)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 0)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 0), ("Equalize", 0.6, 0)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 0)),
    (("AutoContrast", 0.8, 0), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 0)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 0), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 0), ("Invert", 0.1, 0)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 0)),
)
# RandAugment reads strengths on a finer scale than the ten levels above, and leaves Invert out.
LEVELS = 31
_RANDOM = tuple(name for name in NAMES if name != "Invert")


@dataclass(frozen=True)
class AutoAugment:
    """The policy learned on CIFAR-10: one of 25 pairs of operations per image.

    The pair is drawn uniformly; each of its two operations happens with its own probability, at its own strength, the
    sign of which is a fair coin.

    Args:
        fill: level of what shears, translations and rotations bring in from outside, 0 to 255. Grey (128) as the
            long-tail code bases have it; torchvision's default is 0.

    Raises:
        InputError: a fill that is no level.

    Example:
        >>> images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> AutoAugment()(images, generator=torch.Generator()).shape
        torch.Size([2, 3, 32, 32])

    References:
        Cubuk et al., AutoAugment: Learning Augmentation Strategies from Data, CVPR 2019, arXiv 1805.09501.
    """

    fill: int = 128

    def __post_init__(self) -> None:
        check_fill(self.fill, "AutoAugment")

    @property
    def draws(self) -> int:
        """Number of uniform numbers that it needs for an image: the pair, and two coins for each of its operations."""
        return 5

    def parameters(
        self, noise: Float[Tensor, "5 N"], height: int, width: int
    ) -> tuple[Int[Tensor, "2 N"], Float[Tensor, "2 N"]]:
        """Read from uniform numbers which two operations each image meets, and how strong they are.

        Args:
            noise: (5, N) in [0, 1).
            height: height of the images in pixels.
            width: width of the images in pixels.

        Returns:
            (2, N) positions in ``NAMES``, that of Identity for an operation that is skipped; (2, N) magnitudes.
        """
        table = _learned(height, width, noise.device)[integer(noise[0], len(CIFAR10_POLICY))]
        # Name, probability, magnitude and signedness of the first operation, then of the second.
        name, probability, strength, signed = table.view(-1, 2, 4).permute(2, 1, 0)
        happens = noise[1:3] < probability
        negative = (noise[3:5] < 0.5) * signed
        return (name * happens).long(), strength * (1.0 - 2.0 * negative)

    def apply(self, images: UInt8[Tensor, "N C H W"], noise: Float[Tensor, "5 N"]) -> UInt8[Tensor, "N C H W"]:
        """Apply to every image the operations that the numbers say."""
        operation, strength = self.parameters(noise, images.shape[-2], images.shape[-1])
        for turn in range(2):
            among = frozenset(pair[turn][0] for pair in CIFAR10_POLICY)
            images = vary(images, operation[turn], strength[turn], among=among, fill=self.fill)
        return images

    def __call__(self, images: Shaped[Tensor, " ..."], *, generator: torch.Generator) -> UInt8[Tensor, "N C H W"]:
        """Each image (N, C, H, W) uint8, 1 or 3 channels, after its own pair."""
        return compose((self,), images, generator=generator)


@dataclass(frozen=True)
class RandAugment:
    """Operations drawn uniformly from fourteen, all at one strength.

    Each of the ``count`` operations of an image is drawn anew from all but Invert (doing nothing included); the sign of
    its strength is a fair coin.

    Args:
        count: operations per image, at least 1.
        level: their strength, 0 to 30.
        fill: level of what shears, translations and rotations bring in from outside, 0 to 255; grey, as for
            ``AutoAugment``, where torchvision's default is 0.

    Raises:
        InputError: a count, level or fill out of range.

    Example:
        >>> images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> RandAugment(count=2, level=9)(images, generator=torch.Generator()).shape
        torch.Size([2, 3, 32, 32])

    References:
        Cubuk et al., RandAugment: Practical Automated Data Augmentation with a Reduced Search Space, NeurIPS 2020,
        arXiv 1909.13719.
    """

    count: int = 2
    level: int = 9
    fill: int = 128

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"RandAugment: an image meets at least 1 operation, not {self.count}")
        if not 0 <= self.level < LEVELS:
            raise InputError(f"RandAugment: the level must be between 0 and {LEVELS - 1}, not {self.level}")
        check_fill(self.fill, "RandAugment")

    @property
    def draws(self) -> int:
        """Number of uniform numbers that it needs for an image: an operation and a sign for each turn."""
        return 2 * self.count

    def parameters(
        self, noise: Float[Tensor, "R N"], height: int, width: int
    ) -> tuple[Int[Tensor, "E N"], Float[Tensor, "E N"]]:
        """Read from uniform numbers which operations each image meets, and how strong they are.

        Args:
            noise: (2 ``count``, N) in [0, 1).
            height: height of the images in pixels.
            width: width of the images in pixels.

        Returns:
            (``count``, N) positions in ``NAMES``; (``count``, N) magnitudes.
        """
        choice, coin = noise[: self.count], noise[self.count :]
        table = _uniform(self.level, height, width, noise.device)[integer(choice, len(_RANDOM))]
        name, _, strength, signed = table.permute(2, 0, 1)
        negative = (coin < 0.5) * signed
        return name.long(), strength * (1.0 - 2.0 * negative)

    def apply(self, images: UInt8[Tensor, "N C H W"], noise: Float[Tensor, "R N"]) -> UInt8[Tensor, "N C H W"]:
        """Apply to every image the operations that the numbers say."""
        operation, strength = self.parameters(noise, images.shape[-2], images.shape[-1])
        for turn in range(self.count):
            images = vary(images, operation[turn], strength[turn], among=frozenset(_RANDOM), fill=self.fill)
        return images

    def __call__(self, images: Shaped[Tensor, " ..."], *, generator: torch.Generator) -> UInt8[Tensor, "N C H W"]:
        """Each image (N, C, H, W) uint8, 1 or 3 channels, after its own operations."""
        return compose((self,), images, generator=generator)


# Constants of a trace, as in ``noise``; in a step of its own the numbers are only looked up.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _learned(height: int, width: int, device: torch.device) -> Float[Tensor, "25 8"]:
    """The policy learned on CIFAR-10 in numbers: two times four for each pair, as ``_row`` gives them."""
    table: Tensor = constant(_learned_rows(height, width), device)
    return table


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _uniform(level: int, height: int, width: int, device: torch.device) -> Float[Tensor, "14 4"]:
    """The operations of RandAugment in numbers, as ``_row`` gives them."""
    table: Tensor = constant(_uniform_rows(level, height, width), device)
    return table


@functools.cache
def _learned_rows(height: int, width: int) -> tuple[tuple[float, ...], ...]:
    return tuple(
        tuple(entry for name, probability, level in pair for entry in _row(name, probability, level, 10, height, width))
        for pair in CIFAR10_POLICY
    )


@functools.cache
def _uniform_rows(level: int, height: int, width: int) -> tuple[tuple[float, ...], ...]:
    return tuple(_row(name, 1.0, level, LEVELS, height, width) for name in _RANDOM)


def _row(
    name: str, probability: float, level: int, levels: int, height: int, width: int
) -> tuple[float, float, float, float]:
    """Position in ``NAMES`` (Identity is 0), probability, magnitude and signedness of an operation."""
    strength = magnitude(name, level, levels, height, width)
    return float(NAMES.index(name)), probability, strength, float(STRENGTHS[name].signed)
