"""Images, or features of images, with their classes, in memory or as files that are read while training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor

from longtail.data.pictures import printable
from longtail.data.streams import Pictures
from longtail.errors import InputError
from longtail.shapes import Float, Int, UInt8


@dataclasses.dataclass(frozen=True)
class Split:
    """Images with their classes and their places in the original list.

    A data set of features has them in the place of the images.

    Args:
        images: (N, C, H, W) uint8, C = 1 or 3; or files of that shape, which are not read before they are needed; or
            features (N, D) float32.
        target: (N,) int64 class numbers.
        index: (N,) int64, where each image stands in its original file or list.
        listing: the name of each image of the original list, by ``index``; None where images have no names.

    Example:
        >>> import torch
        >>> images, target = torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 1])
        >>> split = Split(images, target, torch.arange(3), listing=("a/1.png", "b/2.png", "b/3.png"))
        >>> part = split.at(torch.tensor([2, 0]))
        >>> part.target.tolist(), part.name(0)
        ([1, 0], 'b/3.png')
    """

    images: UInt8[Tensor, "N C H W"] | Float[Tensor, "N D"] | Pictures
    target: Int[Tensor, " N"]
    index: Int[Tensor, " N"]
    listing: Sequence[str] | None = None

    @property
    def streamed(self) -> bool:
        """Whether the images are files that are read while training."""
        return isinstance(self.images, Pictures)

    @property
    def pixels(self) -> UInt8[Tensor, "N C H W"] | Float[Tensor, "N D"]:
        """The images (N, C, H, W), or features (N, D), in memory.

        Raises:
            InputError: they are files, too many or too large to be decoded at once.
        """
        if isinstance(self.images, Pictures):
            number, side = len(self.images), self.images.side
            raise InputError(
                f"{number:,} pictures of {side} x {side} pixels are read from their files while training, and what was "
                "asked for needs all of them in memory: give a smaller --image-size"
            )
        return self.images

    def __len__(self) -> int:
        return len(self.target)

    def at(self, positions: Int[Tensor, " n"]) -> Split:
        """Return the split of the images at some positions, in that order.

        Args:
            positions: (n,) int64, from 0 to N - 1; one may occur several times.

        Returns:
            The n images, with the index and the listing that they have here.

        Raises:
            IndexError: a position out of range.
        """
        return Split(self.images[positions], self.target[positions], self.index[positions], self.listing)

    def name(self, position: int) -> str:
        """Name the image at a position, as messages to the user do.

        Args:
            position: place in this split, from 0 to N - 1.

        Returns:
            The path below the folder, printable, or ``image`` with the number in the original list.

        Raises:
            IndexError: a position out of range.
        """
        number = int(self.index[position])
        return f"image {number}" if self.listing is None else printable(self.listing[number])
