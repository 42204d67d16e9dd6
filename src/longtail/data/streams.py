"""Pictures that are read from their files while a network trains, never all of them at once.

Small pictures are decoded once and kept in memory. Which of the two it is depends on the number of pictures and on
their size alone, so that it is the same on every machine.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtail.data.decoding import pixels_of, squared
from longtail.data.names import Names
from longtail.shapes import Int, UInt8

IN_MEMORY_SIDE = 100
"""Pictures of more pixels a side are read while training: augmenting them in memory is slower than doing it one by one
in workers (docs/data.md)."""
IN_MEMORY_BYTES = 1 << 30
"""More pixels than this, of all splits, are read while training."""
COLOURS = 3


def too_large(number: int, side: int) -> bool:
    """Return whether so many pictures of this size are read while training instead of being kept in memory.

    Args:
        number: pictures in all splits.
        side: of each in pixels.

    Example:
        >>> too_large(50_000, 32), too_large(500_000, 32), too_large(100, 224)
        (False, True, True)
    """
    return side > IN_MEMORY_SIDE or number * side * side * COLOURS > IN_MEMORY_BYTES


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """Files of pictures in the place of a tensor of images (N, C, S, S) uint8.

    Args:
        root: folder of the files.
        names: their paths below it; of all splits of a data set, so that the splits share them.
        digests: (M, 32) uint8, SHA-256 of each of the M files.
        places: (N,) int64, which of the files these are.
        channels: C, 1 if all pictures of the data set are grey, else 3.
        side: S, in pixels.
        skip_unreadable: leave out of a training batch what cannot be read, instead of ending the run.
    """

    root: str
    names: Names
    digests: UInt8[np.ndarray, "M 32"]
    places: Int[Tensor, " N"]
    channels: int
    side: int
    skip_unreadable: bool = False

    def __len__(self) -> int:
        return len(self.places)

    @property
    def shape(self) -> torch.Size:
        """(N, C, S, S), as if it were a tensor."""
        return torch.Size((len(self), self.channels, self.side, self.side))

    def __getitem__(self, positions: Tensor | slice) -> Pictures:
        """Return the pictures at some positions, none of which is read for it."""
        chosen = positions if isinstance(positions, slice) else positions.cpu()
        return dataclasses.replace(self, places=self.places[chosen])

    def to(self, device: Any) -> Pictures:
        """Return the same pictures, which lie on no device until they are read."""
        del device
        return self

    def file(self, position: int) -> pathlib.Path:
        """Return the path of the picture at a position."""
        return pathlib.Path(self.root, self.names[int(self.places[position])])

    def digest(self) -> UInt8[np.ndarray, "N 32"]:
        """Return the SHA-256 of the file of each picture, in their order."""
        found: np.ndarray = self.digests[self.places.numpy()]
        return found

    def whole(self, position: int) -> UInt8[Tensor, "C H W"]:
        """Decode the picture at a position in its own size, with the channels of the data set.

        Raises:
            InputError: it cannot be decoded.
        """
        found = pixels_of(self.file(position))
        return found if len(found) == self.channels else found.expand(self.channels, -1, -1)

    def read(self, position: int, *, interpolation: str = "bicubic", crop: float = 1.0) -> UInt8[Tensor, "C S S"]:
        """Decode the picture at a position, scaled and cropped around its centre.

        Args:
            position: from 0 to N - 1.
            interpolation: of Pillow, such as ``bicubic``.
            crop: share of the shorter side that is kept, in (0, 1].

        Raises:
            InputError: it cannot be decoded.
        """
        return squared(self.whole(position), self.side, interpolation=interpolation, crop=crop)
