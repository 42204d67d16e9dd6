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

    Its first weights, which ``materialise`` or ``reset`` draws, are normal with standard deviation ``gain / sqrt(D)``,
    and its bias is zero.

    Args:
        width: D, the number of features.
        num_classes: K.
        gain: sqrt(2) is Kaiming-normal, 1 / sqrt(3) has the variance of PyTorch's own initialisation.

    Example:
        >>> head = materialise(lambda: LinearHead(64, 10), generator=torch.Generator().manual_seed(0))
        >>> head(torch.zeros(2, 64)).shape
        torch.Size([2, 10])
    """

    def __init__(self, width: int, num_classes: int, *, gain: float = PYTORCH_GAIN) -> None:
        super().__init__(width, num_classes)
        self.gain = gain

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draw the weights anew and set the bias to zero, in place.

        Args:
            generator: the only source of randomness, on any device.
        """
        normal_(self.weight, self.gain / math.sqrt(self.in_features), generator)
        self.bias.zero_()


class CosineHead(nn.Module):
    r"""A cosine classifier: the logit of class c is ``scale`` times the cosine between the features and w_c.

    .. math:: s \, \frac{\langle z, w_c \rangle}{\lVert z \rVert \lVert w_c \rVert}

    It has no bias, and the norm of a class's weight, which grows with the class's frequency in a linear head, has no
    influence. Its first weights have norm 1 and uniformly distributed directions; ``materialise`` or ``reset`` draws
    them, and without either they are not set.

    Args:
        width: D, the number of features.
        num_classes: K.
        scale: s, above 0; 1 gives bare cosines, for a loss that scales by itself.

    Raises:
        InputError: a scale that is not above 0.

    Example:
        >>> head = materialise(lambda: CosineHead(64, 10, scale=16.0), generator=torch.Generator().manual_seed(0))
        >>> logits = head(torch.ones(2, 64))
        >>> logits.shape, bool(logits.abs().max() <= 16)
        (torch.Size([2, 10]), True)

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
        """Return the scaled cosines of the features with the K class weights.

        Args:
            features: (N, D), of any norm.

        Returns:
            (N, K) logits, from ``-scale`` to ``scale``.
        """
        return self.scale * linear(normalize(features), normalize(self.weight))

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draw the weights anew, in place: directions uniform on the sphere, norm 1.

        Args:
            generator: the only source of randomness, on any device.
        """
        normal_(self.weight, 1.0, generator)
        self.weight.copy_(normalize(self.weight))


def classifier_of(kind: str, width: int, num_classes: int, *, scale: float, gain: float = PYTORCH_GAIN) -> nn.Module:
    """Return the classifier that a model asks for; ``scale`` is read by the cosine head, ``gain`` by the linear.

    Args:
        kind: ``linear`` or ``cosine``.
        width: D, the number of features.
        num_classes: K.
        scale: factor s of the cosine head, above 0; a linear head does not read it.
        gain: first weights of the linear head have standard deviation ``gain / sqrt(D)``.

    Returns:
        A module from features (N, D) to logits (N, K). Make it inside ``materialise``, or call its ``reset``: that sets
        its first weights.

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

    Raises:
        InputError: a width below 1.

    Example:
        >>> projector = Projector(512, generator=torch.Generator().manual_seed(0))
        >>> projector(torch.ones(4, 512)).shape
        torch.Size([4, 128])

    References:
        Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020.
    """

    def __init__(self, width: int, *, hidden: int = 2048, out: int = 128, generator: torch.Generator) -> None:
        super().__init__()
        if min(hidden, out) < 1:
            raise InputError(f"a projector has hidden and out of at least 1, not {hidden} and {out}")
        self.layers = materialise(
            lambda: nn.Sequential(nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out)),
            generator=generator,
        )

    def forward(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N E"]:
        """Return the embeddings of a batch of features.

        Args:
            features: (N, D).

        Returns:
            (N, E), not normalised.
        """
        embeddings: Tensor = self.layers(features)
        return embeddings
