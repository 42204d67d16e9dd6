"""A small convolutional network for small images such as 8x8 digits: an epoch is a matter of milliseconds."""

from __future__ import annotations

import dataclasses
import itertools

import torch
from torch import nn

from longtail.errors import InputError
from longtail.models.heads import HeadKind, head
from longtail.models.initial import materialise
from longtail.models.network import Backbone, Network, check_shape


@dataclasses.dataclass(frozen=True)
class SmallConvNet:
    """A 3x3 convolution with batch norm and ReLU per width; every one halves the size.

    Args:
        widths: channels of the stages; the last is the number of features.
        head: ``linear`` or ``cosine``.
        scale: of the cosine head; without meaning for a linear one.

    Raises:
        InputError: no widths, or one below 1.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    head: HeadKind = "linear"
    scale: float = 16.0

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise InputError(
                f"a small network has at least one width, none below 1, such as 16, 32, 64, not {self.widths}"
            )

    @property
    def name(self) -> str:
        """``small``, or with its widths where they are not the usual ones."""
        return "small" if self.widths == SmallConvNet.widths else f"small-{'-'.join(map(str, self.widths))}"

    def build(self, *, num_classes: int, channels: int, image_size: int, generator: torch.Generator) -> Network:
        """The network with its first weights drawn from ``generator``; any image size is possible."""
        check_shape(num_classes=num_classes, channels=channels, image_size=image_size)

        def construct() -> Network:
            pairs = itertools.pairwise((channels, *self.widths))
            stages = [_stage(before, width) for before, width in pairs]
            width = self.widths[-1]
            return Network(Backbone(stages, width), head(self.head, width, num_classes, scale=self.scale), self.name)

        return materialise(construct, generator=generator)


def _stage(before: int, width: int) -> nn.Module:
    convolution = nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
