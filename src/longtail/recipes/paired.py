"""Objectives on natural batches that are mixed with partners from rarer classes: CMO, and GLMC with its consistency.

Both take batches of 2 N images, the second half partners of the first (``longtail.samplers.Paired``), and give every
image of a batch the loss of its pair. Where a picture could not be read, the rest are paired.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from longtail import losses
from longtail.augment import paste_with
from longtail.augment.mixing import symmetric_beta
from longtail.augment.noise import uniform
from longtail.errors import InputError
from longtail.models import Projector
from longtail.recipes import text
from longtail.recipes.contract import Batch, Context, Forward
from longtail.recipes.part import Part, part

CE = part(losses.cross_entropy)


class Pasted(nn.Module):
    r"""The loss on images with a box of a rare class's image pasted in: context-rich minority oversampling (CMO).

    .. math:: \ell_i = \lambda_i \, \ell(f(x_i'), y_i) + (1 - \lambda_i) \, \ell(f(x_i'), \tilde y_i)

    where x' has a box of the partner :math:`\tilde x` with the share :math:`1 - \lambda` of the pixels, or is x itself,
    with :math:`\lambda = 1`, for the images on which the coin falls so. Use it where the tail has too few backgrounds.

    Args:
        generator: draws boxes and coins.
        loss: on logits and one label each.
        alpha: parameter of the Beta distribution of the share that is left, positive.
        probability: of an image being pasted into, in [0, 1]; 0 is the loss on natural batches.

    Raises:
        InputError: an alpha that is not positive, or a probability outside [0, 1].

    References:
        Park et al., *The Majority Can Help the Minority: Context-rich Minority Oversampling for Long-tailed
        Classification*, CVPR 2022, arXiv:2112.00412.
    """

    pictures = True
    whole = True

    def __init__(
        self,
        *,
        generator: torch.Generator,
        loss: text.Loss | Callable[..., Any] = CE,
        alpha: float = 1.0,
        probability: float = 0.5,
    ) -> None:
        super().__init__()
        if not alpha > 0 or not 0 <= probability <= 1:
            raise InputError(f"alpha {alpha:g} must be positive and probability {probability:g} in [0, 1]")
        self._loss: Any = loss.build() if isinstance(loss, Part) else loss
        self._generator, self._alpha, self._probability = generator, alpha, probability

    def forward(self, model: Forward, batch: Batch) -> Tensor:
        """The losses (2 N,) of a batch, those of the pairs twice."""
        (images, others), (own, other) = _halves(batch, "CMO", views=1)
        noise = uniform((5, len(own)), generator=self._generator, device=images.device)
        pasted, share = paste_with(images, others, noise[:4], alpha=self._alpha)
        chosen = noise[4] < self._probability
        mixed = torch.where(chosen[:, None, None, None], pasted, images)
        weight = torch.where(chosen, share, 1.0)
        features = model.features(mixed.contiguous(memory_format=torch.channels_last))
        logits = model.network.head(features)
        values: Tensor = weight * self._loss(logits, own) + (1.0 - weight) * self._loss(logits, other)
        return _of_all(values, len(batch.target))


class Consistent(nn.Module):
    r"""Mixup and CutMix of the same pairs, which must agree, under a loss that moves to the tail (GLMC).

    .. math:: \ell = a \, (\ell_g + \ell_l) + (1 - a) (\ell^w_g + \ell^w_l)
        - \gamma \, (\cos(u_g, z_l) + \cos(u_l, z_g)), \quad a = 1 - (t / T)^2

    with :math:`\ell_g` the cross-entropy of the image mixed as a whole (mixup) and of its soft label, :math:`\ell_l` of
    that with a box pasted in (CutMix), :math:`\ell^w` with each label weighted by :math:`n_c^{-r}` (mean 1 over the
    classes), z the projections, through which no gradient goes here, and u the predictions from them; t of T epochs.
    Use it for one-stage training from scratch with a long schedule.

    Args:
        counts: training images of each class (K,).
        widths: features of each level of the network; the projector reads the last.
        device: of the network.
        generator: draws weights and boxes.
        projector_generator: draws the first weights of projector and predictor.
        alpha: parameter of the Beta distributions, positive.
        power: r, of the label weights, at least 0.
        consistency: gamma, at least 0.
        hidden: width of the hidden layers of projector and predictor.
        out: dimension of the projections.

    Raises:
        InputError: an option out of its range.

    References:
        Du et al., *Global and Local Mixture Consistency Cumulative Learning for Long-tailed Visual Recognitions*, CVPR
        2023, arXiv:2305.08661.
    """

    representation = True
    pictures = True
    whole = True
    rebalanced: Tensor

    def __init__(
        self,
        *,
        counts: Tensor,
        widths: tuple[int, ...],
        device: torch.device,
        generator: torch.Generator,
        projector_generator: torch.Generator,
        alpha: float = 0.5,
        power: float = 1.2,
        consistency: float = 1.0,
        hidden: int = 256,
        out: int = 128,
    ) -> None:
        super().__init__()
        if not alpha > 0 or not power >= 0 or not consistency >= 0:
            raise InputError(
                f"alpha {alpha:g} must be positive, power {power:g} and consistency {consistency:g} not < 0"
            )
        self._generator, self._alpha, self._consistency = generator, alpha, consistency
        sizes = counts.double()
        weights = torch.where(counts > 0, sizes.clamp(min=1) ** -power, 0.0)
        self._weights = (weights * (counts > 0).sum() / weights.sum()).float().to(device)
        self.projector = Projector(widths[-1], hidden=hidden, out=out, generator=projector_generator).to(device)
        self.predictor = Projector(out, hidden=hidden, out=out, generator=projector_generator).to(device)
        self.register_buffer("rebalanced", torch.zeros((), device=device))  # 1 - a

    def start_epoch(self, context: Context) -> None:
        """Move the weight of the loss towards the re-weighted one."""
        self.rebalanced.fill_((context.epoch / context.epochs) ** 2)

    def forward(self, model: Forward, batch: Batch) -> Tensor:
        """The losses (2 N,) of a batch, those of the pairs twice."""
        halves, (own, other) = _halves(batch, "GLMC", views=2)
        (whole, whole_partner), (local, local_partner) = halves[:2], halves[-2:]
        noise = uniform((6, len(own)), generator=self._generator, device=whole.device)
        share = symmetric_beta(noise[:2], self._alpha)
        blended = torch.lerp(whole_partner, whole, share[:, None, None, None].to(whole.dtype))
        pasted, left = paste_with(local, local_partner, noise[2:], alpha=self._alpha)
        images = torch.cat([blended, pasted]).contiguous(memory_format=torch.channels_last)
        features = model.features(images)
        scores = functional.log_softmax(model.network.head(features).float(), dim=1)
        weight = torch.cat([share, left])
        first, second = own.repeat(2), other.repeat(2)
        plain, rebalanced = (
            weight * held[first] * -scores.gather(1, first[:, None])[:, 0]
            + (1.0 - weight) * held[second] * -scores.gather(1, second[:, None])[:, 0]
            for held in (torch.ones_like(self._weights), self._weights)
        )
        values = torch.lerp(plain, rebalanced, self.rebalanced).view(2, -1).sum(dim=0)
        if self._consistency:
            projected = self.projector(features)
            predicted = self.predictor(projected).float()
            targets = projected.detach().float().view(2, len(own), -1).flip(0).flatten(0, 1)
            agreement = functional.cosine_similarity(predicted, targets, dim=1).view(2, -1).sum(dim=0)
            values = values - self._consistency * agreement
        return _of_all(values, len(batch.target))


def _halves(batch: Batch, name: str, *, views: int) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
    """Images and partners of each view, view by view, and their labels (N,)."""
    images, target = batch.images, batch.target
    if images.ndim == 2:
        raise InputError(f"{name} mixes pictures, and these are features: use a loss or a sampler instead")
    shown = images[None] if images.ndim == 4 else images
    if len(shown) > views:
        raise InputError(f"{name} takes {views} view{'s' * (views > 1)} of an image at most, not {len(shown)}")
    half = len(target) // 2
    parts = [part_of for view in shown for part_of in (view[:half], view[half : 2 * half])]
    return parts, (target[:half], target[half : 2 * half])


def _of_all(values: Tensor, number: int) -> Tensor:
    """The losses of pairs as those of the images of a batch, of which one may have lost its partner."""
    return torch.cat([values, values, values.mean().expand(number - 2 * len(values))])
