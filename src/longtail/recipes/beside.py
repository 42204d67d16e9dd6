"""Contrastive learning beside classification, in one stage: BCL and ProCo.

Both take two or more views of every image. The first is classified, the last two are compared; with two views the first
serves both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from longtail import losses
from longtail.errors import InputError
from longtail.losses.similarity import products
from longtail.models import Projector
from longtail.recipes import text
from longtail.recipes.contract import Batch, Context, Forward
from longtail.recipes.part import Part, part

ADJUSTED = part(losses.logit_adjusted_cross_entropy)


class Beside(nn.Module):
    r"""Classification and supervised contrastive learning in one stage, and what the two others share with it.

    .. math:: \ell_i = \ell^{LA}_i + \mu \, \ell^{sup}_i

    Args:
        widths: features of each level of the network; the projector reads the last.
        device: of the network.
        projector_generator: draws the projector's first weights.
        loss: of the classifier, on logits and labels.
        contrast: mu, weight of the contrastive term, at least 0.
        temperature: tau, above 0.
        hidden: width of the projector's hidden layer.
        out: dimension of the embedding.

    Raises:
        InputError: a negative weight.
    """

    representation = True

    def __init__(
        self,
        *,
        widths: tuple[int, ...],
        device: torch.device,
        projector_generator: torch.Generator,
        loss: Any,
        contrast: float,
        temperature: float,
        hidden: int,
        out: int,
    ) -> None:
        super().__init__()
        if not contrast >= 0:
            raise InputError(f"contrast {contrast:g}: the weight of the contrastive term is at least 0")
        self._loss: Any = loss.build() if isinstance(loss, Part) else loss
        self._contrast, self._temperature = contrast, temperature
        self.projector = Projector(widths[-1], hidden=hidden, out=out, generator=projector_generator).to(device)

    def forward(self, model: Forward, batch: Batch) -> Tensor:
        """The losses (N,) of a batch."""
        if batch.images.ndim not in (3, 5) or len(batch.images) < 2:
            raise InputError(
                "this method compares two views of an image: give its stage the augmentation views or simclr"
            )
        number = len(batch.target)
        images = batch.images.flatten(0, 1)
        if images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        features = model.features(images)
        model.logits = model.network.head(features[:number])
        values: Tensor = self._loss(model.logits, batch.target)
        if not self._contrast:
            return values
        queries, keys = self.projector(features[-2 * number :]).float().chunk(2)
        return values + self._contrast * self.compared(model, queries, keys, batch)

    def compared(self, model: Forward, queries: Tensor, keys: Tensor, batch: Batch) -> Tensor:
        """The contrastive losses (N,) of the embeddings of two views."""
        return losses.supervised_contrastive(queries, keys, batch.target, temperature=self._temperature)


class ClassAveraged(Beside):
    r"""Classification, and the balanced contrastive loss with prototypes from the classifier's weights (BCL).

    .. math:: \ell_i = \ell^{LA}_i + \mu \, \ell^{BCL}_i

    with :func:`longtail.losses.class_averaged_contrastive`; the prototype of a class is a second projector's output for
    the classifier's weights of it, so every class is in every batch. Use it from scratch with strong augmentation.

    Args:
        widths: features of each level of the network; the projectors read the last.
        device: of the network.
        projector_generator: draws the projectors' first weights.
        loss: of the classifier.
        contrast: mu.
        temperature: tau, above 0.
        hidden: width of the projectors' hidden layers.
        out: dimension of the embedding.

    Raises:
        InputError: a negative weight, or a head without weights (K, D).

    References:
        Zhu et al., *Balanced Contrastive Learning for Long-Tailed Visual Recognition*, CVPR 2022, arXiv:2207.09052.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...],
        device: torch.device,
        projector_generator: torch.Generator,
        loss: text.Loss | Callable[..., Any] = ADJUSTED,
        contrast: float = 0.35,
        temperature: float = 0.1,
        hidden: int = 512,
        out: int = 128,
    ) -> None:
        super().__init__(
            widths=widths,
            device=device,
            projector_generator=projector_generator,
            loss=loss,
            contrast=contrast,
            temperature=temperature,
            hidden=hidden,
            out=out,
        )
        self.prototypes = Projector(widths[-1], hidden=hidden, out=out, generator=projector_generator).to(device)

    def compared(self, model: Forward, queries: Tensor, keys: Tensor, batch: Batch) -> Tensor:
        """The balanced contrastive losses (N,)."""
        weight = getattr(model.network.head, "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim != 2:
            raise InputError("BCL makes prototypes from the weights (K, D) of one linear or cosine head")
        return losses.class_averaged_contrastive(
            queries,
            keys,
            batch.target,
            prototypes=self.prototypes(weight).float(),
            temperature=self._temperature,
        )


class Probabilistic(Beside):
    r"""Classification, and a contrastive loss against the distribution of each class on the sphere (ProCo).

    .. math:: \ell_i = \ell^{LA}_i + \alpha \, \ell^{ProCo}_i

    with :func:`longtail.losses.probabilistic_contrastive`, the mean over the two views. The mean embedding of a class
    is that of the epoch so far and of the one before, kept without gradients. Use it where batches are too small to
    hold every class.

    Args:
        counts: training images of each class (K,).
        widths: features of each level of the network; the projector reads the last.
        device: of the network.
        projector_generator: draws the projector's first weights.
        loss: of the classifier.
        contrast: alpha.
        temperature: tau, above 0.
        hidden: width of the projector's hidden layer.
        out: dimension of the embedding, at least 8.

    Raises:
        InputError: a negative weight.

    References:
        Du et al., *Probabilistic Contrastive Learning for Long-Tailed Visual Recognition*, IEEE TPAMI 2024,
        arXiv:2403.06726.
    """

    sums: Tensor
    numbers: Tensor

    def __init__(
        self,
        *,
        counts: Tensor,
        widths: tuple[int, ...],
        device: torch.device,
        projector_generator: torch.Generator,
        loss: text.Loss | Callable[..., Any] = ADJUSTED,
        contrast: float = 1.0,
        temperature: float = 0.1,
        hidden: int = 512,
        out: int = 128,
    ) -> None:
        super().__init__(
            widths=widths,
            device=device,
            projector_generator=projector_generator,
            loss=loss,
            contrast=contrast,
            temperature=temperature,
            hidden=hidden,
            out=out,
        )
        self._counts = counts
        # The epoch before, and this one: sums of unit vectors, and how many.
        self.register_buffer("sums", torch.zeros(2, len(counts), out, device=device))
        self.register_buffer("numbers", torch.zeros(2, len(counts), device=device))

    def start_epoch(self, context: Context) -> None:
        """Let this epoch become the one before."""
        for held in (self.sums, self.numbers):
            held[0].copy_(held[1])
            held[1].zero_()

    def compared(self, model: Forward, queries: Tensor, keys: Tensor, batch: Batch) -> Tensor:
        """The probabilistic contrastive losses (N,)."""
        embeddings, label = torch.cat([queries, keys]), batch.target.repeat(2)
        with torch.no_grad():
            unit = functional.normalize(embeddings.detach(), dim=1)
            members = (label == torch.arange(self.numbers.shape[1], device=label.device)[:, None]).to(unit.dtype)
            self.sums[1].add_(products(members, unit.T))  # in one order on every device, unlike index_add_
            self.numbers[1].add_(members.sum(dim=1))
            means = self.sums.sum(dim=0) / self.numbers.sum(dim=0).clamp(min=1.0)[:, None]
        values = losses.probabilistic_contrastive(
            embeddings, label, counts=self._counts, means=means, temperature=self._temperature
        )
        return values.view(2, -1).mean(dim=0)
