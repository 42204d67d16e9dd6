"""``Recipe``: a frozen description of everything that decides a result but the data and the seed."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import torch

from longtail.errors import InputError
from longtail.recipes import text
from longtail.recipes.optimizers import constant
from longtail.recipes.part import UNSET, Part, address, parameters_of, part, parts_in, revive

NUMERICS = 3
"""Raised whenever a change can move a number: states and records of another version are never taken up again."""


CONSTANT = part(constant)
LARGEST = 1_000_000_000
"""Of epochs and of images in a step; beyond it a number was mistyped."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stretch of training with one objective.

    Args:
        name: what the stage does, for progress bars and the history.
        epochs: passes of the sampler.
        batch_size: images in a step, unless the sampler has a ``batch_size`` of its own, as class-aware batches have.
        objective: a loss on logits or features, or an objective; what is minimised.
        sampler: which images an epoch sees.
        optimizer: optimiser with its learning rate.
        schedule: factor on the learning rate.
        augmentation: operations applied to every batch, in order.
        trains: the part whose parameters move; the other part is frozen, and a frozen backbone is in eval mode.
        fresh_head: re-initialise the classifier first, as cRT does.
        keeps_optimizer: continue with the previous stage's optimiser state, as deferred re-weighting does.
        class_means: begin with the mean of each class's features as its weights in the classifier.
        accumulate: pieces in which a batch passes through the network, their gradients added up: less memory, and the
            same update where a loss is a mean over images and no layer looks at the whole batch.
        clip: largest norm of the gradient, to which a longer one is shortened; 0 for none.
        ema: decay of the moving average of the weights, which is what the stage ends with; 0 for none.
        patience: epochs without a better one on validation after which the stage ends; 0 for all its epochs.
        sharpness: rho of sharpness-aware minimisation: each step takes the gradient at the weights moved uphill by so
            much, at twice the cost; 0 for none.
    """

    name: str
    epochs: int
    batch_size: int
    objective: text.Objective
    sampler: text.Sampler
    optimizer: text.Optimizer
    schedule: text.Schedule = CONSTANT
    augmentation: text.Augmentation = ()
    trains: Literal["all", "backbone", "classifier"] = "all"
    fresh_head: bool = False
    keeps_optimizer: bool = False
    class_means: bool = dataclasses.field(default=False, metadata=UNSET)
    accumulate: int = dataclasses.field(default=1, metadata=UNSET)
    clip: float = dataclasses.field(default=0.0, metadata=UNSET)
    ema: float = dataclasses.field(default=0.0, metadata=UNSET)
    patience: int = dataclasses.field(default=0, metadata=UNSET)
    sharpness: float = dataclasses.field(default=0.0, metadata=UNSET)

    def __post_init__(self) -> None:
        if self.clip < 0 or not 0 <= self.ema < 1 or self.patience < 0:
            raise InputError(
                f"stage {self.name!r}: clip {self.clip} and patience {self.patience} are 0 or more, and ema {self.ema} "
                "is 0 or more and below 1"
            )
        for field in ("epochs", "batch_size", "accumulate"):
            if not 1 <= getattr(self, field) <= LARGEST:
                value = getattr(self, field)
                raise InputError(
                    f"stage {self.name!r}: {field} is {value}; at least 1 and at most {LARGEST:,} is possible"
                )
        if not 0 <= self.sharpness < math.inf:
            raise InputError(f"stage {self.name!r}: sharpness is {self.sharpness:g}; it is at least 0")
        if self.sharpness and self.accumulate > 1:
            raise InputError(f"stage {self.name!r}: a sharpness-aware step takes its batch whole; leave accumulate out")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A method applied to a protocol: a model, its stages, and what is done afterwards.

    Args:
        name: how the result is listed.
        model: the network.
        stages: trained in this order.
        adjustment: an estimator of ``longtail.rebalance``, or None. One on logits is fitted on the class counts and
            applied to the test logits; one on features is fitted after the last stage and becomes the network's head.
        selection: which epoch of the last stage counts: the last, or the best on the validation split.
        stated: epochs of all stages at the budget that the protocol states; None where none is stated.
        trials: recipes of which the best on held-out images is trained; this one is the first of them. Empty: itself.
    """

    name: str
    model: text.Model
    stages: tuple[Stage, ...]
    adjustment: text.Adjustment | None = None
    selection: Literal["last epoch", "best on validation"] = "last epoch"
    stated: int | None = None
    trials: tuple[Recipe, ...] = dataclasses.field(default=(), metadata=UNSET)

    @property
    def epochs(self) -> int:
        """Epochs of all stages together, those of the trials included."""
        return sum(stage.epochs for stage in self.stages) + sum(trial.epochs for trial in self.trials)

    @property
    def changes_head(self) -> bool:
        """Whether what is fitted after the last stage reads features, and so replaces the network's head."""
        return changes_head(self.adjustment)


def changes_head(adjustment: Part | None) -> bool:
    """Return whether an estimator is fitted on features and becomes the head, rather than applied to the logits."""
    fit = None if adjustment is None or adjustment.foreign else getattr(adjustment.function, "fit", None)
    return fit is not None and "features" in parameters_of(fit)


def check_parts(recipe: Recipe) -> None:
    """Build what a recipe's stages are made of for a handful of labels, so that a wrong number is refused at once.

    A later stage is prepared only after those before it were trained. Foreign parts are not run, and networks not
    built.

    Raises:
        InputError: a value that a part does not take.
    """
    counts = torch.tensor([4, 2])
    for trial in recipe.trials:
        check_parts(trial)
    for stage in recipe.stages:
        given = {
            "target": torch.repeat_interleave(counts),
            "counts": counts,
            "num_classes": 2,
            "widths": (1,) * 64,
            "device": torch.device("cpu"),
            "batch_size": stage.batch_size,
            "generator": torch.Generator(),
            "subset_generator": torch.Generator(),
            "projector_generator": torch.Generator(),
        }
        for held in (stage.objective, stage.sampler):
            if not any(inner.foreign for inner in parts_in(held)):
                held.build(**given)


def state_address(
    recipe: Recipe, stage: int, *, data: tuple[Any, ...], seed: int, compute: dict[str, Any], after: Any = None
) -> str:
    """Return the content address of the state after ``stage`` (from 0): equal exactly when the states must be equal.

    Names of stages and recipes do not enter; the model, the stages so far with the sources of foreign parts, the data,
    the seed, what computes, and the version of the numerics do.

    Args:
        recipe: recipe that the stage is part of.
        stage: number of the stage, from 0.
        data: the identity of the data set (``longtail.data.Data.identity``).
        seed: random seed that decides every draw.
        compute: what decides the numbers of the machine.
        after: what is done after the stage, where the address is that of a finished run.
    """
    stages = [dataclasses.replace(held, name="") for held in recipe.stages[: stage + 1]]
    last = stage == len(recipe.stages) - 1
    selection = recipe.selection if last else "last epoch"
    return address([NUMERICS, recipe.model, stages, selection, data, seed, compute, after])


def stored_recipe(config: Any) -> Recipe:
    """Return the recipe of a record's ``config``. Nothing of anybody's own is imported.

    Raises:
        InputError: it is no recipe of this version.
    """
    try:
        fields = {key: value for key, value in dict(config).items() if key != "stages"}
        stages = tuple(Stage(**{key: revive(value) for key, value in stage.items()}) for stage in config["stages"])
        trials = tuple(stored_recipe(trial) for trial in fields.pop("trials", ()))
        return Recipe(stages=stages, trials=trials, **{key: revive(value) for key, value in fields.items()})
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the stored recipe does not fit this version: {error}; train its recipe again") from None
