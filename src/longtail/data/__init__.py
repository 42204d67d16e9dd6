"""Long-tailed data sets in memory, each with an identity."""

from longtail.data.catalogue import load, names
from longtail.data.dataset import Data, Source, channel_statistics, draw
from longtail.data.images import Split
from longtail.data.profiles import exponential_profile, pareto_profile, step_profile

__all__ = [
    "Data",
    "Source",
    "Split",
    "channel_statistics",
    "draw",
    "exponential_profile",
    "load",
    "names",
    "pareto_profile",
    "step_profile",
]
