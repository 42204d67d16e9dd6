"""Which images an epoch sees, as descriptions that build the samplers when a stage starts."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.recipes.contract import Context, Setting
from longtail.samplers import (
    ClassBalanced,
    ClassQuota,
    InstanceBalanced,
    MinimumPerClass,
    ProgressivelyBalanced,
    SquareRoot,
    informative,
)

Sampler = ClassBalanced | ClassQuota | InstanceBalanced | MinimumPerClass | ProgressivelyBalanced | SquareRoot


@dataclasses.dataclass(frozen=True)
class Natural:
    """Every training image once an epoch, in random order.

    Args:
        batch_size: images in a step.
        minimum: images of a class that come into a batch together, for contrastive training, where a lone image of a
            tail class has no partner; 1 for plain sampling.
    """

    batch_size: int = 128
    minimum: int = 1

    def __post_init__(self) -> None:
        _check_positive(batch_size=self.batch_size, minimum=self.minimum)
        if self.batch_size % self.minimum:
            raise InputError(
                f"batches of {self.batch_size} would part the {self.minimum} images of a class that come together: "
                "batch_size must be a multiple of minimum"
            )

    def build(self, setting: Setting, target: Tensor) -> Sampler:
        """The sampler over ``target`` (N,)."""
        if self.minimum > 1:
            return MinimumPerClass(target, minimum=self.minimum, generator=setting.generator)
        return InstanceBalanced(target, generator=setting.generator)


@dataclasses.dataclass(frozen=True)
class Balanced:
    """Classes uniformly, then an image of the class; ``square_root`` weighs classes by the root of their count."""

    batch_size: int = 128
    square_root: bool = False
    progressive: bool = False

    def __post_init__(self) -> None:
        _check_positive(batch_size=self.batch_size)
        if self.square_root and self.progressive:
            raise InputError("a balanced sampler is square_root or progressive, not both")

    def build(self, setting: Setting, target: Tensor) -> Sampler:
        """The sampler over ``target`` (N,)."""
        if self.progressive:
            return ProgressivelyBalanced(target, generator=setting.generator)
        kind = SquareRoot if self.square_root else ClassBalanced
        return kind(target, generator=setting.generator)


@dataclasses.dataclass(frozen=True)
class Quota:
    """Class-aware batches: ``images`` of each of ``classes`` classes, as cRT and DRO-LT train on.

    Args:
        classes: classes in a batch; all of them when the data set has fewer.
        images: images of each.
        steps: batches in an epoch; None for as many as it takes to see the largest class once when all classes are
            drawn alike (K * max(counts) images: 391 batches of 128 on CIFAR-100-LT, as in the released DRO-LT).
    """

    classes: int = 32
    images: int = 4
    steps: int | None = None

    def __post_init__(self) -> None:
        _check_positive(classes=self.classes, images=self.images, steps=1 if self.steps is None else self.steps)

    @property
    def batch_size(self) -> int:
        """Images in a batch when the data set has enough classes."""
        return self.classes * self.images

    def build(self, setting: Setting, target: Tensor) -> Sampler:
        """The sampler over ``target`` (N,)."""
        classes = min(self.classes, setting.num_classes)
        largest = int(torch.bincount(target).max())
        steps = self.steps or math.ceil(setting.num_classes * largest / (classes * self.images))
        return ClassQuota(
            target,
            classes=classes,
            images=self.images,
            num_samples=steps * classes * self.images,
            generator=setting.generator,
        )


Arm = Literal["ip-dpp", "uniform", "hardest", "easiest", "class-balanced"]


@dataclasses.dataclass(frozen=True)
class Informative:
    """A balanced subset of the training set, drawn anew every so many epochs by what the network now knows.

    Before such an epoch the whole training set is scored: clean images, eval mode, float64 log-softmax. ``ip-dpp``
    draws one exact k-DPP per class with the information-preserving kernel; the other arms are controls of equal size.

    Args:
        batch_size: images in a step.
        arm: how the subset is chosen; ``uniform`` is also the law of the released sampler.
        k: images of each class, classes of at most k whole; None for the rule min(10 * smallest class, N_c).
        resample_every: epochs between draws.
        strength: power of the odds; 1 is the paper's kernel.
        diversity: also spread the subset out in feature space (quality times diversity, at most D images a class).
        mislabelled: share of each class assumed wrongly labelled and set aside, by smallest probability.
    """

    batch_size: int = 64
    arm: Arm = "ip-dpp"
    k: int | None = None
    resample_every: int = 20
    strength: float = 1.0
    diversity: bool = False
    mislabelled: float = 0.0

    def __post_init__(self) -> None:
        k = 1 if self.k is None else self.k
        _check_positive(batch_size=self.batch_size, k=k, resample_every=self.resample_every)
        if self.arm != "ip-dpp" and (self.strength != 1.0 or self.diversity or self.mislabelled):
            raise InputError(f"strength, diversity and mislabelled are options of the arm ip-dpp, not of {self.arm}")

    def build(self, setting: Setting, target: Tensor) -> _Subset:
        """The sampler over ``target`` (N,)."""
        return _Subset(self, setting, target)


class _Subset:
    """Every image of the current subset once an epoch; the subset is part of the state."""

    def __init__(self, description: Informative, setting: Setting, target: Tensor) -> None:
        self._description = description
        self._generator = setting.generator
        counts = setting.counts.to(target.device)
        self._sizes = (
            informative.ten_times_smallest(counts) if description.k is None else counts.clamp(max=description.k)
        )
        self.index = torch.zeros(0, dtype=torch.int64, device=target.device)

    def start_epoch(self, context: Context) -> None:
        """Score the training set and draw a new subset, if it is time."""
        description = self._description
        if context.epoch % description.resample_every:
            return
        everything = torch.arange(len(context.target), device=context.target.device)
        chunks = list(context.outputs(everything, False, False))
        logits = torch.cat([chunk.logits for chunk in chunks])
        log_probability = informative.true_label_log_probability(logits, context.target)
        arms: dict[str, Callable[..., Tensor]] = {
            "ip-dpp": functools.partial(
                informative.information_preserving,
                strength=description.strength,
                features=torch.cat([chunk.levels[-1] for chunk in chunks]) if description.diversity else None,
                mislabelled=description.mislabelled,
            ),
            "uniform": informative.uniform,
            "hardest": informative.hardest,
            "easiest": informative.easiest,
            "class-balanced": informative.class_balanced,
        }
        self.index = arms[description.arm](
            None, context.target, k=self._sizes, generator=self._generator, log_probability=log_probability
        )

    def draw(self) -> Tensor:
        """The subset in random order (n,)."""
        order = torch.randperm(len(self.index), generator=self._generator, device=self._generator.device)
        return self.index[order.to(self.index.device)]

    def __iter__(self) -> Iterator[int]:
        return iter(self.draw().tolist())

    def __len__(self) -> int:
        return len(self.index)

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint must hold besides the generator."""
        return {"index": self.index}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up the subset of a checkpoint."""
        self.index = state["index"].to(self.index.device)


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise InputError(f"{name} must be at least 1, not {value}")
