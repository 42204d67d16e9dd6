"""Networks on features: a head alone, a head on a small projection, and a multi-layer perceptron."""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn

from longtail.errors import InputError
from longtail.models.heads import HeadKind, classifier_of
from longtail.models.initial import materialise
from longtail.models.network import Backbone, Network, shape_of


def linear(
    *,
    num_classes: int,
    channels: int,
    image_size: int,
    generator: torch.Generator,
    head: HeadKind = "linear",
    scale: float = 16.0,
) -> Network:
    """Return a classifier on the features of the data set as they are: nothing lies below the head.

    Use it for the features of a frozen network (``features:PATH``), where it is what a linear probe trains; on images
    it reads the pixels.

    Args:
        num_classes: K.
        channels: D, the number of features; C of images.
        image_size: 0 for features; H = W of images, in pixels.
        generator: gives the first weights.
        head: ``linear`` or ``cosine``.
        scale: factor s of the cosine head, above 0; a linear head does not read it.

    Returns:
        The network, on the generator's device: inputs to features (N, D) and logits (N, K).

    Example:
        >>> network = linear(
        ...     num_classes=10, channels=1280, image_size=0, generator=torch.Generator().manual_seed(0), head="cosine"
        ... )
        >>> network(torch.ones(2, 1280)).logits.shape
        torch.Size([2, 10])
    """
    width = _width(num_classes, channels, image_size)

    def construct() -> Network:
        return Network(Backbone([nn.Flatten()], width), classifier_of(head, width, num_classes, scale=scale), "linear")

    return materialise(construct, generator=generator)


def projected(
    *,
    num_classes: int,
    channels: int,
    image_size: int,
    generator: torch.Generator,
    width: int = 64,
    head: HeadKind = "linear",
    scale: float = 16.0,
) -> Network:
    """Return a linear projection to a small representation, and a head on it.

    Use it where a method trains a representation and not only a classifier: DRO-LT's centroids, contrastive losses.

    Args:
        num_classes: K.
        channels: D, the number of features; C of images.
        image_size: 0 for features; H = W of images, in pixels.
        generator: gives the first weights.
        width: E, the dimension of the representation.
        head: ``linear`` or ``cosine``.
        scale: factor s of the cosine head, above 0; a linear head does not read it.

    Returns:
        The network, on the generator's device: inputs to features (N, E) and logits (N, K).

    Raises:
        InputError: a width below 1.

    Example:
        >>> network = projected(
        ...     num_classes=10, channels=1280, image_size=0, generator=torch.Generator().manual_seed(0), width=64
        ... )
        >>> network(torch.ones(2, 1280)).features.shape
        torch.Size([2, 64])
    """
    if width < 1:
        raise InputError(f"a projection has a width of at least 1, not {width}")
    inputs = _width(num_classes, channels, image_size)

    def construct() -> Network:
        stage = nn.Sequential(nn.Flatten(), nn.Linear(inputs, width, bias=False))
        return Network(
            Backbone([stage], width), classifier_of(head, width, num_classes, scale=scale), f"projected-{width}"
        )

    return materialise(construct, generator=generator)


def mlp(
    *,
    num_classes: int,
    channels: int,
    image_size: int,
    generator: torch.Generator,
    widths: tuple[int, ...] = (256,),
    head: HeadKind = "linear",
    scale: float = 16.0,
) -> Network:
    """Return a small multi-layer perceptron: a linear layer, batch norm and ReLU for each width.

    Use it for tables of numbers, and for features where a head alone is not enough.

    Args:
        num_classes: K.
        channels: D, the number of features; C of images.
        image_size: 0 for features; H = W of images, in pixels.
        generator: gives the first weights.
        widths: sizes of the hidden layers; the last is the number of features.
        head: ``linear`` or ``cosine``.
        scale: factor s of the cosine head, above 0; a linear head does not read it.

    Returns:
        The network, on the generator's device: inputs to features (N, E) and logits (N, K).

    Raises:
        InputError: no widths, or one below 1.

    Example:
        >>> network = mlp(num_classes=7, channels=54, image_size=0, generator=torch.Generator().manual_seed(0))
        >>> [pooled.shape[1] for pooled in network.pyramid(torch.ones(2, 54))]
        [256]
    """
    if not widths or min(widths) < 1:
        raise InputError(f"a perceptron has at least one hidden layer, none narrower than 1, such as 256, not {widths}")
    inputs = _width(num_classes, channels, image_size)

    def construct() -> Network:
        stages = [_layer(before, width) for before, width in itertools.pairwise((inputs, *widths))]
        stages[0] = nn.Sequential(nn.Flatten(), *stages[0])
        name = f"mlp-{'-'.join(map(str, widths))}"
        return Network(Backbone(stages, widths[-1]), classifier_of(head, widths[-1], num_classes, scale=scale), name)

    return materialise(construct, generator=generator)


def _layer(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(before, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True))


def _width(num_classes: int, channels: int, image_size: int) -> int:
    """The numbers of one input."""
    if num_classes < 1 or channels < 1 or image_size < 0:
        raise InputError(f"a network needs classes and features, not {num_classes} and {channels}")
    return math.prod(shape_of(channels, image_size))
