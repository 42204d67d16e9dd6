"""Objectives that are more than a loss on the logits: ``(model, batch) -> (N,)``.

A loss ``(logits, target) -> (N,)`` becomes an objective by itself (``objective_of``). ``Robust`` is DRO-LT's loss on
representations, ``Contrastive`` the pre-training on two views, ``Total`` the weighted sum of several.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from longtail import losses
from longtail.errors import InputError, failure
from longtail.models import Projector
from longtail.recipes import text
from longtail.recipes.contract import Batch, Context, Forward, Objective
from longtail.recipes.part import Part, part
from longtail.samplers import ClassBalanced

RadiusKind = Literal["none", "shared", "standard-error", "learned", "wasserstein", "gaussian-kl"]
_OF_A_BATCH = ("logits", "features", "target", "index")


class Supervised(nn.Module):
    """A loss on what the network says of a batch.

    Args:
        loss: called with those of ``logits`` (N, K), ``features`` (N, D), ``target`` (N,) and ``index`` (N,) that its
            required parameters name; with logits and target in this order if they name none.
    """

    def __init__(self, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.loss = loss
        asked = [name for name in _required(loss) if name in _OF_A_BATCH]
        self._asked = asked if {"logits", "features"} & set(asked) else []

    def forward(self, model: Forward, batch: Batch) -> Tensor:
        """The losses (N,) of a batch."""
        if not self._asked:
            return self.loss(model(batch.images).logits, batch.target)
        named = {"target": batch.target, "index": batch.index}
        if "features" in self._asked:
            named["features"] = model.features(batch.images)
        if "logits" in self._asked:
            named["logits"] = model(batch.images).logits
        return self.loss(**{name: named[name] for name in self._asked})


def _required(function: Callable[..., Any]) -> list[str]:
    call = function.forward if isinstance(function, nn.Module) else function
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        return []
    return [held.name for held in parameters if held.default is held.empty and held.kind != held.VAR_KEYWORD]


def objective_of(built: Any) -> Objective:
    """Return the objective of what a part was built to: itself, or a loss on the network's output."""
    if isinstance(built, Supervised):
        return built
    objective: Objective = built if _required(built)[:2] == ["model", "batch"] else Supervised(built)
    return objective


def check_built(made: Part, built: Any, *, num_classes: int, width: int, device: torch.device) -> None:
    """Call a person's own loss on three images and refuse what no training could use.

    Raises:
        InputError: it fails, or does not return one number for each image with a gradient.
    """
    asked = set(_required(built))
    if not made.foreign or {"model", "batch"} <= asked:
        return
    logits = torch.zeros(3, num_classes, device=device, requires_grad=True)
    features = torch.ones(3, width, device=device, requires_grad=True)
    target = torch.zeros(3, dtype=torch.int64, device=device)
    given = {"logits": logits, "features": features, "target": target, "index": torch.arange(3, device=device)}
    named = {name: given[name] for name in asked} if {"logits", "features"} & asked else {}
    try:
        value = built(**named) if named else built(logits, target)
    except Exception as error:
        raise InputError(f"loss {made.name!r} failed on 3 images: {failure(error)}") from error
    check_losses(value, 3, f"loss {made.name!r}", gradient=True)


def check_losses(value: Any, size: int, name: str, *, gradient: bool) -> None:
    """Refuse what is not one real number for each image.

    Raises:
        InputError: another type or shape, or no gradient.
    """
    if not isinstance(value, Tensor) or value.shape != (size,):
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"{name} returned {shape} for {size} images: it must return (N,), one value an image")
    if not value.is_floating_point():
        raise InputError(f"{name} returned {value.dtype}: it must return floating point numbers")
    if gradient and not value.requires_grad:
        raise InputError(f"{name} returned values without a gradient: compute them from the logits, without detach()")


class Total(nn.Module):
    """The weighted sum of several objectives on the same batch; the network is evaluated once for all of them.

    Args:
        terms: losses or objectives.
        weights: one for each.
    """

    def __init__(
        self, *, terms: tuple[text.Objective | Callable[..., Any], ...] = (), weights: tuple[float, ...] = ()
    ) -> None:
        super().__init__()
        if not terms or len(terms) != len(weights):
            raise InputError(f"a total needs as many weights as terms, at least one: {len(terms)} and {len(weights)}")
        self._terms = [objective_of(term) for term in terms]
        self._weights = weights
        self._modules.update({str(i): term for i, term in enumerate(self._terms) if isinstance(term, nn.Module)})
        self.pyramid = any(getattr(term, "pyramid", False) for term in self._terms)
        self.eager = any(getattr(term, "eager", False) for term in self._terms)
        self.whole = any(getattr(term, "whole", False) for term in self._terms)

    def forward(self, model: Forward, batch: Batch) -> Tensor:
        """The losses (N,) of a batch."""
        values = [weight * term(model, batch) for weight, term in zip(self._weights, self._terms, strict=True)]
        return torch.stack(values).sum(dim=0)

    def start_epoch(self, context: Context) -> None:
        """Let the terms look at the training set."""
        for term in self._terms:
            if hasattr(term, "start_epoch"):
                term.start_epoch(context)

    @property
    def looks(self) -> bool:
        """Whether a term looks at the training set before an epoch."""
        return any(looks_at_training_set(term) for term in self._terms)

    def history(self) -> dict[str, Any]:
        """What the terms report of an epoch."""
        return {key: value for term in self._terms if hasattr(term, "history") for key, value in term.history().items()}


def looks_at_training_set(part_of_stage: Any) -> bool:
    """Return whether ``start_epoch`` of a part does anything."""
    return bool(getattr(part_of_stage, "looks", hasattr(part_of_stage, "start_epoch")))


class Robust(nn.Module):
    """DRO-LT's robustness loss on the features, one value an image whose mean is the weighted mean over classes.

    Args:
        counts: training images of each class (K,).
        widths: features of each level of the network.
        device: device that the network is on.
        radius: how large the ball of uncertainty around each class's centroid is: ``none``; ``shared``, the same for
            all; ``standard-error``, epsilon / sqrt(n_c); ``learned``, from epsilon on (it only ever shrinks,
            docs/dro-lt.md); ``wasserstein`` and ``gaussian-kl``, the radius that a ball of distributions of radius
            rho = epsilon implies, with standard deviation sigma for the second.
        epsilon: size of the radii in units of the features; rho for the divergence forms.
        sigma: standard deviation of ``gaussian-kl``, in units of the features.
        strict: the strict bound instead of the surrogate.
        shift: the surrogate's "a", 1 (released code) or 2.
        temperature: softmax temperature over the samples of a batch, in units of the features.
        layers: weights of the last levels of the network, the last entry being the features.
        class_weights: ``none`` for equal classes, ``prior`` for n_c / n_max.
        centroid_pass: ``natural`` (each training image once) or ``balanced`` (classes drawn alike, as many images).
        augmented: compute centroids on augmented images.
        refresh_steps: recompute centroids every so many steps too; 0 for once an epoch.

    Raises:
        InputError: fewer levels in the network than weights, or a negative number of steps.

    References:
        Samuel and Chechik, Distributional Robustness Loss for Long-Tail Learning, ICCV 2021.
    """

    def __init__(
        self,
        *,
        counts: Tensor,
        widths: tuple[int, ...],
        device: torch.device,
        radius: RadiusKind = "learned",
        epsilon: float = 1.0,
        sigma: float = 1.0,
        strict: bool = False,
        shift: float = 1.0,
        temperature: float = 1.0,
        layers: tuple[float, ...] = (1.0,),
        class_weights: Literal["none", "prior"] = "none",
        centroid_pass: Literal["natural", "balanced"] = "natural",
        augmented: bool = False,
        refresh_steps: int = 0,
    ) -> None:
        super().__init__()
        if not 1 <= len(layers) <= len(widths):
            raise InputError(f"layers: {len(layers)} weights, but the network has {len(widths)} levels")
        if refresh_steps < 0:
            raise InputError(f"refresh_steps: {refresh_steps} steps; 0 is once an epoch")
        self.pyramid = len(layers) > 1
        self.eager = refresh_steps > 0  # what happens in a step then depends on a count kept in Python
        self._layers, self._strict, self._shift, self._temperature = layers, strict, shift, temperature
        self._centroid_pass, self._augmented, self._refresh_steps = centroid_pass, augmented, refresh_steps
        self._learned = radius == "learned"
        self._radii = [_radii(radius, counts, epsilon, sigma, device) for _ in layers]
        self._modules.update({f"radii{i}": held for i, held in enumerate(self._radii) if isinstance(held, nn.Module)})
        self._centroids = [torch.zeros(len(counts), width, device=device) for width in widths[-len(layers) :]]
        relative = losses.relative_frequency_weights(counts)
        self._class_weights = torch.ones_like(relative) if class_weights == "none" else relative
        self._context: Context | None = None
        self._steps = 0

    def start_epoch(self, context: Context) -> None:
        """Recompute the centroids."""
        self._context, self._steps = context, 0
        self._update()

    def _update(self) -> None:
        context = self._context
        assert context is not None  # the loop calls start_epoch before the first step
        index = torch.arange(len(context.target), device=context.target.device)
        if self._centroid_pass == "balanced":
            index = ClassBalanced(context.target, generator=context.generator).draw()
        sums = [
            losses.CentroidSums(len(centroids), centroids.shape[1], device=centroids.device)
            for centroids in self._centroids
        ]
        for chunk in context.outputs(index, self._augmented, self.pyramid):
            for level, total in zip(chunk.levels[-len(sums) :], sums, strict=True):
                total.update(level, chunk.target)
        self._centroids = [total.means().float() for total in sums]

    def forward(self, model: Forward, batch: Batch) -> Tensor:
        """The losses (N,) of a batch."""
        every = self._refresh_steps
        if every and self._steps and self._steps % every == 0:
            self._update()
        self._steps += 1
        levels = model.levels(batch.images)[-len(self._radii) :]
        terms = [
            weight
            * losses.robustness_loss(
                level,
                batch.target,
                centroids=centroids,
                radii=radii(),
                temperature=self._temperature,
                strict=self._strict,
                shift=self._shift,
            )
            for weight, level, centroids, radii in zip(self._layers, levels, self._centroids, self._radii, strict=True)
        ]
        values = torch.stack(terms).sum(dim=0)
        mean = losses.class_mean(values, batch.target, class_weights=self._class_weights)
        # The loop averages over images; the loss is an average over classes, so every image carries it.
        return mean.expand(len(batch.target))

    def history(self) -> dict[str, Any]:
        """The radii of the features' level, class by class, if they are learned."""
        if not self._learned:
            return {}
        return {"radii": [round(radius, 6) for radius in self._radii[-1]().detach().cpu().tolist()]}


def _radii(
    kind: RadiusKind, counts: Tensor, epsilon: float, sigma: float, device: torch.device
) -> Callable[[], Tensor]:
    """A callable that returns the radii (K,); a module if they are learned."""
    if kind == "learned":
        return losses.LearnedRadii(len(counts), initial=epsilon).to(device)
    fixed = {
        "none": lambda: losses.no_radius(counts),
        "shared": lambda: losses.shared_radius(counts, epsilon),
        "standard-error": lambda: losses.standard_error_radius(counts, epsilon),
        "wasserstein": lambda: losses.shared_radius(counts, losses.radius_from_wasserstein(epsilon)),
        "gaussian-kl": lambda: losses.shared_radius(counts, losses.radius_from_gaussian_kl(epsilon, sigma)),
    }[kind]()
    return lambda: fixed


BNS = part(losses.balanced_negative_sampling, temperature=0.5)


class Contrastive(nn.Module):
    """Contrastive pre-training on two views through a projector that is dropped afterwards.

    Args:
        widths: features of each level of the network; the projector reads the last.
        device: device that the network is on.
        projector_generator: draws the projector's first weights; on the CPU, so that every device starts alike.
        loss: pair loss, ``(queries (N, E), keys (N, E), target (N,)) -> (N,)``.
        hidden: width of the projector's hidden layer; 0 for no projector: the loss is of the features themselves.
        out: E, dimension of the embedding; the features' own without a projector.

    References:
        Lin and Yuan, Long-Tailed Recognition via Information-Preservable Two-Stage Learning, NeurIPS 2025.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...],
        device: torch.device,
        projector_generator: torch.Generator,
        loss: text.PairLoss | Callable[..., Tensor] = BNS,
        hidden: int = 2048,
        out: int = 128,
    ) -> None:
        super().__init__()
        self.loss: Any = loss
        self.out = out if hidden else widths[-1]
        self.projector: nn.Module = nn.Identity()
        if hidden:
            self.projector = Projector(widths[-1], hidden=hidden, out=out, generator=projector_generator).to(device)

    def forward(self, model: Forward, batch: Batch) -> Tensor:
        """The losses (N,) of a batch of two views."""
        if batch.images.ndim not in (3, 5) or len(batch.images) != 2:
            raise InputError("a contrastive stage needs two views: give it the augmentation simclr, or views")
        images = batch.images.flatten(0, 1)
        if images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        queries, keys = self.projector(model.features(images)).chunk(2)
        return self.pair_losses(queries, keys, batch)

    def pair_losses(self, queries: Tensor, keys: Tensor, batch: Batch) -> Tensor:
        """The losses (N,) of the embeddings (N, E) of the two views."""
        values: Tensor = self.loss(queries, keys, batch.target)
        return values
