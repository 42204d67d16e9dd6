"""Determinantal point processes, P(Y) proportional to det(L_Y), drawn exactly and in time linear in the items.

Usable alone: nothing here knows of labels. ``law`` holds what tests compare against and ``printed`` the procedures that
the IP-DPP paper and its release describe, which are not this law.
"""

from __future__ import annotations

from longtail.dpp import law, printed
from longtail.dpp.kernels import Dense, DiagonalPlusRankOne, Kernel, LowRank, information_kernel
from longtail.dpp.process import expected_size, inclusion_probabilities, log_prob, sample, sample_masks

__all__ = [
    "Dense",
    "DiagonalPlusRankOne",
    "Kernel",
    "LowRank",
    "expected_size",
    "inclusion_probabilities",
    "information_kernel",
    "law",
    "log_prob",
    "printed",
    "sample",
    "sample_masks",
]
