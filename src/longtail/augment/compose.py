"""A pipeline is a tuple of operations: one draw for all of them, then one pure function after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from longtail.augment.noise import uniform
from longtail.errors import InputError
from longtail.shapes import Float, Shaped


@runtime_checkable
class Operation(Protocol):
    """What ``compose`` needs of an operation; anything with these two is one."""

    @property
    def draws(self) -> int:
        """How many uniform numbers it needs for an image."""
        ...

    def apply(self, images: Tensor, noise: Tensor) -> Tensor:
        """The images (N, C, H, W) uint8, changed as the numbers (``draws``, N) in [0, 1) say."""
        ...


def compose(
    operations: Sequence[Operation],
    images: Shaped[Tensor, " ..."],
    *,
    generator: torch.Generator,
    places: Sequence[slice] | None = None,
    total: int = 0,
) -> Shaped[Tensor, " ..."]:
    """Apply all operations to the images of a batch, in order.

    Nothing waits for the device, no shape depends on a value, and every image has its own random parameters.

    Args:
        operations: any number of operations.
        images: (N, C, H, W) uint8, 1 or 3 channels, values 0 to 255; or features (N, D).
        generator: random generator on the device of ``images``.
        places: where these images stand in a batch that is divided; None where they are the batch. The numbers are
            drawn for all of it, so that an image gets the same ones whichever process has it.
        total: images of that batch.

    Returns:
        uint8 images, or features, of the shape that the last operation gives.

    Raises:
        InputError: images of another type or number of axes, or a generator on another device.

    Example:
        >>> from longtail.augment import HorizontalFlip, RandomCrop
        >>> images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
        >>> compose((RandomCrop(padding=4), HorizontalFlip()), images, generator=torch.Generator()).shape
        torch.Size([8, 3, 32, 32])
    """
    batch = images if places is None else images[:1].expand(total, *images.shape[1:])
    if images.ndim == 2 and images.is_floating_point():
        for operation in operations:
            if not getattr(operation, "features", False):
                raise InputError(
                    f"{type(operation).__name__} is for images, and these are features: --augmentation none, "
                    "feature-noise or feature-dropout"
                )
        return apply(operations, images, _own(noise_for(operations, batch, generator=generator), places))
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise InputError(
            f"augmentation takes uint8 images (N, C, H, W), not {images.dtype} of shape {tuple(images.shape)}"
        )
    return apply(operations, images, _own(noise_for(operations, batch, generator=generator), places))


def _own(noise: Float[Tensor, "R N"], places: Sequence[slice] | None) -> Float[Tensor, "R n"]:
    return noise if places is None else torch.cat([noise[:, place] for place in places], dim=1)


def noise_for(
    operations: Sequence[Operation], images: Shaped[Tensor, " N *one"], *, generator: torch.Generator
) -> Float[Tensor, "R N"]:
    """Draw all the random numbers that the operations need for these images, at once.

    Use it with :func:`apply` when the draw must stay outside a compiled step.

    Args:
        operations: any number of operations.
        images: (N, C, H, W); only their number and device matter.
        generator: random generator on the device of ``images``.

    Returns:
        (R, N) in [0, 1), R being the sum of the operations' ``draws``.

    Example:
        >>> from longtail.augment import HorizontalFlip, RandomCrop
        >>> images = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
        >>> noise_for((RandomCrop(), HorizontalFlip()), images, generator=torch.Generator()).shape
        torch.Size([3, 8])
    """
    shape = (sum(draws_of(operation, images) for operation in operations), len(images))
    return uniform(shape, generator=generator, device=images.device)


def apply(
    operations: Sequence[Operation], images: Shaped[Tensor, " N *one"], noise: Float[Tensor, "R N"]
) -> Shaped[Tensor, " ..."]:
    """Apply operations as ``compose`` does, with the random numbers given: a pure function, taken by ``torch.compile``.

    Args:
        operations: any number of operations.
        images: (N, C, H, W) uint8.
        noise: (R, N) from ``noise_for``.

    Returns:
        uint8 images of the shape that the last operation gives.

    Example:
        >>> from longtail.augment import HorizontalFlip
        >>> images = torch.tensor([1, 2, 3], dtype=torch.uint8).view(1, 1, 1, 3)
        >>> apply((HorizontalFlip(),), images, torch.zeros(1, 1)).flatten()
        tensor([3, 2, 1], dtype=torch.uint8)
    """
    first = 0
    for operation in operations:
        draws = draws_of(operation, images)
        images = operation.apply(images, noise[first : first + draws])
        first += draws
    return images


def draws_of(operation: Operation, images: Shaped[Tensor, " N *one"]) -> int:
    """Count the uniform numbers that an operation needs for one image, or for one vector of features.

    Args:
        operation: any operation.
        images: (N, C, H, W), or features (N, D), whose number an operation on features asks for.

    Returns:
        The number.

    Example:
        >>> from longtail.augment import FeatureNoise, HorizontalFlip
        >>> draws_of(HorizontalFlip(), torch.zeros(2, 3, 8, 8)), draws_of(FeatureNoise(), torch.zeros(2, 64))
        (1, 64)
    """
    asked = getattr(operation, "draws_for", None)
    return operation.draws if asked is None or images.ndim != 2 else int(asked(images.shape[-1]))
