"""Objectives on images that are mixed with others of the batch: mixup, CutMix and Remix, around any loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from longtail.augment import cutmix, mixup
from longtail.augment.mixing import Mixed
from longtail.errors import InputError
from longtail.losses import cross_entropy
from longtail.recipes import text
from longtail.recipes.contract import Batch, Forward
from longtail.recipes.part import Part, part
from longtail.shapes import Float, Int

CE = part(cross_entropy)


class MixUp(nn.Module):
    r"""The loss on images averaged with others of their batch, of both labels by their shares.

    .. math:: \ell_i = w_i \, \ell(f(x_i'), y_i) + (1 - w_i) \, \ell(f(x_i'), y_{\pi(i)})

    Use it for a representation that is less sure of its head classes; in two-stage training, in the first stage.

    Args:
        generator: draws partners and weights.
        loss: on logits and one label each.
        alpha: parameter of the Beta distribution of the weights, positive.

    Raises:
        InputError: an alpha that is not positive.

    References:
        Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018, arXiv 1710.09412.
    """

    pictures = True

    def __init__(
        self, *, generator: torch.Generator, loss: text.Loss | Callable[..., Tensor] = CE, alpha: float = 1.0
    ) -> None:
        super().__init__()
        if not alpha > 0:
            raise InputError(f"alpha of the mixing weights must be positive, not {alpha}")
        self._loss: Any = loss.build() if isinstance(loss, Part) else loss
        self._generator, self._alpha = generator, alpha

    def _mixed(self, images: Tensor) -> Mixed:
        return mixup(images, alpha=self._alpha, generator=self._generator)

    def _weight(self, mixed: Mixed, target: Tensor) -> Tensor:
        """The share (N,) of each image's own label."""
        return mixed.weight

    def forward(self, model: Forward, batch: Batch) -> Tensor:
        """The losses (N,) of a batch."""
        if batch.images.ndim != 4:
            raise InputError("mixing takes one view of an image: give its stage another augmentation than two views")
        mixed = self._mixed(batch.images)
        logits = model(mixed.images.contiguous(memory_format=torch.channels_last)).logits
        weight = self._weight(mixed, batch.target)
        own: Tensor = self._loss(logits, batch.target)
        other: Tensor = self._loss(logits, batch.target[mixed.partner])
        return weight * own + (1.0 - weight) * other


class CutMix(MixUp):
    """The loss on images with a box of another one pasted in, of both labels by their shares of the pixels.

    Use it like :class:`MixUp`, for photographs in which a part shows the class.

    Args:
        generator: draws partners and boxes.
        loss: on logits and one label each.
        alpha: parameter of the Beta distribution of the boxes' areas, positive.

    Raises:
        InputError: an alpha that is not positive.

    References:
        Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features, ICCV 2019,
        arXiv 1905.04899.
    """

    def _mixed(self, images: Tensor) -> Mixed:
        return cutmix(images, alpha=self._alpha, generator=self._generator)


class Remix(MixUp):
    r"""mixup whose label goes to the rarer class where the frequent one is too frequent: rebalanced mixup.

    The images are mixed as in :class:`MixUp`; see :func:`rebalanced_share` for the labels. Use it where mixup helps the
    head and not the tail.

    Args:
        counts: training images of each class (K,).
        generator: draws partners and weights.
        loss: on logits and one label each.
        alpha: parameter of the Beta distribution of the weights, positive.
        kappa: so many times more frequent a class must be to lose its share, at least 1.
        threshold: an image's share below which it may lose its label, in [0, 1]; 0 is mixup.

    Raises:
        InputError: an option out of its range.

    References:
        Chou et al., Remix: Rebalanced Mixup, ECCV 2020 workshops, arXiv 2007.03943.
    """

    def __init__(
        self,
        *,
        counts: Tensor,
        generator: torch.Generator,
        loss: text.Loss | Callable[..., Tensor] = CE,
        alpha: float = 1.0,
        kappa: float = 3.0,
        threshold: float = 0.5,
    ) -> None:
        super().__init__(generator=generator, loss=loss, alpha=alpha)
        if not kappa >= 1 or not 0 <= threshold <= 1:
            raise InputError(f"kappa {kappa:g} must be at least 1 and threshold {threshold:g} in [0, 1]")
        self._counts, self._kappa, self._threshold = counts, kappa, threshold

    def _weight(self, mixed: Mixed, target: Tensor) -> Tensor:
        own = self._counts[target]
        return rebalanced_share(mixed.weight, own, own[mixed.partner], kappa=self._kappa, threshold=self._threshold)


def rebalanced_share(
    weight: Float[Tensor, " N"],
    own: Int[Tensor, " N"],
    other: Int[Tensor, " N"],
    *,
    kappa: float,
    threshold: float,
) -> Float[Tensor, " N"]:
    r"""Remix's share of each image's own label, from its share of the pixels and the counts of the two classes.

    .. math:: \lambda_y = \begin{cases}
        0 & n_i / n_j \ge \kappa \text{ and } \lambda < \tau \\
        1 & n_i / n_j \le 1 / \kappa \text{ and } 1 - \lambda < \tau \\
        \lambda & \text{otherwise} \end{cases}

    Args:
        weight: lambda (N,), the share of an image's own pixels.
        own: n_i (N,), training images of its class.
        other: n_j (N,), training images of its partner's class.
        kappa: how many times more frequent a class must be.
        threshold: tau.

    Returns:
        (N,) shares of the own label.

    Example:
        >>> weight, own, other = torch.tensor([0.4, 0.6, 0.6]), torch.tensor([90, 90, 5]), torch.tensor([5, 5, 90])
        >>> rebalanced_share(weight, own, other, kappa=3.0, threshold=0.5)
        tensor([0.0000, 0.6000, 1.0000])

    References:
        Chou et al., Remix: Rebalanced Mixup, ECCV 2020 workshops, arXiv 2007.03943, Eq. 8.
    """
    frequent = (own >= kappa * other) & (weight < threshold)
    rare = (kappa * own <= other) & (1.0 - weight < threshold)
    return torch.where(frequent, 0.0, torch.where(rare, 1.0, weight))
