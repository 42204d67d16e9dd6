"""Samplers: iterables of indices, a whole epoch at a time, that any ``DataLoader`` takes; and subsets chosen once."""

from longtail.samplers.diverse import diverse, greedy
from longtail.samplers.frequency import ClassBalanced, InstanceBalanced, ProgressivelyBalanced, SquareRoot
from longtail.samplers.informative import information_preserving
from longtail.samplers.quota import ClassQuota, MinimumPerClass
from longtail.samplers.selection import read_selection, select, write_selection

__all__ = [
    "ClassBalanced",
    "ClassQuota",
    "InstanceBalanced",
    "MinimumPerClass",
    "ProgressivelyBalanced",
    "SquareRoot",
    "diverse",
    "greedy",
    "information_preserving",
    "read_selection",
    "select",
    "write_selection",
]
