"""Images with their classes, in memory."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from longtail.shapes import Int, UInt8


@dataclasses.dataclass(frozen=True)
class Split:
    """Images with their classes.

    Args:
        images: (N, C, H, W) uint8, C = 1 or 3.
        target: (N,) int64 class numbers.
        index: (N,) int64, where each image stands in its original file or list.
        listing: the name of each image of the original list, by ``index``; None where images have no names.
    """

    images: UInt8[Tensor, "N C H W"]
    target: Int[Tensor, " N"]
    index: Int[Tensor, " N"]
    listing: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.target)

    def at(self, positions: Int[Tensor, " n"]) -> Split:
        """The split of the images at ``positions``, in that order."""
        return Split(self.images[positions], self.target[positions], self.index[positions], self.listing)

    def name(self, position: int) -> str:
        """What to call the image at ``position``: its path below the folder, or its number in the original list."""
        number = int(self.index[position])
        return f"image {number}" if self.listing is None else self.listing[number]
