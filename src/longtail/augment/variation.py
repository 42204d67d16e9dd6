"""The image operations of AutoAugment, a different one for every image of a batch.

Every operation belongs to one of three families, and a family is computed for the whole batch at once: movements are
one affine map per image and one gather; point operations one table per image and one gather; colour and sharpness one
blend per image. An image whose operation is of another family passes each with parameters that change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from longtail.augment import tables
from longtail.augment.geometry import affine, rotation
from longtail.augment.pixels import check_channels, cut, luminance_level, per_image, select
from longtail.shapes import Bool, Float, Int, UInt8


class Strength(NamedTuple):
    """How an operation's magnitude grows with its level.

    Attributes:
        low: magnitude at level 0.
        high: magnitude at the highest level.
        signed: whether its sign is drawn.
    """

    low: float
    high: float
    signed: bool


# Shears are slopes, translations parts of the width or height, rotations degrees; a blend of magnitude m has factor
# 1 + m; posterising keeps so many bits, solarising starts at such a level.
STRENGTHS = {
    "Identity": Strength(0.0, 0.0, False),
    "ShearX": Strength(0.0, 0.3, True),
    "ShearY": Strength(0.0, 0.3, True),
    "TranslateX": Strength(0.0, 150.0 / 331.0, True),
    "TranslateY": Strength(0.0, 150.0 / 331.0, True),
    "Rotate": Strength(0.0, 30.0, True),
    "Brightness": Strength(0.0, 0.9, True),
    "Color": Strength(0.0, 0.9, True),
    "Contrast": Strength(0.0, 0.9, True),
    "Sharpness": Strength(0.0, 0.9, True),
    "Posterize": Strength(8.0, 4.0, False),
    "Solarize": Strength(255.0, 0.0, False),
    "AutoContrast": Strength(0.0, 0.0, False),
    "Equalize": Strength(0.0, 0.0, False),
    "Invert": Strength(0.0, 0.0, False),
}
NAMES = tuple(STRENGTHS)

_MOVEMENTS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_BLENDS = ("Color", "Sharpness")
_TABLES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "Brightness": lambda images, strength, grey, position: tables.brightened(images, 1.0 + strength),
    "Contrast": lambda images, strength, grey, position: tables.contrasted(images, 1.0 + strength, grey),
    "Posterize": lambda images, strength, grey, position: tables.posterized(images, strength.long()),
    "Solarize": lambda images, strength, grey, position: tables.solarized(images, strength),
    "AutoContrast": lambda images, strength, grey, position: tables.stretched(images),
    "Equalize": lambda images, strength, grey, position: tables.equalized(images, position),
    "Invert": lambda images, strength, grey, position: tables.inverted(images),
}


def magnitude(name: str, level: int, levels: int, height: int, width: int) -> float:
    """The magnitude of an operation at a level, as it acts on images of a size.

    Args:
        name: name of the operation.
        level: 0 to ``levels`` - 1.
        levels: how many there are, at least 2.
        height: height of the images in pixels.
        width: width of the images in pixels.

    Example:
        >>> magnitude("TranslateX", 9, 10, 32, 32), magnitude("Posterize", 7, 10, 32, 32)
        (14.0, 5.0)
    """
    low, high, _ = STRENGTHS[name]
    value = low + (high - low) * level / (levels - 1)
    if name == "TranslateX":
        return float(int(value * width))
    if name == "TranslateY":
        return float(int(value * height))
    if name == "Posterize":
        return float(round(value))
    return value


def vary(
    images: UInt8[Tensor, "N C H W"],
    operation: Int[Tensor, " N"],
    strength: Float[Tensor, " N"],
    *,
    among: frozenset[str],
    fill: int,
) -> UInt8[Tensor, "N C H W"]:
    """Each image after its own operation.

    Args:
        images: (N, C, H, W), 1 or 3 channels. On grey images Color changes nothing.
        operation: (N,) positions in ``NAMES``.
        strength: (N,) magnitudes, with their signs.
        among: the operations that can occur: what cannot is not computed. Any other than these changes nothing.
        fill: level of what a movement brings in from outside, 0 to 255.
    """
    check_channels(images)
    chosen = {name: operation == NAMES.index(name) for name in NAMES if name in among}
    if not among.isdisjoint(_MOVEMENTS):
        images = affine(images, _movement(images, chosen, strength), fill=fill)
    # An image has one operation: what the first two families do to an image, they do not do to one of the third.
    levels = images.float()
    grey = luminance_level(levels)
    if not among.isdisjoint(_BLENDS):
        images = cut(_blended(levels, grey, chosen, strength))
    if not among.isdisjoint(_TABLES):
        position = tables.positions(images)
        table = tables.identity(images)
        for name, make in _TABLES.items():
            if name in chosen:
                table = select(chosen[name], make(images, strength, grey, position), table)
        images = tables.look_up(images, table, position)
    return images


def _movement(
    images: UInt8[Tensor, "N C H W"], chosen: dict[str, Bool[Tensor, " N"]], strength: Float[Tensor, " N"]
) -> Float[Tensor, "6 N"]:
    """The inverse map of each image's movement: from the centre, x' = a x + b y + c and y' = d x + e y + f."""
    height, width = images.shape[-2:]
    nothing = torch.zeros_like(strength)
    part = {name: strength * chosen[name] if name in chosen else nothing for name in _MOVEMENTS}
    matrix = rotation(part["Rotate"])
    # Shears leave the upper left corner in place, translations move right and down.
    move = torch.stack(
        (
            nothing,
            part["ShearX"],
            part["ShearX"] * (height / 2) - part["TranslateX"],
            part["ShearY"],
            nothing,
            part["ShearY"] * (width / 2) - part["TranslateY"],
        )
    )
    return matrix + move


def _blended(
    levels: Float[Tensor, "N C H W"],
    grey: Float[Tensor, "N 1 H W"],
    chosen: dict[str, Bool[Tensor, " N"]],
    strength: Float[Tensor, " N"],
) -> Float[Tensor, "N C H W"]:
    """Each pixel x to x + m (x - g), g being its greyness (Color) or its smoothed surroundings (Sharpness)."""
    total = levels.clone()
    if "Color" in chosen and levels.shape[1] == 3:
        total.addcmul_(levels - grey, per_image(strength * chosen["Color"]))
    if "Sharpness" in chosen and min(levels.shape[-2:]) > 2:
        inner = levels[..., 1:-1, 1:-1]
        total[..., 1:-1, 1:-1].addcmul_(inner - smoothed(levels), per_image(strength * chosen["Sharpness"]))
    return total


def smoothed(levels: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C S T"]:
    """The rounded mean of the 3 x 3 surroundings of each pixel inside the border, itself counted five times."""
    rows = (levels[..., :-2, :] + levels[..., 1:-1, :]).add_(levels[..., 2:, :])
    total = (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:])
    return total.add_(levels[..., 1:-1, 1:-1], alpha=4.0).div_(13.0).round_()
