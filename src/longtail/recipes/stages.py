"""``Recipe``: a frozen, serialisable description of everything that decides a result but the data and the seed."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from longtail.errors import InputError
from longtail.recipes import config
from longtail.recipes.contract import Objective, Setting
from longtail.recipes.optimizers import CONSTANT, Optimizer, Schedule

NUMERICS = 2
"""Raised whenever a change can move a number: states and records of another version are never taken up again."""


@runtime_checkable
class ObjectiveDescription(Protocol):
    """A frozen dataclass that builds an objective when its stage starts."""

    def build(self, setting: Setting) -> Objective:
        """The objective."""


@runtime_checkable
class SamplerDescription(Protocol):
    """A frozen dataclass that builds a sampler when its stage starts."""

    @property
    def batch_size(self) -> int:
        """Images in a step."""

    def build(self, setting: Setting, target: Tensor) -> Any:
        """The sampler over ``target`` (N,)."""


@runtime_checkable
class ModelDescription(Protocol):
    """A frozen dataclass that builds a network; see ``longtail.models``."""

    def build(self, *, num_classes: int, channels: int, image_size: int, generator: Any) -> Any:
        """The network."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stretch of training with one objective.

    Args:
        name: what the stage does, for progress bars and the history.
        epochs: passes of the sampler.
        objective: what is minimised.
        sampler: which images an epoch sees, and the batch size.
        optimizer: optimiser with its learning rate.
        schedule: factor on the learning rate.
        augmentation: operations of ``longtail.augment`` applied to every batch, in order.
        trains: the part whose parameters move; the other part is frozen, and a frozen backbone is in eval mode.
        fresh_head: re-initialise the classifier first, as cRT does.
        keeps_optimizer: continue with the previous stage's optimiser state, as deferred re-weighting does.
    """

    name: str
    epochs: int
    objective: ObjectiveDescription
    sampler: SamplerDescription
    optimizer: Optimizer
    schedule: Schedule = CONSTANT
    augmentation: tuple[Any, ...] = ()
    trains: Literal["all", "backbone", "classifier"] = "all"
    fresh_head: bool = False
    keeps_optimizer: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise InputError(f"stage {self.name!r}: {self.epochs} epochs; at least 1 is needed")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A method applied to a protocol: a model, its stages, and what is done to the logits afterwards.

    Args:
        name: how the result is listed.
        model: description of the network.
        stages: trained in this order.
        adjustment: a description from ``longtail.recipes.adjustments`` applied to the test logits, or None.
        selection: which epoch of the last stage counts: the last, or the best on the validation split.
    """

    name: str
    model: ModelDescription
    stages: tuple[Stage, ...]
    adjustment: Any | None = None
    selection: Literal["last epoch", "best on validation"] = "last epoch"

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)


def address(
    recipe: Recipe, stage: int, *, fingerprint: str, seed: int, compute: dict[str, Any], adjustment: Any | None = None
) -> str:
    """The content address of the state after ``stage`` (from 0): equal exactly when the states must be equal.

    Names of stages and recipes do not enter; the model, the stages so far, the data, the seed, what computes, and the
    version of the numerics do.
    """
    stages = [dataclasses.replace(part, name="") for part in recipe.stages[: stage + 1]]
    last = stage == len(recipe.stages) - 1
    selection = recipe.selection if last else "last epoch"
    parts = (NUMERICS, recipe.model, stages, selection, fingerprint, seed, compute, adjustment)
    return config.digest(list(parts))
