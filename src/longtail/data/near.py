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
"""Grey thumbnails of near duplicates correlate by this much or more."""
DEVIATION = 0.035
"""No value of their grey thumbnails, scaled to mean 0 and length 1, differs by more than this."""
COLOUR = 0.9
"""Their thumbnails in colour correlate by this much or more: JPEG changes colours, but flags differ by colour alone."""
DISTANCE = 8
"""Perceptual hashes of near duplicates differ in this many of 64 bits or fewer."""
LIMIT = 100_000
"""Near duplicates are looked for among so many images; the time grows with the square."""
CHUNK = 512


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

    grey, colour = _thumbnails(images, grey=True), _thumbnails(images, grey=False)
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
        alike = grey[start : start + CHUNK] @ grey[start:].T >= CORRELATION
        for both in torch.split(torch.nonzero(alike.triu(1)) + start, CHUNK):
            a, b = both.unbind(1)
            near = (grey[a] - grey[b]).abs().amax(1) <= DEVIATION
            near &= (colour[a] * colour[b]).sum(1) >= COLOUR
            found += [(i, j) for i, j in both[near].tolist() if hashed(i) - hashed(j) <= DISTANCE]
    return found


def _thumbnails(images: Tensor, *, grey: bool) -> Tensor:
    """(N, SIDE * SIDE) or (N, C * SIDE * SIDE) of mean 0 and length 1; a flat one is 0 and correlates with nothing."""
    small = []
    for chunk in torch.split(images, CHUNK):
        pixels = chunk.float().mean(1, keepdim=True) if grey else chunk.float()
        small.append(torch.nn.functional.interpolate(pixels, (SIDE, SIDE), mode="area").flatten(1))
    centred = torch.cat(small)
    centred -= centred.mean(1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    return torch.where(length > 1, centred / length.clamp(min=1), torch.zeros(()))
