"""The CIFAR residual networks: 20 to 56 layers at widths 16-32-64, and ResNet-18/34 with a stem for small images."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from longtail.errors import InputError
from longtail.models.heads import KAIMING_GAIN, HeadKind, classifier_of
from longtail.models.initial import materialise
from longtail.models.network import Backbone, Network, check_shape
from longtail.shapes import Float


def cifar_resnet(
    *,
    num_classes: int,
    channels: int,
    image_size: int,
    generator: torch.Generator,
    depth: int = 32,
    widths: tuple[int, ...] = (16, 32, 64),
    head: HeadKind = "linear",
    scale: float = 16.0,
) -> Network:
    """Return the residual network of the CIFAR experiments; "ResNet-32" in the long-tail literature is its default.

    Three stages of (depth - 2) / 6 blocks. Where the size halves, the shortcut has no parameters (option A: every
    second pixel, the missing channels zero). Convolutions and the linear head are Kaiming-normal. ResNet-32 with ten
    classes has 464,154 parameters and 68.9 million multiply-adds on 32x32 images.

    Args:
        num_classes: K.
        channels: C of the images.
        image_size: H = W of the images, in pixels; any size is possible.
        generator: gives the first weights.
        depth: 6 n + 2, such as 20, 32, 44 or 56.
        widths: channels of the three stages. Some repositories call 64-128-256 a "ResNet-32" as well; here it is named
            ``resnet32-64-128-256``.
        head: ``linear`` or ``cosine``.
        scale: factor s of the cosine head, above 0; a linear head does not read it.

    Returns:
        The network, on the generator's device: images (N, C, H, W) to features (N, D) and logits (N, K).

    Raises:
        InputError: a depth that is not 6 n + 2, or widths that are not three growing ones.

    Example:
        >>> network = cifar_resnet(
        ...     num_classes=10, channels=3, image_size=32, generator=torch.Generator().manual_seed(0), depth=20
        ... )
        >>> network.name, sum(weight.numel() for weight in network.parameters())
        ('resnet20', 269722)

    References:
        He et al., Deep Residual Learning for Image Recognition, CVPR 2016, Section 4.2.
    """
    if depth < 8 or (depth - 2) % 6:
        raise InputError(f"the depth of a CIFAR ResNet is 6 n + 2 (20, 32, 44, 56), not {depth}")
    if len(widths) != 3 or not 0 < widths[0] <= widths[1] <= widths[2]:
        raise InputError(f"a CIFAR ResNet has three widths that do not shrink, such as 16, 32, 64, not {widths}")
    check_shape(num_classes=num_classes, channels=channels, image_size=image_size)
    usual = tuple(widths) == (16, 32, 64)
    name = f"resnet{depth}" if usual else f"resnet{depth}-{'-'.join(map(str, widths))}"

    def construct() -> Network:
        stages = _stages(channels, widths, [(depth - 2) // 6] * 3, subsample=True)
        classifier = classifier_of(head, widths[-1], num_classes, scale=scale, gain=KAIMING_GAIN)
        return Network(Backbone(stages, widths[-1]), classifier, name)

    return materialise(construct, generator=generator)


def cifar_stem_resnet(
    *,
    num_classes: int,
    channels: int,
    image_size: int,
    generator: torch.Generator,
    depth: int = 18,
    head: HeadKind = "linear",
    scale: float = 16.0,
) -> Network:
    """Return ResNet-18 or ResNet-34 for small images: a 3x3 stem of stride 1 and no max-pool, 512 features.

    Where the size halves, the shortcut is a 1x1 convolution with batch norm (option B). ResNet-18 with ten classes has
    11,173,962 parameters.

    Args:
        num_classes: K.
        channels: C of the images.
        image_size: H = W of the images, in pixels; any size is possible.
        generator: gives the first weights.
        depth: 18 or 34.
        head: ``linear`` or ``cosine``.
        scale: factor s of the cosine head, above 0; a linear head does not read it.

    Returns:
        The network, on the generator's device: images (N, C, H, W) to features (N, D) and logits (N, K).

    Raises:
        InputError: another depth.

    Example:
        >>> network = cifar_stem_resnet(
        ...     num_classes=10, channels=3, image_size=32, generator=torch.Generator().manual_seed(0)
        ... )
        >>> network.name, sum(weight.numel() for weight in network.parameters())
        ('resnet18-cifar', 11173962)

    References:
        He et al., Deep Residual Learning for Image Recognition, CVPR 2016; the stem as in Chen et al., A Simple
        Framework for Contrastive Learning of Visual Representations, ICML 2020, Appendix B.9.
    """
    if depth not in _BLOCKS:
        raise InputError(f"a ResNet with the CIFAR stem has depth 18 or 34, not {depth}")
    check_shape(num_classes=num_classes, channels=channels, image_size=image_size)

    def construct() -> Network:
        stages = _stages(channels, (64, 128, 256, 512), _BLOCKS[depth], subsample=False)
        classifier = classifier_of(head, 512, num_classes, scale=scale)
        return Network(Backbone(stages, 512), classifier, f"resnet{depth}-cifar")

    return materialise(construct, generator=generator)


_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm, added to a shortcut."""

    def __init__(self, before: int, width: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = shortcut

    def forward(self, maps: Float[Tensor, "N D H W"]) -> Float[Tensor, "N E h w"]:
        """Feature maps with the block's width and stride."""
        inner = relu(self.norm1(self.conv1(maps)), inplace=True)
        return relu(self.norm2(self.conv2(inner)) + self.shortcut(maps), inplace=True)


class Subsample(nn.Module):
    """The shortcut without parameters (option A): every second pixel, and ``extra`` channels of zeros around."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.pad = (0, 0, 0, 0, extra // 2, extra - extra // 2)

    def forward(self, maps: Float[Tensor, "N D H W"]) -> Float[Tensor, "N E h w"]:
        """Maps of half the size."""
        return pad(maps[:, :, ::2, ::2], self.pad)


def _stages(
    channels: int, widths: tuple[int, ...], blocks: tuple[int, ...] | list[int], *, subsample: bool
) -> list[nn.Module]:
    """The stem, which is part of the first stage, and the blocks; every stage but the first halves the size."""
    stem = [nn.Conv2d(channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
    stages: list[nn.Module] = [nn.Sequential(*stem, *_row(widths[0], blocks[0]))]
    for (before, width), number in zip(itertools.pairwise(widths), blocks[1:], strict=True):
        shortcut = Subsample(width - before) if subsample else _projection(before, width)
        stages.append(nn.Sequential(Block(before, width, 2, shortcut), *_row(width, number - 1)))
    return stages


def _row(width: int, number: int) -> list[Block]:
    return [Block(width, width, 1, nn.Identity()) for _ in range(number)]


def _projection(before: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, width, 1, 2, bias=False), nn.BatchNorm2d(width))
