"""A network is a backbone and a head; what it is made of and costs is its identity."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from longtail.errors import InputError
from longtail.shapes import Float, Shaped


class Output(NamedTuple):
    """What a network says of a batch: features (N, D), which the head reads, and logits (N, K)."""

    features: Tensor
    logits: Tensor


@dataclasses.dataclass(frozen=True)
class Inputs:
    """How pictures become what a network takes, where the network and not the data decides it.

    Args:
        size: side in pixels to which a picture of another size is brought.
        interpolation: by which it is.
        mean: C means, one for each channel, of pixels scaled to [0, 1]; None for those of the data.
        std: C standard deviations, likewise.

    Example:
        >>> Inputs(size=224).interpolation
        'bicubic'
    """

    size: int
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def pool(maps: Shaped[Tensor, "N D *positions"]) -> Shaped[Tensor, "N D"]:
    """Means over the pixels of feature maps (N, D, H, W); features (N, D) stay as they are."""
    return maps if maps.ndim == 2 else maps.mean(dim=(2, 3))


class Backbone(nn.Module):
    """Stages in a row; the features are the pooled output of the last.

    Args:
        stages: modules from images or feature maps to feature maps (N, D_l, H_l, W_l), or to features (N, D_l).
        width: D, the number of features.

    Example:
        >>> backbone = Backbone([nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 3)], 8)
        >>> images = torch.zeros(2, 1, 8, 8)
        >>> backbone(images).shape
        torch.Size([2, 8])
        >>> [tuple(pooled.shape) for pooled in backbone.pyramid(images)]
        [(2, 4), (2, 8)]
    """

    width: int

    def __init__(self, stages: Iterable[nn.Module], width: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.width = width

    def forward(self, images: Float[Tensor, " N *one"]) -> Float[Tensor, "N D"]:
        """Return the features of a batch of images.

        Args:
            images: (N, C, H, W), normalised; or features (N, D).

        Returns:
            (N, D), the pooled output of the last stage.
        """
        maps = images
        for stage in self.stages:
            maps = stage(maps)
        return pool(maps)

    def pyramid(self, images: Float[Tensor, " N *one"]) -> tuple[Tensor, ...]:
        """Return the pooled output of every stage, such as for a method that compares features of several depths.

        Args:
            images: (N, C, H, W), normalised; or features (N, D).

        Returns:
            One tensor (N, D_l) for each stage, first to last; the last are the features.
        """
        maps, pooled = images, []
        for stage in self.stages:
            maps = stage(maps)
            pooled.append(pool(maps))
        return tuple(pooled)


class Network(nn.Module):
    """A backbone and the head that reads its features.

    Args:
        backbone: module from images (N, C, H, W) to features (N, D).
        head: module from features (N, D) to logits (N, K).
        name: what records call it.
        inputs: size and statistics of the pictures that it takes; None for those of the data.
        fixed: names of the backbone's parameters that no stage moves, such as pre-trained ones under adapters. A
            backbone that has some stays in eval mode.
        notes: what a reader of a run must know of it, such as where its weights come from.

    Example:
        >>> from longtail.models import cifar_resnet
        >>> network = cifar_resnet(
        ...     num_classes=10, channels=3, image_size=32, generator=torch.Generator().manual_seed(0)
        ... )
        >>> output = network(torch.zeros(2, 3, 32, 32))
        >>> output.features.shape, output.logits.shape
        (torch.Size([2, 64]), torch.Size([2, 10]))
    """

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        name: str,
        *,
        inputs: Inputs | None = None,
        fixed: Iterable[str] = (),
        notes: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.name = name
        self.inputs = inputs
        self.fixed = frozenset(fixed)
        self.notes = tuple(notes)

    def forward(self, images: Float[Tensor, " N *one"]) -> Output:
        """Return the features and the logits of a batch of images.

        Args:
            images: (N, C, H, W), normalised; or features (N, D).

        Returns:
            ``features`` (N, D) and ``logits`` (N, K).
        """
        features = self.backbone(images)
        return Output(features, self.head(features))

    def pyramid(self, images: Float[Tensor, " N *one"]) -> tuple[Tensor, ...]:
        """Return the pooled output of every stage of the backbone.

        Args:
            images: (N, C, H, W), normalised; or features (N, D).

        Returns:
            One tensor (N, D_l) for each stage, first to last; the last are the features, which ``head`` reads.
        """
        return self.backbone.pyramid(images)


def identity(network: Network, *, channels: int, image_size: int) -> dict[str, Any]:
    """Name, size and cost of a network, so that two results are only compared if they came from the same one.

    Multiply-adds are those of convolutions and matrix products for one image, half of the floating point operations
    that PyTorch's counter finds. The network is run on shapes alone: neither its weights nor its batch statistics
    change, and no arithmetic is done.

    Args:
        network: any network of ours, on any device.
        channels: C of the images.
        image_size: H = W of the images, in pixels; a network with ``inputs`` of its own is measured at their size. It
            is 0 for features, whose number is ``channels``.

    Returns:
        ``name``, ``parameters``, ``multiply_adds`` (per image) and ``widths`` (the D_l of its stages), JSON-ready.

    Example:
        >>> from longtail.models import cifar_resnet
        >>> network = cifar_resnet(
        ...     num_classes=10, channels=3, image_size=32, generator=torch.Generator().manual_seed(0)
        ... )
        >>> identity(network, channels=3, image_size=32)
        {'name': 'resnet32', 'parameters': 464154, 'multiply_adds': 68862592, 'widths': [16, 32, 64]}
    """
    profile = _Profile(network)
    tensors = {**dict(profile.named_parameters()), **dict(profile.named_buffers())}
    shapes = {name: tensor.detach().to("meta") for name, tensor in tensors.items()}
    # Two images, because batch norm in training mode refuses a single value per channel.
    side = image_size if network.inputs is None else network.inputs.size
    images = torch.empty(2, *shape_of(channels, side), device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        pooled = functional_call(profile, shapes, (images,))
    return {
        "name": network.name,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "multiply_adds": counter.get_total_flops() // (2 * len(images)),
        "widths": [features.shape[1] for features in pooled],
    }


class _Profile(nn.Module):
    """Runs every part of a network once and returns the pooled stages."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pooled = self.network.pyramid(images)
        self.network.head(pooled[-1])
        return pooled


def shape_of(channels: int, image_size: int) -> tuple[int, ...]:
    """Return the shape of one input: (C, H, W) of an image, (D,) of features.

    Args:
        channels: C, or the number of features.
        image_size: H = W in pixels; 0 for features.

    Returns:
        The shape without the batch.

    Example:
        >>> shape_of(3, 32), shape_of(1280, 0)
        ((3, 32, 32), (1280,))
    """
    return (channels, image_size, image_size) if image_size else (channels,)


def sides_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return channels and image size of the shape of one input: the inverse of ``shape_of``.

    Args:
        shape: (C, H, W) of an image or (D,) of features.

    Returns:
        C and H, or D and 0.

    Example:
        >>> sides_of((3, 32, 32)), sides_of((1280,))
        ((3, 32), (1280, 0))
    """
    return int(shape[0]), int(shape[1]) if len(shape) == 3 else 0


def check_shape(*, num_classes: int, channels: int, image_size: int) -> None:
    """Refuses what no network on images can be built for.

    Raises:
        InputError: a number of classes, channels or pixels below 1, or features instead of images.
    """
    if image_size == 0 and num_classes > 0 and channels > 0:
        raise InputError("this network is for images, and the data set holds features: use linear, mlp or projected")
    for name, value in (("num_classes", num_classes), ("channels", channels), ("image_size", image_size)):
        if value < 1:
            raise InputError(f"a network needs {name} of at least 1, not {value}")
