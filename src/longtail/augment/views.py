"""Several views of the same images, for contrastive learning."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from longtail.augment.color import ColorJitter, GaussianBlur, Grayscale
from longtail.augment.compose import Operation, apply, compose, draws_of
from longtail.augment.geometry import HorizontalFlip, RandomResizedCrop
from longtail.errors import InputError
from longtail.shapes import Float, Shaped


@dataclass(frozen=True)
class Views:
    """Independent draws of a pipeline for the same images.

    Args:
        operations: the pipeline.
        count: V, how many views.

    Raises:
        InputError: fewer than one view.

    Example:
        >>> images = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
        >>> Views((HorizontalFlip(),), count=2)(images, generator=torch.Generator()).shape
        torch.Size([2, 8, 3, 32, 32])
    """

    operations: tuple[Operation, ...]
    count: int = 2

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"Views: there must be at least 1 view, not {self.count}")

    @property
    def draws(self) -> int:
        """Number of uniform numbers that it needs for an image, for all its views."""
        return self.count * sum(operation.draws for operation in self.operations)

    @property
    def features(self) -> bool:
        """Whether it takes features: all its operations do."""
        return all(getattr(operation, "features", False) for operation in self.operations)

    def draws_for(self, width: int) -> int:
        """Count the uniform numbers that it needs for a vector of features, for all its views.

        Args:
            width: D, the number of features.

        Returns:
            The number.
        """
        one = torch.empty(1, width, device="meta")
        return self.count * sum(draws_of(operation, one) for operation in self.operations)

    def apply(self, images: Shaped[Tensor, " N *one"], noise: Float[Tensor, "R N"]) -> Shaped[Tensor, " V N *new"]:
        """Make the views that the numbers say."""
        return torch.stack([apply(self.operations, images, own) for own in noise.chunk(self.count)])

    def __call__(self, images: Shaped[Tensor, " ..."], *, generator: torch.Generator) -> Shaped[Tensor, " V N *new"]:
        """The views (V, N, C, H, W) of the images (N, C, H, W) uint8."""
        return compose((self,), images, generator=generator)


def simclr(size: int | None = None, count: int = 2) -> Views:
    """The views that BNS is pre-trained on: SimCLR's augmentation with strong colours.

    Resized crop, flip, colour jitter of strength 1.6 / 1.6 / 1.6 / 0.4 with probability 0.8, greyness with 0.2, a
    3 x 3 blur. BNS feeds them to the network in [0, 1], without mean and deviation.

    Args:
        size: side of the views in pixels; that of the images by default.
        count: V, how many views.

    Returns:
        The operation that makes the views.

    Example:
        >>> simclr().operations[-1]
        GaussianBlur(kernel=3, sigma=(0.1, 2.0))

    References:
        Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020; parameters from
        Lin and Yuan, Long-Tailed Recognition via Information-Preservable Two-Stage Learning, NeurIPS 2025.
    """
    return Views(
        (
            RandomResizedCrop(size=size),
            HorizontalFlip(),
            ColorJitter(brightness=1.6, contrast=1.6, saturation=1.6, hue=0.4, probability=0.8),
            Grayscale(probability=0.2),
            GaussianBlur(kernel=3, sigma=(0.1, 2.0)),
        ),
        count=count,
    )
