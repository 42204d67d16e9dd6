"""Augmentation of feature vectors: noise and dropout, of which contrastive methods on features make their two views."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.shapes import Float


@dataclass(frozen=True)
class FeatureNoise:
    r"""Add Gaussian noise to features, as large as a share of the vector's own root mean square.

    .. math:: z + \sigma \, \lVert z \rVert / \sqrt D \; \varepsilon, \qquad \varepsilon \sim N(0, I)

    Use it, alone or with ``FeatureDropout``, where images are not at hand any more.

    Args:
        scale: sigma, from 0.

    Raises:
        InputError: a scale below 0.

    Example:
        >>> FeatureNoise(0.0).apply(torch.ones(2, 3), torch.full((3, 2), 0.3)).tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    scale: float = 0.2

    features = True

    def __post_init__(self) -> None:
        if not self.scale >= 0:
            raise InputError(f"FeatureNoise: scale must be at least 0, not {self.scale}")

    @property
    def draws(self) -> int:
        """None by itself: see ``draws_for``."""
        return 0

    def draws_for(self, width: int) -> int:
        """Count the uniform numbers that it needs for a vector.

        Args:
            width: D, the number of features.

        Returns:
            D.
        """
        return width

    def apply(self, images: Float[Tensor, "N D"], noise: Float[Tensor, "D N"]) -> Float[Tensor, "N D"]:
        """Add the noise that the numbers say.

        Args:
            images: (N, D) features.
            noise: (D, N) in [0, 1).

        Returns:
            (N, D).
        """
        # Inside (0, 1), whose ends are infinitely far out.
        normal = torch.erfinv((2 * noise.T - 1).clamp(-1 + 2**-23, 1 - 2**-23)) * math.sqrt(2)
        size = images.square().mean(dim=1, keepdim=True).sqrt()
        return images + self.scale * size * normal


@dataclass(frozen=True)
class FeatureDropout:
    """Set features to 0 at random, and enlarge the others so that the mean stays.

    Args:
        probability: probability of a feature to be set to 0, from 0 to below 1.

    Raises:
        InputError: a probability outside [0, 1).

    Example:
        >>> FeatureDropout(0.5).apply(torch.ones(1, 2), torch.tensor([[0.2], [0.7]])).tolist()
        [[0.0, 2.0]]

    References:
        Gao, Yao and Chen, SimCSE, EMNLP 2021, for two views by dropout alone.
    """

    probability: float = 0.1

    features = True

    def __post_init__(self) -> None:
        if not 0 <= self.probability < 1:
            raise InputError(f"FeatureDropout: probability must be from 0 to below 1, not {self.probability}")

    @property
    def draws(self) -> int:
        """None by itself: see ``draws_for``."""
        return 0

    def draws_for(self, width: int) -> int:
        """Count the uniform numbers that it needs for a vector.

        Args:
            width: D, the number of features.

        Returns:
            D.
        """
        return width

    def apply(self, images: Float[Tensor, "N D"], noise: Float[Tensor, "D N"]) -> Float[Tensor, "N D"]:
        """Drop what the numbers say.

        Args:
            images: (N, D) features.
            noise: (D, N) in [0, 1).

        Returns:
            (N, D).
        """
        return images * (self.probability <= noise.T) / (1 - self.probability)
