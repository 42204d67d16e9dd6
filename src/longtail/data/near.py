"""Near duplicates: images that show the same although their pixels differ.

Two images are near duplicates if their thumbnails correlate, differ nowhere by much, and have nearly one perceptual
hash. Each alone says too much: pictures of plankton share hashes by the thousand, and a smiling and a sad face differ
in a few pixels. Copies that were cropped, turned or mirrored are not found (docs/data.md says what is).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from longtail.shapes import UInt8

SIDE = 16
"""Of the thumbnails, in pixels."""
CORRELATION = 0.98
"""Thumbnails of near duplicates correlate by this much or more."""
DEVIATION = 0.025
"""No value of their thumbnails, scaled to mean 0 and length 1, differs by more than this."""
DISTANCE = 8
"""Perceptual hashes of near duplicates differ in this many of 64 bits or fewer."""
LIMIT = 100_000
"""Near duplicates are looked for among so many images; the time grows with the square."""
CHUNK = 1024


def pairs(images: UInt8[Tensor, "N C H W"]) -> list[tuple[int, int]]:
    """Find the pairs of near duplicates.

    Args:
        images: (N, C, H, W) uint8.

    Returns:
        Pairs of positions, the smaller first, in ascending order.

    Raises:
        ImportError: imagehash is not installed.

    Example:
        >>> noise = torch.randint(256, (2, 1, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
        >>> brighter = (noise[:1] // 2 + 100).byte()
        >>> pairs(torch.cat([noise, brighter]))
        [(0, 2)]
    """
    import imagehash
    from PIL import Image

    thumbnails = _thumbnails(images)
    hashes: dict[int, imagehash.ImageHash] = {}

    def hashed(position: int) -> imagehash.ImageHash:
        if position not in hashes:
            pixels = images[position].cpu().numpy()
            picture = Image.fromarray(
                np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
            )
            hashes[position] = imagehash.phash(picture)
        return hashes[position]

    found = []
    for start in range(0, len(images), CHUNK):
        alike = thumbnails[start : start + CHUNK] @ thumbnails[start:].T >= CORRELATION
        for both in torch.split(torch.nonzero(alike.triu(1)) + start, CHUNK):
            gap = (thumbnails[both[:, 0]] - thumbnails[both[:, 1]]).abs().amax(1)
            found += [(a, b) for a, b in both[gap <= DEVIATION].tolist() if hashed(a) - hashed(b) <= DISTANCE]
    return found


def _thumbnails(images: Tensor) -> Tensor:
    """(N, C * SIDE * SIDE) thumbnails of mean 0 and length 1; one that is flat is 0 and correlates with nothing.

    In colour: flags of one drawing in two colours are two pictures.
    """
    small = [
        torch.nn.functional.interpolate(chunk.float(), (SIDE, SIDE), mode="area").flatten(1)
        for chunk in torch.split(images, CHUNK)
    ]
    centred = torch.cat(small)
    centred -= centred.mean(1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    return torch.where(length > 1, centred / length.clamp(min=1), torch.zeros(()))
