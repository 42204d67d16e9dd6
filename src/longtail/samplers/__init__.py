"""Samplers: which images an epoch sees, for any ``DataLoader`` and for the training loop of this library."""

from longtail.samplers.frequency import (
    ClassBalanced,
    EffectiveNumber,
    InstanceBalanced,
    ProgressivelyBalanced,
    RepeatFactor,
    Reversed,
    SquareRoot,
)
from longtail.samplers.informative import information_preserving
from longtail.samplers.quota import ClassQuota, MinimumPerClass
from longtail.samplers.subset import InformativeSubset

__all__ = [
    "ClassBalanced",
    "ClassQuota",
    "EffectiveNumber",
    "InformativeSubset",
    "InstanceBalanced",
    "MinimumPerClass",
    "ProgressivelyBalanced",
    "RepeatFactor",
    "Reversed",
    "SquareRoot",
    "information_preserving",
]
