"""Samplers: iterables of indices, drawn a whole epoch at a time, that any ``DataLoader`` takes."""

from longtail.samplers.frequency import ClassBalanced, InstanceBalanced, ProgressivelyBalanced, SquareRoot
from longtail.samplers.informative import information_preserving
from longtail.samplers.quota import ClassQuota, MinimumPerClass
from longtail.samplers.subset import InformativeSubset

__all__ = [
    "ClassBalanced",
    "ClassQuota",
    "InformativeSubset",
    "InstanceBalanced",
    "MinimumPerClass",
    "ProgressivelyBalanced",
    "SquareRoot",
    "information_preserving",
]
