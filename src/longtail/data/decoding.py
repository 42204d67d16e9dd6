"""A picture file as an array of pixels in its own size, by the fastest decoder that gives the right ones.

Plain JPEG files go to torchvision. Everything else goes to Pillow, which ``longtail.data.pictures`` gives its rules: a
lying photo, CMYK, transparency, a palette, 16 bits, several frames, other formats, large and damaged files. PNG does,
too, since the PNG decoder of torchvision ends the process on some damaged files. Both give the same pixels
(tests/data/test_decoding.py); their speed is in docs/data.md.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from longtail.data import pictures
from longtail.shapes import UInt8

if TYPE_CHECKING:
    from PIL.Image import Image

JPEG = b"\xff\xd8\xff"
FRAMES = (0xC0, 0xC1, 0xC2)
"""Markers of the headers of baseline, extended and progressive JPEG."""
OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
"""Markers of the headers of lossless, differential and arithmetic JPEG."""


def pixels_of(file: pathlib.Path) -> UInt8[Tensor, "C H W"]:
    """Decode a picture.

    Args:
        file: its path.

    Returns:
        (C, H, W) uint8 in the picture's own size, upright and without transparency, C = 1 for a grey one, else 3.

    Raises:
        InputError: a file that cannot be decoded, as ``longtail.data.pictures.whole`` says it.
    """
    decoder = _torchvision()
    if decoder is not None:
        stored = _jpeg(file)
        if is_plain(stored):
            try:
                return decoder(torch.frombuffer(bytearray(stored), dtype=torch.uint8))
            except RuntimeError:
                pass  # Pillow says what is wrong with it
    return array_of(pictures.whole(file).image)


def is_plain(stored: bytes) -> bool:
    """Return whether the bytes of a file are those of a JPEG picture that needs no rule.

    It is grey or has three colours, is stored upright, and is not so large that memory must be looked at.

    Args:
        stored: the whole file.
    """
    if stored[:3] != JPEG:
        return False
    place, found = 2, False
    while place + 9 < len(stored):
        if stored[place] != 0xFF:
            return False
        marker = stored[place + 1]
        if marker == 0xFF:  # a filling byte
            place += 1
            continue
        if marker == 0xDA:
            return found
        content = stored[place + 4 : place + 2 + int.from_bytes(stored[place + 2 : place + 4])]
        if marker in FRAMES:
            height, width = int.from_bytes(content[1:3]), int.from_bytes(content[3:5])
            found = content[0] == 8 and content[5] in (1, 3) and 0 < height * width < pictures.LARGE
            if not found:
                return False
        elif marker in OTHER_FRAMES or (marker == 0xE1 and not _is_upright(stored)):
            return False
        place += 4 + len(content)
    return False


def array_of(picture: Image) -> UInt8[Tensor, "C H W"]:
    """Return the pixels of a grey or RGB picture of Pillow, (C, H, W) uint8."""
    values = np.asarray(picture)
    return torch.from_numpy(values[None].copy() if values.ndim == 2 else values.transpose(2, 0, 1).copy())


def picture_of(array: UInt8[Tensor, "C H W"]) -> Image:
    """Return pixels (C, H, W) uint8, C = 1 or 3, as a picture of Pillow."""
    from PIL import Image

    values = array[0].numpy() if len(array) == 1 else array.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(values)


def squared(
    array: UInt8[Tensor, "C H W"], side: int, *, interpolation: str = "bicubic", crop: float = 1.0
) -> UInt8[Tensor, "C S S"]:
    """Scale a picture and crop it around its centre, to the very pixels that ``longtail.data.pictures.square`` gives.

    Args:
        array: (C, H, W) uint8.
        side: S of the square, in pixels.
        interpolation: of Pillow, such as ``bicubic``.
        crop: share of the shorter side that is kept, in (0, 1].
    """
    if array.shape[1:] == (side, side) and crop == 1.0:
        return array
    return array_of(pictures.square(picture_of(array), side, interpolation=interpolation, crop=crop))


@functools.cache
def _torchvision() -> Callable[[Tensor], Tensor] | None:
    """The decoder of torchvision; None where it is not installed."""
    try:
        from torchvision.io import decode_image
    except ImportError:
        return None

    def decoder(stored: Tensor) -> Tensor:
        with pictures.quiet():  # from 0.29 on it says that it will move to torchcodec
            found: Tensor = decode_image(stored)
        return found

    return decoder


def _jpeg(file: pathlib.Path) -> bytes:
    """The bytes of a JPEG file; none of any other."""
    try:
        if not file.is_file():  # a pipe would be waited for
            return b""
        with file.open("rb") as opened:
            begin = opened.read(len(JPEG))
            return begin + opened.read() if begin == JPEG else b""
    except OSError:
        return b""  # Pillow says why it cannot be read


def _is_upright(stored: bytes) -> bool:
    """Whether a photo with data of its camera is stored as it is seen."""
    import io

    from PIL import Image

    try:
        with pictures.quiet(), Image.open(io.BytesIO(stored)) as opened:
            return bool(opened.getexif().get(pictures.ORIENTATION, 1) == 1)
    except Exception:  # Pillow says what is wrong with it when it is decoded
        return False
