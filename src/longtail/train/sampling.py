"""Which images an epoch sees, as descriptions that build the samplers when a stage starts."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from longtail.samplers import (
    ClassBalanced,
    ClassQuota,
    InstanceBalanced,
    MinimumPerClass,
    ProgressivelyBalanced,
    SquareRoot,
)
from longtail.train.batch import Setting

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
