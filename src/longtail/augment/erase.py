"""Parts of an image taken away."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from longtail.augment.compose import compose
from longtail.augment.noise import integer
from longtail.augment.pixels import check_fill
from longtail.errors import InputError
from longtail.shapes import Float, Int, Shaped, UInt8


@dataclass(frozen=True)
class Cutout:
    """A square erased at a random place.

    Its centre is uniform over the pixels, so a square near the border is cut off by it and erases less. The long-tail
    code bases erase before normalisation: the square is black (``fill`` 0), not the mean colour.

    Args:
        size: side of the square in pixels.
        fill: its level, 0 to 255.

    Raises:
        InputError: a size below 1, or a fill that is no level.

    Example:
        >>> images = torch.ones(1, 1, 4, 4, dtype=torch.uint8)
        >>> int((Cutout(size=1)(images, generator=torch.Generator()) == 0).sum())
        1

    References:
        DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, arXiv 1708.04552.
    """

    size: int = 16
    fill: int = 0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"Cutout: the square must be at least 1 pixel wide, not {self.size}")
        check_fill(self.fill, "Cutout")

    @property
    def draws(self) -> int:
        """Number of uniform numbers that it needs for an image."""
        return 2

    def parameters(
        self, noise: Float[Tensor, "2 N"], height: int, width: int
    ) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"]]:
        """Read from uniform numbers where each square lies.

        Args:
            noise: (2, N) in [0, 1).
            height: height of the images in pixels.
            width: width of the images in pixels.

        Returns:
            Row and column of the centres, each (N,) in pixels.
        """
        return integer(noise[0], height), integer(noise[1], width)

    def apply(self, images: UInt8[Tensor, "N C H W"], noise: Float[Tensor, "2 N"]) -> UInt8[Tensor, "N C H W"]:
        """Erase the squares that the numbers say."""
        row, column = self.parameters(noise, images.shape[-2], images.shape[-1])
        return cutout(images, row, column, size=self.size, fill=self.fill)

    def __call__(self, images: Shaped[Tensor, " ..."], *, generator: torch.Generator) -> UInt8[Tensor, "N C H W"]:
        """Each image (N, C, H, W) uint8 with its own square erased."""
        return compose((self,), images, generator=generator)


def cutout(
    images: UInt8[Tensor, "N C H W"], row: Int[Tensor, " N"], column: Int[Tensor, " N"], *, size: int, fill: int
) -> UInt8[Tensor, "N C H W"]:
    """Each image with a square of ``size`` pixels erased.

    Args:
        images: (N, C, H, W).
        row: (N,) centre of the square; of an even size, the first row below the middle.
        column: (N,) likewise.
        size: side in pixels.
        fill: level of the erased pixels.
    """
    rows = _kept(row, images.shape[-2], size)
    columns = _kept(column, images.shape[-1], size)
    # All bits set where the pixel is kept: it is erased only if both its row and its column are.
    keep = (rows[:, :, None] | columns[:, None, :])[:, None]
    kept = images & keep
    return kept | (~keep & fill) if fill else kept


def _kept(centre: Int[Tensor, " N"], length: int, size: int) -> UInt8[Tensor, "N L"]:
    """255 for the lines that a square leaves alone, 0 for those that it covers."""
    first = (centre - size // 2)[:, None]
    line = torch.arange(length, device=centre.device)
    return -((line < first) | (line >= first + size)).to(torch.uint8)
