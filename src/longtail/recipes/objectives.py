"""Objectives: what a stage minimises, as descriptions that build the callables when the stage starts.

``Supervised(loss)`` puts a loss on the logits, ``Robust`` is DRO-LT's loss on representations, ``Contrastive`` the
pre-training on two views. ``Sum`` (or ``+``) adds objectives.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from longtail import losses
from longtail.errors import InputError
from longtail.models import Projector
from longtail.recipes.contract import Batch, Context, Forward, Objective, Setting
from longtail.recipes.sources import attribute, digest, failure
from longtail.samplers import ClassBalanced

Loss = Callable[[Tensor, Tensor], Tensor]


class Added:
    """``description + description`` is the sum of both."""

    def __add__(self, other: Any) -> Sum:
        mine = self.parts if isinstance(self, Sum) else (self,)
        return Sum((*mine, *(other.parts if isinstance(other, Sum) else (other,))))


@dataclasses.dataclass(frozen=True)
class Sum(Added):
    """The sum of several objectives on the same batch; the model is evaluated once for all of them."""

    parts: tuple[Any, ...]

    def build(self, setting: Setting) -> Objective:
        """The objective."""
        return _Sum([part.build(setting) for part in self.parts])


class _Sum(nn.Module):
    def __init__(self, parts: list[Objective]) -> None:
        super().__init__()
        self._parts = parts
        self._modules.update({str(i): part for i, part in enumerate(parts) if isinstance(part, nn.Module)})
        self.pyramid = any(getattr(part, "pyramid", False) for part in parts)
        self.eager = any(getattr(part, "eager", False) for part in parts)

    def forward(self, model: Forward, batch: Batch) -> Tensor:
        return torch.stack([part(model, batch) for part in self._parts]).sum(dim=0)

    def start_epoch(self, context: Context) -> None:
        for part in self._parts:
            if hasattr(part, "start_epoch"):
                part.start_epoch(context)

    def history(self) -> dict[str, Any]:
        return {key: value for part in self._parts if hasattr(part, "history") for key, value in part.history().items()}


@dataclasses.dataclass(frozen=True)
class Supervised(Added):
    """A loss on the logits of the batch, ``weight`` times."""

    loss: Any
    weight: float = 1.0

    def build(self, setting: Setting) -> Objective:
        """The objective."""
        loss, weight = self.loss.build(setting), self.weight

        def supervised(model: Forward, batch: Batch) -> Tensor:
            values: Tensor = loss(model(batch.images).logits, batch.target)
            return weight * values

        return supervised


@dataclasses.dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy, optionally weighted by class.

    Args:
        weight: ``none``; ``inverse`` frequency; ``effective`` number of samples with ``beta``; ``prior``, n_c / n_max,
            as the released DRO-LT weighs its representation stage. Weighted losses are divided by the weights of the
            batch, as PyTorch's own mean over a weighted cross-entropy is.
        beta: of the effective number.
    """

    weight: Literal["none", "inverse", "effective", "prior"] = "none"
    beta: float = 0.9999

    def build(self, setting: Setting) -> Loss:
        """The loss."""
        counts = setting.counts
        if self.weight == "none":
            return losses.cross_entropy
        weights = {
            "inverse": lambda: losses.inverse_frequency_weights(counts),
            "effective": lambda: losses.effective_number_weights(counts, beta=self.beta),
            "prior": lambda: losses.relative_frequency_weights(counts),
        }[self.weight]().to(setting.device, torch.float32)

        def weighted(logits: Tensor, target: Tensor) -> Tensor:
            return losses.cross_entropy(logits, target, class_weights=weights) / weights[target].mean()

        return weighted


@dataclasses.dataclass(frozen=True)
class BalancedSoftmax:
    """Balanced softmax (Ren et al., NeurIPS 2020)."""

    def build(self, setting: Setting) -> Loss:
        """The loss."""
        return functools.partial(losses.balanced_softmax, counts=setting.counts)


@dataclasses.dataclass(frozen=True)
class LogitAdjusted:
    """Logit-adjusted cross-entropy (Menon et al., ICLR 2021), ``tau`` times the log-prior."""

    tau: float = 1.0

    def build(self, setting: Setting) -> Loss:
        """The loss."""
        return functools.partial(losses.logit_adjusted_cross_entropy, counts=setting.counts, tau=self.tau)


@dataclasses.dataclass(frozen=True)
class OwnLoss:
    """A user's loss, named by ``module:attribute`` or ``file.py:attribute``.

    Its source enters the description, so an edited loss is another run and never takes up the old one's states. A
    description that names its source, such as a stored one, imports nothing until it is built.

    Args:
        where: module or file, and attribute.
        source: SHA-256 of the loss's source; filled in when left empty.
    """

    where: str
    source: str = ""

    def __post_init__(self) -> None:
        if not self.source:
            object.__setattr__(self, "source", digest(self.where))

    def build(self, setting: Setting) -> Loss:
        """The loss, with the class counts if it takes them, checked on a small batch."""
        if digest(self.where) != self.source:
            raise InputError(f"loss {self.where!r} is not the one of the description: its source has changed")
        loss: Any = attribute(self.where)
        logits = torch.zeros(3, setting.num_classes, device=setting.device)
        try:
            if "counts" in inspect.signature(loss).parameters:
                loss = functools.partial(loss, counts=setting.counts)
            value = loss(logits, torch.zeros(3, dtype=torch.int64, device=setting.device))
        except Exception as error:
            raise InputError(f"loss {self.where!r} failed on 3 images: {failure(error)}") from error
        if not isinstance(value, Tensor) or value.shape != (3,):
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(
                f"loss {self.where!r} returned {shape} for 3 images: it must return (N,), one value an image"
            )
        return loss  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True)
class Radius:
    """How large the ball of uncertainty around each class's centroid is.

    Args:
        kind: ``none``; ``shared``, the same for all; ``standard-error``, size / sqrt(n_c); ``learned``, from ``size``
            on (it only ever shrinks, docs/dro-lt.md); ``wasserstein`` and ``gaussian-kl``, the radius that a ball of
            distributions of radius rho = ``size`` implies, with standard deviation ``sigma`` for the second.
        size: in units of the features; rho for the divergence forms.
        sigma: in units of the features.
    """

    kind: Literal["none", "shared", "standard-error", "learned", "wasserstein", "gaussian-kl"] = "learned"
    size: float = 1.0
    sigma: float = 1.0

    def build(self, setting: Setting) -> Callable[[], Tensor]:
        """A callable that returns the radii (K,); a module if they are learned."""
        if self.kind == "learned":
            return losses.LearnedRadii(setting.num_classes, initial=self.size).to(setting.device)
        counts = setting.counts
        fixed = {
            "none": lambda: losses.no_radius(counts),
            "shared": lambda: losses.shared_radius(counts, self.size),
            "standard-error": lambda: losses.standard_error_radius(counts, self.size),
            "wasserstein": lambda: losses.shared_radius(counts, losses.radius_from_wasserstein(self.size)),
            "gaussian-kl": lambda: losses.shared_radius(counts, losses.radius_from_gaussian_kl(self.size, self.sigma)),
        }[self.kind]()
        return lambda: fixed


@dataclasses.dataclass(frozen=True)
class Robust(Added):
    """DRO-LT's robustness loss on the features, one value an image whose mean is the weighted mean over classes.

    Args:
        radius: of the uncertainty balls.
        strict: the strict bound instead of the surrogate.
        shift: the surrogate's "a", 1 (released code) or 2.
        temperature: of the softmax over the samples of a batch, in units of the features.
        weight: of the whole term.
        layers: weights of the last levels of the network, the last entry being the features.
        class_weights: ``none`` for equal classes, ``prior`` for n_c / n_max.
        centroid_pass: ``natural`` (each training image once) or ``balanced`` (classes drawn alike, as many images).
        augmented: compute centroids on augmented images.
        refresh_steps: recompute centroids every so many steps too; 0 for once an epoch.
    """

    radius: Radius = Radius()
    strict: bool = False
    shift: float = 1.0
    temperature: float = 1.0
    weight: float = 1.0
    layers: tuple[float, ...] = (1.0,)
    class_weights: Literal["none", "prior"] = "none"
    centroid_pass: Literal["natural", "balanced"] = "natural"
    augmented: bool = False
    refresh_steps: int = 0

    def __post_init__(self) -> None:
        if self.refresh_steps < 0:
            raise InputError(f"refresh_steps: {self.refresh_steps} steps; 0 is once an epoch")

    def build(self, setting: Setting) -> Objective:
        """The objective."""
        if not 1 <= len(self.layers) <= len(setting.widths):
            raise InputError(f"layers: {len(self.layers)} weights, but the network has {len(setting.widths)} levels")
        return _Robust(self, setting)


class _Robust(nn.Module):
    def __init__(self, description: Robust, setting: Setting) -> None:
        super().__init__()
        self.description = description
        self.pyramid = len(description.layers) > 1
        self.eager = description.refresh_steps > 0  # what happens in a step then depends on a count kept in Python
        radii = [description.radius.build(setting) for _ in description.layers]
        self._radii = radii
        self._modules.update({f"radii{i}": radius for i, radius in enumerate(radii) if isinstance(radius, nn.Module)})
        widths = setting.widths[-len(description.layers) :]
        self._centroids = [torch.zeros(setting.num_classes, width, device=setting.device) for width in widths]
        relative = losses.relative_frequency_weights(setting.counts)
        self._class_weights = torch.ones_like(relative) if description.class_weights == "none" else relative
        self._context: Context | None = None
        self._steps = 0

    def start_epoch(self, context: Context) -> None:
        self._context, self._steps = context, 0
        self._update()

    def _update(self) -> None:
        context = self._context
        assert context is not None  # the loop calls start_epoch before the first step
        size = len(context.target)
        index = torch.arange(size, device=context.target.device)
        if self.description.centroid_pass == "balanced":
            index = ClassBalanced(context.target, generator=context.generator).draw()
        sums = [
            losses.CentroidSums(len(centroids), centroids.shape[1], device=centroids.device)
            for centroids in self._centroids
        ]
        for chunk in context.outputs(index, self.description.augmented, self.pyramid):
            for level, total in zip(chunk.levels[-len(sums) :], sums, strict=True):
                total.update(level, chunk.target)
        self._centroids = [total.means().float() for total in sums]

    def forward(self, model: Forward, batch: Batch) -> Tensor:
        every = self.description.refresh_steps
        if every and self._steps and self._steps % every == 0:
            self._update()
        self._steps += 1
        levels = model.levels(batch.images)[-len(self._radii) :]
        parts = [
            weight
            * losses.robustness_loss(
                level,
                batch.target,
                centroids=centroids,
                radii=radii(),
                temperature=self.description.temperature,
                strict=self.description.strict,
                shift=self.description.shift,
            )
            for weight, level, centroids, radii in zip(
                self.description.layers, levels, self._centroids, self._radii, strict=True
            )
        ]
        values = torch.stack(parts).sum(dim=0)
        mean = losses.class_mean(values, batch.target, class_weights=self._class_weights)
        # The loop averages over images; the loss is an average over classes, so every image carries it.
        return self.description.weight * mean.expand(len(batch.target))

    def history(self) -> dict[str, Any]:
        """The radii of the features' level, class by class, if they are learned."""
        if self.description.radius.kind != "learned":
            return {}
        return {"radii": [round(radius, 6) for radius in self._radii[-1]().detach().cpu().tolist()]}


@dataclasses.dataclass(frozen=True)
class Contrastive(Added):
    """Contrastive pre-training on two views through a projector that is dropped afterwards.

    Args:
        loss: ``bns`` (balanced negative sampling, Eq. 12), ``ns`` (Eq. 11), ``released-bns`` (the released code's
            form) or ``supcon``.
        temperature: tau.
        positives: m, extra images of the same class for each anchor; None for all in the batch.
        negatives: n, images of other classes for each anchor; None for all in the batch.
        hidden: width of the projector's hidden layer.
        out: dimension of the embedding.
    """

    loss: Literal["bns", "ns", "released-bns", "supcon"] = "bns"
    temperature: float = 0.5
    positives: int | None = None
    negatives: int | None = None
    hidden: int = 2048
    out: int = 128

    def build(self, setting: Setting) -> Objective:
        """The objective."""
        return _Contrastive(self, setting)


class _Contrastive(nn.Module):
    def __init__(self, description: Contrastive, setting: Setting) -> None:
        super().__init__()
        self.description = description
        self._generator = setting.generator
        # Weights are drawn on the CPU so that every device starts alike.
        start = torch.Generator().manual_seed(setting.generator.initial_seed())
        self.projector = Projector(
            setting.widths[-1], hidden=description.hidden, out=description.out, generator=start
        ).to(setting.device)

    def forward(self, model: Forward, batch: Batch) -> Tensor:
        if batch.images.ndim != 5 or len(batch.images) != 2:
            raise InputError("a contrastive stage needs two views: give it the augmentation Views(...)")
        images = batch.images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        queries, keys = self.projector(model.features(images)).chunk(2)
        description = self.description
        if description.loss == "supcon":
            return losses.supervised_contrastive(queries, keys, batch.target, temperature=description.temperature)
        if description.loss == "ns":
            return losses.negative_sampling(queries, keys, batch.target, temperature=description.temperature)
        if description.loss == "released-bns":
            return losses.released_balanced_negative_sampling(
                queries, keys, batch.target, temperature=description.temperature
            )
        return losses.balanced_negative_sampling(
            queries,
            keys,
            batch.target,
            temperature=description.temperature,
            positives=description.positives,
            negatives=description.negatives,
            generator=self._generator,
        )
