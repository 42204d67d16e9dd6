"""What follows a backbone: a linear or a cosine classifier, or the projector of contrastive pre-training."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from longtail.errors import InputError, unknown
from longtail.models.initial import materialise, normal_
from longtail.shapes import Float

HeadKind = Literal["linear", "cosine"]

# A normal weight of this gain has the variance of PyTorch's own uniform one, 1 / (3 fan in).
PYTORCH_GAIN = 3**-0.5
KAIMING_GAIN = 2**0.5


class LinearHead(nn.Linear):
    """A linear classifier: logits = W z + b.

    Its first weights are normal with standard deviation ``gain / sqrt(D)`` and its bias is zero.

    Args:
        width: D, the number of features.
        num_classes: K.
        gain: sqrt(2) is Kaiming-normal, 1 / sqrt(3) has the variance of PyTorch's own initialisation.
    """

    def __init__(self, width: int, num_classes: int, *, gain: float = PYTORCH_GAIN) -> None:
        super().__init__(width, num_classes)
        self.gain = gain

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draws the weights anew, in place."""
        normal_(self.weight, self.gain / math.sqrt(self.in_features), generator)
        self.bias.zero_()


class CosineHead(nn.Module):
    r"""A cosine classifier: the logit of class c is ``scale`` times the cosine between the features and w_c.

    .. math:: s \, \frac{\langle z, w_c \rangle}{\lVert z \rVert \lVert w_c \rVert}

    It has no bias, and the norm of a class's weight, which grows with the class's frequency in a linear head, has no
    influence. Its first weights have norm 1 and uniformly distributed directions.

    Args:
        width: D, the number of features.
        num_classes: K.
        scale: s, above 0; 1 gives bare cosines, for a loss that scales by itself.

    Raises:
        InputError: a scale that is not above 0.

    References:
        Gidaris and Komodakis, Dynamic Few-Shot Visual Learning without Forgetting, CVPR 2018.
    """

    def __init__(self, width: int, num_classes: int, *, scale: float) -> None:
        super().__init__()
        if not scale > 0:
            raise InputError(f"the scale of a cosine head is above 0, not {scale}")
        self.weight = nn.Parameter(torch.empty(num_classes, width))
        self.scale = scale

    def forward(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Scaled cosines of features (N, D) with the K class weights."""
        return self.scale * linear(normalize(features), normalize(self.weight))

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draws the weights anew, in place."""
        normal_(self.weight, 1.0, generator)
        self.weight.copy_(normalize(self.weight))


def classifier_of(kind: str, width: int, num_classes: int, *, scale: float, gain: float = PYTORCH_GAIN) -> nn.Module:
    """Return the classifier that a model asks for; ``scale`` is read by the cosine head, ``gain`` by the linear.

    Raises:
        InputError: a kind that is neither ``linear`` nor ``cosine``, or a cosine head with a scale that is not above 0.

    Example:
        >>> classifier_of("cosine", 64, 10, scale=16.0).weight.shape
        torch.Size([10, 64])
    """
    if kind == "linear":
        return LinearHead(width, num_classes, gain=gain)
    if kind == "cosine":
        return CosineHead(width, num_classes, scale=scale)
    raise unknown("head", kind, ("linear", "cosine"))


class Projector(nn.Module):
    """The head of contrastive pre-training, dropped afterwards: linear, ReLU, linear.

    Its output is not normalised; contrastive losses take care of that.

    Args:
        width: D, the number of features it reads.
        hidden: width of the hidden layer.
        out: E, the dimension of the embedding.
        generator: gives the first weights.

    Example:
        >>> projector = Projector(512, generator=torch.Generator().manual_seed(0))
        >>> projector(torch.ones(4, 512)).shape
        torch.Size([4, 128])

    References:
        Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020.
    """

    def __init__(self, width: int, *, hidden: int = 2048, out: int = 128, generator: torch.Generator) -> None:
        super().__init__()
        self.layers = materialise(
            lambda: nn.Sequential(nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out)),
            generator=generator,
        )

    def forward(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N E"]:
        """Embeddings (N, E) of features (N, D)."""
        embeddings: Tensor = self.layers(features)
        return embeddings
