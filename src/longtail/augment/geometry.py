"""Where the pixels of an image come from: crop, flip, resized crop, rotation, shear."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from longtail.augment.compose import compose
from longtail.augment.noise import between, integer
from longtail.augment.pixels import check_fill, check_probability, nearest, select
from longtail.errors import InputError
from longtail.shapes import Bool, Float, Int, Shaped, UInt8

# Moves a source coordinate that falls between two pixels, where float32 would decide by accident, to the later one.
_TIE = 2.0**-16


@dataclass(frozen=True)
class RandomCrop:
    """The image moved by up to ``padding`` pixels in each direction, its size unchanged.

    It is padded on all sides and cropped at a place drawn uniformly from the (2 padding + 1)^2 possible ones.

    Args:
        padding: width of the padding in pixels.
        fill: level of the padding, 0 to 255.

    Raises:
        InputError: a negative padding, or a fill that is no level.

    Example:
        >>> images = torch.full((2, 1, 4, 4), 9, dtype=torch.uint8)
        >>> int(RandomCrop(padding=1)(images, generator=torch.Generator().manual_seed(0)).max())
        9

    References:
        He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2.
    """

    padding: int = 4
    fill: int = 0

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise InputError(f"RandomCrop: the padding must be 0 or more, not {self.padding}")
        check_fill(self.fill, "RandomCrop")

    @property
    def draws(self) -> int:
        """Number of uniform numbers that it needs for an image."""
        return 2

    def parameters(self, noise: Float[Tensor, "2 N"]) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"]]:
        """Read from uniform numbers where each crop lies in the padded image.

        Args:
            noise: (2, N) in [0, 1).

        Returns:
            Top and left, each (N,) in 0 .. 2 ``padding``.
        """
        places = 2 * self.padding + 1
        return integer(noise[0], places), integer(noise[1], places)

    def apply(self, images: UInt8[Tensor, "N C H W"], noise: Float[Tensor, "2 N"]) -> UInt8[Tensor, "N C H W"]:
        """Crop the images where the numbers say."""
        top, left = self.parameters(noise)
        return crop(images, top, left, padding=self.padding, fill=self.fill)

    def __call__(self, images: Shaped[Tensor, " ..."], *, generator: torch.Generator) -> UInt8[Tensor, "N C H W"]:
        """Each image (N, C, H, W) uint8 at its own random place."""
        return compose((self,), images, generator=generator)


@dataclass(frozen=True)
class HorizontalFlip:
    """The image mirrored left to right with some probability.

    Args:
        probability: probability of mirroring an image.

    Raises:
        InputError: no probability.

    Example:
        >>> images = torch.tensor([[[[1, 2, 3]]]], dtype=torch.uint8)
        >>> HorizontalFlip(probability=1.0)(images, generator=torch.Generator())
        tensor([[[[3, 2, 1]]]], dtype=torch.uint8)
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_probability(self.probability, "HorizontalFlip")

    @property
    def draws(self) -> int:
        """Number of uniform numbers that it needs for an image."""
        return 1

    def parameters(self, noise: Float[Tensor, "1 N"]) -> Bool[Tensor, " N"]:
        """Read from uniform numbers which images are mirrored.

        Args:
            noise: (1, N) in [0, 1).

        Returns:
            (N,) True where an image is mirrored.
        """
        return noise[0] < self.probability

    def apply(self, images: UInt8[Tensor, "N C H W"], noise: Float[Tensor, "1 N"]) -> UInt8[Tensor, "N C H W"]:
        """Mirror the images where the numbers say so."""
        return select(self.parameters(noise), images.flip(-1), images)

    def __call__(self, images: Shaped[Tensor, " ..."], *, generator: torch.Generator) -> UInt8[Tensor, "N C H W"]:
        """Each image (N, C, H, W) uint8 mirrored or not."""
        return compose((self,), images, generator=generator)


@dataclass(frozen=True)
class RandomResizedCrop:
    """A random part of the image, resized to a fixed size.

    Area and aspect ratio are drawn uniformly (the ratio on a logarithmic scale) up to ten times, until the box fits
    into the image; then its place. If no box fits, the largest central one with an allowed ratio is taken. Bilinear
    with antialiasing, as torchvision's default.

    Args:
        size: side of the result in pixels; the images' own height and width by default.
        scale: smallest and largest area, as a share of the image.
        ratio: smallest and largest width / height.

    Raises:
        InputError: bounds that are not positive and increasing, a scale above 1, or a size below 1.

    Example:
        >>> images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> RandomResizedCrop(size=24)(images, generator=torch.Generator()).shape
        torch.Size([2, 3, 24, 24])

    References:
        Szegedy et al., Going Deeper with Convolutions, CVPR 2015, section 6.
    """

    size: int | None = None
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if not 0.0 < self.scale[0] <= self.scale[1] <= 1.0:
            raise InputError(f"RandomResizedCrop: the scale must be two increasing shares in (0, 1], not {self.scale}")
        if not 0.0 < self.ratio[0] <= self.ratio[1]:
            raise InputError(f"RandomResizedCrop: the ratio must be two increasing positive numbers, not {self.ratio}")
        if self.size is not None and self.size < 1:
            raise InputError(f"RandomResizedCrop: the size must be at least 1 pixel, not {self.size}")

    @property
    def draws(self) -> int:
        """Number of uniform numbers that it needs for an image: ten boxes and one place."""
        return 22

    def parameters(
        self, noise: Float[Tensor, "22 N"], height: int, width: int
    ) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"], Int[Tensor, " N"], Int[Tensor, " N"]]:
        """Read from uniform numbers which box of each image is kept.

        Args:
            noise: (22, N) in [0, 1).
            height: height of the images in pixels.
            width: width of the images in pixels.

        Returns:
            Top, left, height and width of the boxes, each (N,) in pixels.
        """
        area = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * noise[:10])
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        aspect = torch.exp(low + (high - low) * noise[10:20])
        wide = torch.sqrt(area * aspect).round()
        tall = torch.sqrt(area / aspect).round()
        fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
        # argmax gives the first of equals: the first box that fits, or box 0 where none does.
        first = fits.to(torch.int8).argmax(dim=0, keepdim=True)
        found = fits.any(dim=0)
        central_height, central_width = _central_box(height, width, self.ratio)
        box_height = torch.where(found, tall.gather(0, first)[0], central_height).long()
        box_width = torch.where(found, wide.gather(0, first)[0], central_width).long()
        top = torch.where(found, integer(noise[20], height - box_height + 1), (height - central_height) // 2)
        left = torch.where(found, integer(noise[21], width - box_width + 1), (width - central_width) // 2)
        return top, left, box_height, box_width

    def apply(self, images: UInt8[Tensor, "N C H W"], noise: Float[Tensor, "22 N"]) -> UInt8[Tensor, "N C S T"]:
        """Crop and resize the images as the numbers say."""
        height, width = images.shape[-2:]
        size = (height, width) if self.size is None else (self.size, self.size)
        return resized_crop(images, *self.parameters(noise, height, width), size=size)

    def __call__(self, images: Shaped[Tensor, " ..."], *, generator: torch.Generator) -> UInt8[Tensor, "N C S T"]:
        """A random part of each image (N, C, H, W) uint8."""
        return compose((self,), images, generator=generator)


@dataclass(frozen=True)
class Rotation:
    """The image turned about its centre, its size unchanged, by nearest neighbours.

    Args:
        degrees: the angle is uniform in [-degrees, degrees], counter-clockwise.
        fill: level of the corners, 0 to 255.

    Raises:
        InputError: a negative angle, or a fill that is no level.

    Example:
        >>> images = torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)
        >>> Rotation(degrees=0.0)(images, generator=torch.Generator())
        tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)
    """

    degrees: float = 15.0
    fill: int = 0

    def __post_init__(self) -> None:
        if self.degrees < 0:
            raise InputError(f"Rotation: the largest angle must be 0 degrees or more, not {self.degrees}")
        check_fill(self.fill, "Rotation")

    @property
    def draws(self) -> int:
        """Number of uniform numbers that it needs for an image."""
        return 1

    def parameters(self, noise: Float[Tensor, "1 N"]) -> Float[Tensor, " N"]:
        """Read from uniform numbers how far each image is turned.

        Args:
            noise: (1, N) in [0, 1).

        Returns:
            (N,) angles in degrees, counter-clockwise.
        """
        return between(noise[0], -self.degrees, self.degrees)

    def apply(self, images: UInt8[Tensor, "N C H W"], noise: Float[Tensor, "1 N"]) -> UInt8[Tensor, "N C H W"]:
        """Turn the images as the numbers say."""
        return affine(images, rotation(self.parameters(noise)), fill=self.fill)

    def __call__(self, images: Shaped[Tensor, " ..."], *, generator: torch.Generator) -> UInt8[Tensor, "N C H W"]:
        """Each image (N, C, H, W) uint8 turned by its own angle."""
        return compose((self,), images, generator=generator)


def crop(
    images: UInt8[Tensor, "N C H W"], top: Int[Tensor, " N"], left: Int[Tensor, " N"], *, padding: int, fill: int
) -> UInt8[Tensor, "N C H W"]:
    """Each image padded on all sides and cropped at its own place, by one gather.

    Args:
        images: (N, C, H, W).
        top: (N,) first row of the crop in the padded image, 0 to 2 ``padding``.
        left: (N,) first column.
        padding: width of the padding in pixels.
        fill: level of the padding.
    """
    number, channels, height, width = images.shape
    padded = pad(images, (padding,) * 4, value=fill)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    index = (rows * (width + 2 * padding))[:, :, None] + columns[:, None, :]
    source = index.view(number, 1, height * width).expand(-1, channels, -1)
    return padded.view(number, channels, -1).gather(2, source).view(images.shape)


def resized_crop(
    images: UInt8[Tensor, "N C H W"],
    top: Int[Tensor, " N"],
    left: Int[Tensor, " N"],
    height: Int[Tensor, " N"],
    width: Int[Tensor, " N"],
    *,
    size: tuple[int, int],
) -> UInt8[Tensor, "N C S T"]:
    """Each image's own box resized to one size, bilinear with antialiasing.

    Both directions are matrix products with the interpolation weights, so the box needs no gather and an image may be
    made larger or smaller. The products are float32 whatever autocast says: half precision would be off by two levels.

    Args:
        images: (N, C, H, W).
        top: (N,) first row of the box.
        left: (N,) first column.
        height: (N,) of the box, at least 1.
        width: (N,) of the box.
        size: height and width of the result.
    """
    vertical = _interpolation(top, height, images.shape[-2], size[0])
    horizontal = _interpolation(left, width, images.shape[-1], size[1])
    with _no_autocast(images.device):
        return nearest(vertical[:, None] @ images.float() @ horizontal[:, None].mT)


def affine(images: UInt8[Tensor, "N C H W"], matrix: Float[Tensor, "6 N"], *, fill: int) -> UInt8[Tensor, "N C H W"]:
    """Each image moved by its own affine map, by nearest neighbours and one gather.

    Args:
        images: (N, C, H, W), fewer than 2^24 pixels each.
        matrix: (6, N), a to f of the inverse map: the pixel at (x, y), in pixels from the centre, right and down, comes
            from (a x + b y + c, d x + e y + f).
        fill: level of what comes from outside the image.
    """
    number, channels, height, width = images.shape
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device) - (height - 1) / 2
    a, b, c, d, e, f = matrix[..., None]
    column = (a * x)[:, None, :] + (b * y + (c + (width / 2 + _TIE)))[:, :, None]
    row = (d * x)[:, None, :] + (e * y + (f + (height / 2 + _TIE)))[:, :, None]
    # A frame of one pixel stands for everything outside.
    framed = pad(images, (1, 1, 1, 1), value=fill)
    column = column.floor_().clamp_(-1, width)
    row = row.floor_().clamp_(-1, height)
    index = row.mul_(width + 2).add_(column).add_(width + 3).long()
    source = index.view(number, 1, height * width).expand(-1, channels, -1)
    return framed.view(number, channels, -1).gather(2, source).view(images.shape)


def rotation(degrees: Float[Tensor, " N"]) -> Float[Tensor, "6 N"]:
    """The inverse map of a turn about the centre, counter-clockwise by so many degrees."""
    angle = torch.deg2rad(degrees)
    cosine, sine, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    return torch.stack((cosine, -sine, zero, sine, cosine, zero))


def _central_box(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """Height and width of the largest central box whose aspect ratio is allowed."""
    if width / height < ratio[0]:
        return round(width / ratio[0]), width
    if width / height > ratio[1]:
        return height, round(height * ratio[1])
    return height, width


def _interpolation(
    start: Int[Tensor, " N"], length: Int[Tensor, " N"], old: int, new: int
) -> Float[Tensor, "N new old"]:
    """Weights by which each pixel of a resized line is the sum of the pixels of its box: a normalised triangle."""
    scale = (length / new)[:, None]
    centre = start[:, None] + (torch.arange(new, device=start.device) + 0.5) * scale
    pixel = torch.arange(old, device=start.device) + 0.5
    # The triangle is as wide as a new pixel, and never narrower than two old ones.
    distance = (pixel - centre[:, :, None]).abs_() / scale.clamp(min=1.0)[:, :, None]
    inside = (pixel > start[:, None]) & (pixel < (start + length)[:, None])
    weight = (1.0 - distance).clamp_(min=0.0) * inside[:, None, :]
    return weight / weight.sum(dim=2, keepdim=True)


def _no_autocast(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Full precision inside an autocast region; the meta device has no such regions."""
    return contextlib.nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
