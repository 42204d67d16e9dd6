"""Slow references for the augmentation: one image at a time, pixel by pixel, in float64 and whole numbers.

An image is a (C, H, W) array of bytes. Where an operation cuts or rounds at the end, the function here returns the real
values before that, so that a test can tell a wrong value from one that lies on the edge of the next level.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Real = NDArray[np.float64]

GREY = (0.2989, 0.587, 0.114)


def cut(values: Real) -> Image:
    """Bytes: clamped, the fraction cut off; 1e-6 short of an integer is that integer."""
    return np.floor(np.clip(values, 0, 255) + 1e-6).astype(np.uint8)


def rounded(values: Real) -> Image:
    """Bytes: clamped, rounded to the nearest, halves up."""
    return np.floor(np.clip(values, 0, 255) + 0.5 + 1e-9).astype(np.uint8)


def gathered(image: Image, source: Callable[[int, int], tuple[int, int]], fill: int) -> Image:
    """The image whose pixel (i, j) is the given one's at ``source(i, j)``, or ``fill`` if that is outside."""
    channels, height, width = image.shape
    result = np.full_like(image, fill)
    for i in range(height):
        for j in range(width):
            row, column = source(i, j)
            if 0 <= row < height and 0 <= column < width:
                for c in range(channels):
                    result[c, i, j] = image[c, row, column]
    return result


def crop(image: Image, top: int, left: int, padding: int, fill: int) -> Image:
    return gathered(image, lambda i, j: (i + top - padding, j + left - padding), fill)


def flip(image: Image) -> Image:
    return gathered(image, lambda i, j: (i, image.shape[2] - 1 - j), 0)


def cutout(image: Image, row: int, column: int, size: int, fill: int) -> Image:
    result = image.copy()
    for i in range(row - size // 2, row - size // 2 + size):
        for j in range(column - size // 2, column - size // 2 + size):
            if 0 <= i < image.shape[1] and 0 <= j < image.shape[2]:
                result[:, i, j] = fill
    return result


def resized(line: Real, new: int) -> Real:
    """A line of pixels resized by a normalised triangle that is at least as wide as a new pixel."""
    scale = len(line) / new
    support = max(scale, 1.0)
    result = np.zeros(new)
    for k in range(new):
        centre = (k + 0.5) * scale
        weights = [max(0.0, 1.0 - abs(i + 0.5 - centre) / support) for i in range(len(line))]
        result[k] = sum(w * x for w, x in zip(weights, line, strict=True)) / sum(weights)
    return result


def resized_crop(image: Image, top: int, left: int, height: int, width: int, size: tuple[int, int]) -> Real:
    box = image[:, top : top + height, left : left + width].astype(np.float64)
    tall = np.apply_along_axis(resized, 1, box, size[0])
    return np.apply_along_axis(resized, 2, tall, size[1])


def movement(name: str, magnitude: float, height: int, width: int) -> Callable[[int, int], tuple[float, float]]:
    """Where pixel (i, j) comes from: row and column, pixel centres at whole numbers."""
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2

    def source(i: int, j: int) -> tuple[float, float]:
        if name == "ShearX":
            return i, j + magnitude * (i + 0.5)
        if name == "ShearY":
            return i + magnitude * (j + 0.5), j
        if name == "TranslateX":
            return i, j - magnitude
        if name == "TranslateY":
            return i - magnitude, j
        angle = math.radians(magnitude)
        y, x = i - middle_row, j - middle_column
        return (
            math.sin(angle) * x + math.cos(angle) * y + middle_row,
            math.cos(angle) * x - math.sin(angle) * y + middle_column,
        )

    return source


def moved(image: Image, name: str, magnitude: float, fill: int) -> Image:
    """Nearest neighbours, halfway to the later one."""
    source = movement(name, magnitude, image.shape[1], image.shape[2])

    def nearest(i: int, j: int) -> tuple[int, int]:
        row, column = source(i, j)
        return math.floor(row + 0.5 + 1e-9), math.floor(column + 0.5 + 1e-9)

    return gathered(image, nearest, fill)


def doubtful(image: Image, name: str, magnitude: float) -> NDArray[np.bool_]:
    """(H, W): pixels whose source lies within 1e-4 of halfway between two pixels."""
    source = movement(name, magnitude, image.shape[1], image.shape[2])

    def near(value: float) -> bool:
        return abs((value + 0.5) - round(value + 0.5)) < 1e-4

    return np.array(
        [[any(near(v) for v in source(i, j)) for j in range(image.shape[2])] for i in range(image.shape[1])]
    )


def grey(image: Real) -> Real:
    """(H, W) greyness; of a one-channel image the image."""
    if len(image) == 1:
        return image[0]
    return GREY[0] * image[0] + GREY[1] * image[1] + GREY[2] * image[2]


def grey_level(image: Image) -> Real:
    """(H, W) the same, cut to a level."""
    return np.floor(grey(image.astype(np.float64)) + 1e-6)


def smoothed(channel: Real) -> Real:
    """Each inner pixel the rounded mean of its surroundings, itself counted five times; the border kept."""
    result = channel.copy()
    for i in range(1, channel.shape[0] - 1):
        for j in range(1, channel.shape[1] - 1):
            total = channel[i - 1 : i + 2, j - 1 : j + 2].sum() + 4 * channel[i, j]
            result[i, j] = round(total / 13)
    return result


def equalized(channel: Image) -> Image:
    """Pillow's rule."""
    histogram = [int((channel == level).sum()) for level in range(256)]
    present = [count for count in histogram if count > 0]
    step = (sum(histogram) - present[-1]) // 255
    if step == 0:
        return channel
    table, below = [], step // 2
    for level in range(256):
        table.append(min(below // step, 255))
        below += histogram[level]
    return np.array(table, dtype=np.uint8)[channel]


def stretched(channel: Image) -> Real:
    low, high = int(channel.min()), int(channel.max())
    values = channel.astype(np.float64)
    return values if low == high else (values - low) * 255 / (high - low)


def pixelwise(image: Image, name: str, magnitude: float) -> Real:
    """Real values of the operations that are not movements, before the fraction is cut."""
    x = image.astype(np.float64)
    factor = 1 + magnitude
    if name == "Brightness":
        return factor * x
    if name == "Contrast":
        mean = grey_level(image).mean()
        return mean + factor * (x - mean)
    if name == "Color":
        return x if len(x) == 1 else x + magnitude * (x - grey_level(image))
    if name == "Sharpness":
        return np.stack([channel + magnitude * (channel - smoothed(channel)) for channel in x])
    if name == "Posterize":
        unit = 2 ** (8 - int(magnitude))
        return x // unit * unit
    if name == "Solarize":
        return np.where(x >= magnitude, 255 - x, x)
    if name == "AutoContrast":
        return np.stack([stretched(channel) for channel in image])
    if name == "Equalize":
        return np.stack([equalized(channel) for channel in image]).astype(np.float64)
    if name == "Invert":
        return 255 - x
    assert name == "Identity"
    return x


def varied(image: Image, name: str, magnitude: float, fill: int) -> Image:
    """An image after one operation of AutoAugment."""
    if name.startswith(("Shear", "Translate", "Rotate")):
        return moved(image, name, magnitude, fill)
    return cut(pixelwise(image, name, magnitude))


def blurred(image: Image, sigma: float, kernel: int) -> Real:
    """A Gaussian filter with reflected borders, by its definition in two dimensions."""
    radius = kernel // 2
    bell = {d: math.exp(-(d**2) / (2 * sigma**2)) for d in range(-radius, radius + 1)}
    total = sum(bell.values()) ** 2
    result = np.zeros(image.shape)
    wide = np.pad(image.astype(np.float64), ((0, 0), (radius, radius), (radius, radius)), mode="reflect")
    for di, wi in bell.items():
        for dj, wj in bell.items():
            rows = slice(radius + di, radius + di + image.shape[1])
            columns = slice(radius + dj, radius + dj + image.shape[2])
            result += wi * wj / total * wide[:, rows, columns]
    return result


def hue_turned(image: Real, shift: float) -> Real:
    """Hue moved by part of the circle; the standard library's conversions, pixel by pixel."""
    result = np.empty_like(image)
    for i in range(image.shape[1]):
        for j in range(image.shape[2]):
            hue, saturation, value = colorsys.rgb_to_hsv(*(image[:, i, j] / 255))
            result[:, i, j] = np.array(colorsys.hsv_to_rgb((hue + shift) % 1.0, saturation, value)) * 255
    return result


def jittered(image: Image, factors: list[float], shift: float, order: list[int]) -> Real:
    """Brightness (0), contrast (1), saturation (2) and hue (3) in the given order."""
    x = image.astype(np.float64)
    for kind in order:
        if kind == 0:
            x = np.clip(factors[0] * x, 0, 255)
        elif kind == 1:
            mean = grey(x).mean()
            x = np.clip(factors[1] * x + (1 - factors[1]) * mean, 0, 255)
        elif kind == 2:
            x = np.clip(factors[2] * x + (1 - factors[2]) * grey(x), 0, 255)
        elif len(x) == 3:
            x = hue_turned(x, shift)
    return x


def mixed(images: Real, partner: list[int], weight: list[float]) -> Real:
    """Each image averaged with its partner."""
    pairs = zip(images, partner, weight, strict=True)
    return np.stack([w * image + (1 - w) * images[other] for image, other, w in pairs])


def pictures(number: int, channels: int, height: int, width: int, seed: int = 0) -> Image:
    """(N, C, H, W) test images: noise and smooth ones by turns; the first has one level, the last two."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (number, channels, height, width), dtype=np.uint8)
    i, j = np.mgrid[0:height, 0:width]
    for n in range(1, number, 2):
        for c in range(channels):
            a, b, p = rng.uniform(-0.3, 0.3, 3)
            wave = 140 * np.sin(a * i + b * j + 20 * p) + rng.uniform(60, 200)
            images[n, c] = np.clip(wave, 0, 255).astype(np.uint8)
    images[0] = 7
    images[-1] = 100 + images[-1] % 2
    return images
