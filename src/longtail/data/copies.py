"""Which images of a set are equal, pixel for pixel as a model sees them, or by their files where these are streamed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from longtail.data.streams import Pictures
from longtail.shapes import Int, Shaped


def groups(parts: Sequence[Shaped[Tensor, " _ *one"] | Pictures]) -> list[Int[Tensor, " _"]]:
    """Number the different images: images have one number exactly if they are equal (up to a collision of 128 bits).

    Args:
        parts: images of equal shape, (N, C, H, W) each, or features (N, D); files that are read while training are
            equal if their bytes are.

    Returns:
        For each part (N,) int64 numbers from 0.

    Example:
        >>> images = torch.tensor([5, 7, 5], dtype=torch.uint8).view(3, 1, 1, 1)
        >>> groups([images, images[1:2]])
        [tensor([0, 1, 0]), tensor([1])]
    """
    known: dict[bytes, int] = {}
    found = []
    for images in parts:
        if isinstance(images, Pictures):
            marks = [row.tobytes() for row in images.digest()]
        else:
            rows = images.cpu().contiguous().flatten(1).numpy()
            marks = [hashlib.blake2b(row.data, digest_size=16).digest() for row in rows]
        numbers = [known.setdefault(mark, len(known)) for mark in marks]
        found.append(torch.from_numpy(np.array(numbers, np.int64)))
    return found
