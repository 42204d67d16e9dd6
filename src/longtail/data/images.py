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
    """

    images: UInt8[Tensor, "N C H W"]
    target: Int[Tensor, " N"]
    index: Int[Tensor, " N"]

    def __len__(self) -> int:
        return len(self.target)

    def at(self, positions: Int[Tensor, " n"]) -> Split:
        """The split of the images at ``positions``, in that order."""
        return Split(self.images[positions], self.target[positions], self.index[positions])
