"""Samplers: which images an epoch sees, for any ``DataLoader`` and for the training loop; and subsets chosen once."""

from longtail.samplers.diverse import diverse, greedy
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
from longtail.samplers.paired import Paired
from longtail.samplers.quota import ClassQuota, MinimumPerClass
from longtail.samplers.selection import select
from longtail.samplers.subset import InformativeSubset

__all__ = [
    "ClassBalanced",
    "ClassQuota",
    "EffectiveNumber",
    "InformativeSubset",
    "InstanceBalanced",
    "MinimumPerClass",
    "Paired",
    "ProgressivelyBalanced",
    "RepeatFactor",
    "Reversed",
    "SquareRoot",
    "diverse",
    "greedy",
    "information_preserving",
    "select",
]
