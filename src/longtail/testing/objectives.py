"""The promises of an objective: one value for each image, and a gradient into the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from longtail.testing.contract import Check, ContractError, failing, global_generator_untouched, name_of


def check_objective(
    objective: Callable[[Any, Any], Tensor], *, num_classes: int = 5, views: int = 1, model: nn.Module | None = None
) -> None:
    """Check an objective ``(model, batch) -> (N,)``: run all of :func:`objective_checks`.

    Args:
        objective: built for ``num_classes`` classes and for features as wide as those of ``model``.
        num_classes: K of the small network that stands in for the model, and of the targets.
        views: how many views of each image the batch holds: 2 for a contrastive objective.
        model: a network to use instead of the small one, which has features (N, 6); it takes images of 3 x 8 x 8.

    Raises:
        ContractError: naming the first thing that is wrong.

    Example:
        >>> def objective(model, batch):
        ...     return torch.nn.functional.cross_entropy(model(batch.images).logits, batch.target, reduction="none")
        >>> check_objective(objective)
    """
    for check in objective_checks(objective, num_classes=num_classes, views=views, model=model):
        check()


def objective_checks(
    objective: Callable[[Any, Any], Tensor], *, num_classes: int = 5, views: int = 1, model: nn.Module | None = None
) -> Iterator[Check]:
    """Yield the promises of an objective ``(model, batch) -> (N,)``.

    It returns one finite float value for each image; sends a gradient into the model; and leaves the batch and the
    global random state alone. ``model(images)`` returns ``.features`` and ``.logits``; ``model.features(images)`` and
    ``model.levels(images)`` are there as well. ``batch`` has ``images`` (N, C, H, W), or (V, N, C, H, W) with several
    views, ``target`` (N,) and ``index`` (N,).

    Args:
        objective: built for ``num_classes`` classes and for features as wide as those of ``model``.
        num_classes: K of the small network that stands in for the model, and of the targets.
        views: how many views of each image the batch holds: 2 for a contrastive objective.
        model: a network to use instead of the small one, which has features (N, 6); it takes images of 3 x 8 x 8.

    Yields:
        Checks, to be called in any order.

    Example:
        >>> def objective(model, batch):
        ...     return torch.nn.functional.cross_entropy(model(batch.images).logits, batch.target, reduction="none")
        >>> print(next(objective_checks(objective)))
        objective returns one finite value for each image
    """
    probe = _ObjectiveProbe(objective, num_classes, views, model)
    promises = {
        "returns one finite value for each image": probe.values,
        "sends a gradient into the model": probe.gradient,
        "leaves the batch alone": probe.batch_alone,
        "draws nothing from the global generator": probe.global_generator,
    }
    for promise, run in promises.items():
        yield Check(probe.name, promise, run)


@dataclasses.dataclass
class _Batch:
    images: Tensor
    target: Tensor
    index: Tensor

    def whole(self) -> Tensor:
        return self.images

    def own(self, images: Tensor) -> Tensor:
        return images


@dataclasses.dataclass
class _Output:
    features: Tensor
    logits: Tensor


class _SmallNetwork(nn.Module):
    """Features (N, 6) of images of three channels, with a linear head."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.first = nn.Parameter(torch.randn(6, 3, 3, 3, generator=generator) / 5)
        self.head = nn.Parameter(torch.randn(num_classes, 6, generator=generator))

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        return (nn.functional.conv2d(images, self.first).relu().mean(dim=(2, 3)),)

    def features(self, images: Tensor) -> Tensor:
        return self.levels(images)[-1]

    def forward(self, images: Tensor) -> _Output:
        features = self.features(images)
        return _Output(features, features @ self.head.T)


class _ObjectiveProbe:
    """The model and batch that an objective is checked on, and a method for each promise."""

    def __init__(
        self, objective: Callable[[Any, Any], Tensor], num_classes: int, views: int, model: nn.Module | None
    ) -> None:
        self.objective, self.name = objective, name_of(objective)
        self.model = _SmallNetwork(num_classes) if model is None else model
        generator = torch.Generator().manual_seed(20210407)
        self.number = 12
        shape = (self.number, 3, 8, 8) if views == 1 else (views, self.number, 3, 8, 8)
        self._images = torch.randn(shape, generator=generator)
        self._target = torch.arange(self.number) % num_classes

    def batch(self) -> _Batch:
        return _Batch(self._images.clone(), self._target.clone(), torch.arange(self.number))

    def call(self, batch: _Batch) -> Tensor:
        with failing(f"{self.name}: on {self.number} images", "an objective is called as objective(model, batch)"):
            value = self.objective(self.model, batch)
        if not isinstance(value, Tensor) or tuple(value.shape) != (self.number,):
            found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ContractError(
                f"{self.name}: returned {found} for {self.number} images; return one value for each, ({self.number},), "
                f"and leave the mean to the caller"
            )
        return value

    def values(self) -> None:
        value = self.call(self.batch())
        if not value.is_floating_point() or not bool(torch.isfinite(value.detach()).all()):
            raise ContractError(f"{self.name}: a value of {value.detach().tolist()[:3]} ... is not a finite number")

    def gradient(self) -> None:
        value = self.call(self.batch())
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        found: tuple[Tensor | None, ...] = ()
        if value.requires_grad:
            found = torch.autograd.grad(value.sum(), parameters, allow_unused=True)
        if not any(gradient is not None and bool(gradient.any()) for gradient in found):
            raise ContractError(f"{self.name}: no gradient reaches the model; use what model(batch.images) returns")
        if not all(gradient is None or bool(torch.isfinite(gradient).all()) for gradient in found):
            raise ContractError(f"{self.name}: the gradient in the model is not finite")

    def batch_alone(self) -> None:
        batch = self.batch()
        self.call(batch)
        if not (torch.equal(batch.images, self._images) and torch.equal(batch.target, self._target)):
            raise ContractError(f"{self.name}: changes the batch in place; work on a copy")

    def global_generator(self) -> None:
        with global_generator_untouched(self.name):
            self.call(self.batch())
