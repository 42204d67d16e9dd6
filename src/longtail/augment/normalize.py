"""From bytes, or features, to what a network takes."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.augment.noise import constant
from longtail.errors import InputError
from longtail.shapes import Float, UInt8


def normalize(
    images: UInt8[Tensor, "*batch C H W"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Tensor, "*batch C H W"]:
    r"""Levels scaled to [0, 1], less the mean, over the standard deviation, in two passes.

    .. math:: \frac{x / 255 - \mu_c}{\sigma_c}

    Args:
        images: (..., C, H, W) uint8, views in front or not.
        mean: mean of each channel, in [0, 1].
        std: standard deviation of each channel, in the same unit; positive.

    Returns:
        float32 of the same shape.

    Raises:
        InputError: as many means and deviations as channels are needed, and deviations must be positive.

    Example:
        >>> normalize(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8), (0.5,), (0.25,)).item()
        2.0
    """
    channels = images.shape[-3]
    if not len(mean) == len(std) == channels:
        raise InputError(
            f"images of {channels} channels need that many means and deviations, not {len(mean)}, {len(std)}"
        )
    if min(std) <= 0:
        raise InputError(f"the standard deviations of the channels must be positive, not {std}")
    scale = constant(tuple(1.0 / (255.0 * s) for s in std), images.device)[:, None, None]
    shift = constant(tuple(m / s for m, s in zip(mean, std, strict=True)), images.device)[:, None, None]
    return images.to(torch.float32).mul_(scale).sub_(shift)


def standardise(
    features: Float[Tensor, "*batch D"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Tensor, "*batch D"]:
    """Features less their mean, over their standard deviation; as they are where there is neither.

    Args:
        features: (..., D).
        mean: mean of each feature, or none.
        std: standard deviation of each, likewise; positive.

    Returns:
        Features of the same shape.

    Raises:
        InputError: as many means and deviations as features are needed.

    Example:
        >>> standardise(torch.tensor([[3.0, 5.0]]), (1.0, 5.0), (2.0, 1.0))
        tensor([[1., 0.]])
    """
    if not mean and not std:
        return features
    if not len(mean) == len(std) == features.shape[-1]:
        raise InputError(
            f"{features.shape[-1]} features need that many means and deviations, not {len(mean)}, {len(std)}"
        )
    values: Tensor = (features - constant(mean, features.device)) / constant(std, features.device)
    return values
