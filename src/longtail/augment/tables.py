"""Point operations as look-up tables: what becomes of each of the 256 levels of an image's channel.

Brightness, contrast, inversion, posterising, solarising, stretching and equalising treat a pixel by its level alone. A
table of 256 bytes per channel is made for every image, whatever its operation, and one gather applies them all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.augment.pixels import cut
from longtail.shapes import Float, Int, UInt8


def positions(images: UInt8[Tensor, "N C H W"]) -> Int[Tensor, " P"]:
    """Where each pixel's level stands in the flattened tables of all channels of all images.

    Args:
        images: (N, C, H, W).

    Returns:
        (N C H W,) int64, for ``look_up`` and ``equalized``.
    """
    flat = images.flatten(2)
    tables = torch.arange(0, 256 * flat.shape[0] * flat.shape[1], 256, device=images.device)
    return flat.long().add_(tables.view(*flat.shape[:2], 1)).view(-1)


def look_up(
    images: UInt8[Tensor, "N C H W"], table: UInt8[Tensor, "N C 256"], position: Int[Tensor, " P"]
) -> UInt8[Tensor, "N C H W"]:
    """The images with each level replaced by the table's.

    Args:
        images: (N, C, H, W).
        table: (N, C, 256) for each channel of each image.
        position: positions of the images' levels, by ``positions``.
    """
    return table.flatten().index_select(0, position).view(images.shape)


def identity(images: UInt8[Tensor, "N C H W"]) -> UInt8[Tensor, "N C 256"]:
    """The table that changes nothing."""
    return torch.arange(256, device=images.device).to(torch.uint8).expand(*images.shape[:2], 256)


def inverted(images: UInt8[Tensor, "N C H W"]) -> UInt8[Tensor, "N C 256"]:
    """The negative, 255 - x."""
    return ~identity(images)


def brightened(images: UInt8[Tensor, "N C H W"], factor: Float[Tensor, " N"]) -> UInt8[Tensor, "N C 256"]:
    """The level times a factor."""
    return _spread(images, cut(_levels(images) * factor[:, None]))


def contrasted(
    images: UInt8[Tensor, "N C H W"], factor: Float[Tensor, " N"], grey: Float[Tensor, "N 1 H W"]
) -> UInt8[Tensor, "N C 256"]:
    """The mean greyness of the image + factor * (x - that mean)."""
    mean = grey.mean(dim=(1, 2, 3))[:, None]
    return _spread(images, cut(mean + factor[:, None] * (_levels(images) - mean)))


def posterized(images: UInt8[Tensor, "N C H W"], bits: Int[Tensor, " N"]) -> UInt8[Tensor, "N C 256"]:
    """The ``bits`` highest bits of x."""
    mask = (256 - (1 << (8 - bits))).to(torch.uint8)
    return _spread(images, torch.arange(256, device=images.device).to(torch.uint8) & mask[:, None])


def solarized(images: UInt8[Tensor, "N C H W"], threshold: Float[Tensor, " N"]) -> UInt8[Tensor, "N C 256"]:
    """The negative of all levels from the threshold on."""
    levels = torch.arange(256, device=images.device)
    flipped = -(levels >= threshold[:, None]).to(torch.uint8)
    return _spread(images, levels.to(torch.uint8) ^ flipped)


def stretched(images: UInt8[Tensor, "N C H W"]) -> UInt8[Tensor, "N C 256"]:
    """Each channel's darkest level to 0 and its brightest to 255, linearly; a channel of one level stays."""
    flat = images.flatten(2)
    low = flat.amin(dim=2, keepdim=True).float()
    width = flat.amax(dim=2, keepdim=True).float() - low
    constant = width == 0
    return cut((_levels(images) - low * ~constant) * 255.0 / torch.where(constant, 255.0, width))


def equalized(images: UInt8[Tensor, "N C H W"], position: Int[Tensor, " P"]) -> UInt8[Tensor, "N C 256"]:
    """Levels spread so that their histogram is about flat, for each channel, by Pillow's whole-number rule.

    With h the histogram of n pixels, m its entry at the brightest level present and s = (n - m) // 255: level x becomes
    (h_0 + ... + h_{x-1} + s // 2) // s, at most 255; and stays where s = 0.
    """
    number, channels, height, width = images.shape
    # Along its only axis scatter_add is the fastest histogram there is.
    ones = torch.ones_like(position, dtype=torch.int32)
    histogram = torch.zeros(number * channels * 256, dtype=torch.int32, device=images.device)
    histogram = histogram.scatter_add_(0, position, ones).view(number, channels, 256)
    brightest = images.flatten(2).amax(dim=2, keepdim=True)
    step = ((height * width - histogram.gather(2, brightest.long())) // 255).float()
    below = histogram.cumsum(dim=2, dtype=torch.int32) - histogram
    # Half a unit keeps the quotient of whole numbers away from where cutting jumps.
    safe = step.clamp(min=1.0)
    table = cut((below + (safe // 2 + 0.5)) / safe)
    own = torch.arange(256, device=images.device).to(torch.uint8)
    return own ^ ((own ^ table) & -(step > 0).to(torch.uint8))


def _levels(images: Tensor) -> Float[Tensor, " 256"]:
    return torch.arange(256, device=images.device, dtype=torch.float32)


def _spread(images: UInt8[Tensor, "N C H W"], table: UInt8[Tensor, "N 256"]) -> UInt8[Tensor, "N C 256"]:
    """One table for all channels of an image."""
    return table[:, None].expand(-1, images.shape[1], -1)
