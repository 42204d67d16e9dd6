"""The operations applied to one picture at a time, as worker processes do: by torchvision where it has them.

Above about 100 pixels a side that is faster than the operations on whole batches (docs/data.md). The distributions are
the same, the draws are not: torchvision draws from torch's global generator, which whoever calls this has seeded for
the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from longtail.augment.color import ColorJitter, GaussianBlur, Grayscale
from longtail.augment.compose import Operation, apply, noise_for
from longtail.augment.geometry import HorizontalFlip, RandomCrop, RandomResizedCrop, Rotation
from longtail.augment.policy import AutoAugment, RandAugment
from longtail.augment.views import Views
from longtail.errors import InputError

Transform = Callable[[Tensor], Tensor]


def pipeline(operations: Sequence[Operation], *, side: int, fit: Transform) -> Transform:
    """Return what a pipeline makes of one picture of any size.

    Args:
        operations: any number of operations. A resized crop that comes first sees the whole picture; before any other
            the picture is brought to its final size.
        side: of the square that a picture becomes, in pixels.
        fit: scales a picture (C, H, W) uint8 and crops it around its centre to that square.

    Returns:
        A function of a picture (C, H, W) uint8 that gives (C, S, S) uint8, or (V, C, S, S) where the last operation
        makes views. It draws from torch's global generator.

    Raises:
        InputError: torchvision is not installed, or views that are not the last operation.

    Example:
        >>> from longtail.augment import HorizontalFlip, RandomResizedCrop
        >>> transform = pipeline((RandomResizedCrop(), HorizontalFlip()), side=32, fit=lambda picture: picture)
        >>> transform(torch.zeros(3, 40, 60, dtype=torch.uint8)).shape
        torch.Size([3, 32, 32])
    """
    if operations and isinstance(operations[-1], Views):
        views = operations[-1]
        inner = pipeline((*operations[:-1], *views.operations), side=side, fit=fit)
        return lambda picture: torch.stack([inner(picture) for _ in range(views.count)])
    if any(isinstance(operation, Views) for operation in operations):
        raise InputError("views must be the last operation of an augmentation")
    steps: list[Transform] = []
    if not operations or not isinstance(operations[0], RandomResizedCrop):
        steps.append(fit)
    for operation in operations:
        size = getattr(operation, "size", None) if isinstance(operation, RandomResizedCrop) else None
        side = size or side
        steps.append(_one(operation, side))

    def transform(picture: Tensor) -> Tensor:
        for step in steps:
            picture = step(picture)
        return picture

    return transform


def _one(operation: Operation, side: int) -> Transform:
    """The transform of torchvision for an operation, or the operation on a batch of one."""
    v2 = _transforms()
    made: Any = None
    match operation:
        case RandomCrop(padding=padding, fill=fill):
            made = v2.RandomCrop(side, padding=padding, fill=fill)
        case HorizontalFlip(probability=probability):
            made = v2.RandomHorizontalFlip(probability)
        case RandomResizedCrop(scale=scale, ratio=ratio):
            made = v2.RandomResizedCrop(side, scale=scale, ratio=ratio, antialias=True)
        case Rotation(degrees=degrees, fill=fill):
            made = v2.RandomRotation(degrees, fill=fill)
        case ColorJitter(brightness=b, contrast=c, saturation=s, hue=h, probability=probability):
            made = v2.RandomApply([v2.ColorJitter(b, c, s, h)], p=probability)
        case Grayscale(probability=probability):
            made = v2.RandomGrayscale(probability)
        case GaussianBlur(kernel=kernel, sigma=sigma):
            made = v2.GaussianBlur(kernel, sigma=sigma)
        case AutoAugment(fill=fill):
            made = v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10, fill=fill)
        case RandAugment(count=count, level=level, fill=fill):
            made = v2.RandAugment(count, level, fill=fill)
    if made is not None:
        return lambda picture: made(picture)
    return lambda picture: _alone(operation, picture)


def _alone(operation: Operation, picture: Tensor) -> Tensor:
    batch = picture[None]
    return apply((operation,), batch, noise_for((operation,), batch, generator=torch.default_generator))[0]


def _transforms() -> Any:
    try:
        from torchvision.transforms import v2
    except ImportError:
        raise InputError(
            "pictures that are read while training are augmented by torchvision: pip install 'longtail[vision]'"
        ) from None
    return v2
