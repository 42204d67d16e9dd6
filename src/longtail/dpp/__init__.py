"""Determinantal point processes, P(Y) proportional to det(L_Y), drawn exactly and in time linear in the items.

Usable alone: nothing here knows of labels. ``printed`` holds the procedures that the IP-DPP paper and its release
describe, which are not this law.
"""

from __future__ import annotations

from longtail.dpp import printed
from longtail.dpp.conditioning import condition
from longtail.dpp.groups import sample_groups
from longtail.dpp.kernels import Dense, DiagonalPlusRankOne, Kernel, LowRank, information_kernel
from longtail.dpp.maximum import greedy
from longtail.dpp.process import expected_size, inclusion_probabilities, log_prob, sample, sample_masks
from longtail.dpp.spectral import Correction, correction

__all__ = [
    "Correction",
    "Dense",
    "DiagonalPlusRankOne",
    "Kernel",
    "LowRank",
    "condition",
    "correction",
    "expected_size",
    "greedy",
    "inclusion_probabilities",
    "information_kernel",
    "log_prob",
    "printed",
    "sample",
    "sample_groups",
    "sample_masks",
]
