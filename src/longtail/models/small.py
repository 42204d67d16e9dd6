"""A small convolutional network for small images such as 8x8 digits: an epoch is a matter of milliseconds."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from longtail.errors import InputError
from longtail.models.heads import HeadKind, classifier_of
from longtail.models.initial import materialise
from longtail.models.network import Backbone, Network, check_shape


def small_conv_net(
    *,
    num_classes: int,
    channels: int,
    image_size: int,
    generator: torch.Generator,
    widths: tuple[int, ...] = (16, 32, 64),
    head: HeadKind = "linear",
    scale: float = 16.0,
) -> Network:
    """Return a 3x3 convolution with batch norm and ReLU per width; every one halves the size.

    Use it for tests and for digits: an epoch is a matter of milliseconds.

    Args:
        num_classes: K.
        channels: C of the images.
        image_size: H = W of the images, in pixels; any size is possible.
        generator: gives the first weights.
        widths: channels of the stages; the last is the number of features.
        head: ``linear`` or ``cosine``.
        scale: factor s of the cosine head, above 0; a linear head does not read it.

    Returns:
        The network, on the generator's device: images (N, C, H, W) to features (N, D) and logits (N, K).

    Raises:
        InputError: no widths, or one below 1.

    Example:
        >>> network = small_conv_net(
        ...     num_classes=10, channels=1, image_size=8, generator=torch.Generator().manual_seed(0)
        ... )
        >>> network(torch.zeros(2, 1, 8, 8)).logits.shape
        torch.Size([2, 10])
    """
    if not widths or min(widths) < 1:
        raise InputError(f"a small network has at least one width, none below 1, such as 16, 32, 64, not {widths}")
    check_shape(num_classes=num_classes, channels=channels, image_size=image_size)
    name = "small" if tuple(widths) == (16, 32, 64) else f"small-{'-'.join(map(str, widths))}"

    def construct() -> Network:
        stages = [_stage(before, width) for before, width in itertools.pairwise((channels, *widths))]
        return Network(Backbone(stages, widths[-1]), classifier_of(head, widths[-1], num_classes, scale=scale), name)

    return materialise(construct, generator=generator)


def _stage(before: int, width: int) -> nn.Module:
    convolution = nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
