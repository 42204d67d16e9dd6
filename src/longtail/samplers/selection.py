"""A subset chosen for a job, such as what to label or to look at, by the name of a way."""

from __future__ import annotations

from typing import SupportsIndex

import torch
from torch import Tensor

from longtail.dpp.kernels import Array
from longtail.errors import InputError, unknown
from longtail.samplers import informative
from longtail.samplers.diverse import diverse, greedy
from longtail.shapes import Int

__all__ = ["WAYS", "select"]

WAYS = ("diverse", "greedy", "ip-dpp", "uniform")
"""The names that ``select`` knows."""


def select(
    by: str,
    target: Array,
    *,
    k: SupportsIndex | Array,
    generator: torch.Generator | None,
    features: Array | None = None,
    probability: Array | None = None,
    log_probability: Array | None = None,
) -> Int[Tensor, " n"]:
    """Choose k items of every class, in one of the ways of ``WAYS``; classes of at most k items whole.

    Args:
        by: ``diverse`` or ``greedy`` (they need ``features``), ``ip-dpp`` (a probability; with features also spread
            out), or ``uniform``, the control.
        target: (N,), the classes.
        k: items per class, a number or one for each class.
        generator: random stream of the draw; not used by ``greedy``.
        features: (N, D), of a trained or pre-trained network.
        probability: (N,), of the true label.
        log_probability: (N,), its logarithm: the better input.

    Returns:
        Indices into ``target``, ascending.

    Raises:
        InputError: ``by`` is unknown, or what it needs is missing.

    Example:
        >>> len(select("uniform", [0] * 9 + [1] * 2, k=3, generator=torch.Generator().manual_seed(0)))
        5
    """
    if by not in WAYS:
        raise unknown("way to select", by, WAYS)
    if by == "uniform":
        return informative.uniform(None, target, k=k, generator=generator)
    if by == "ip-dpp":
        if probability is None and log_probability is None:
            raise InputError("ip-dpp selects by the probability of the true label, and none was given: train a model")
        return informative.information_preserving(
            probability, target, k=k, generator=generator, log_probability=log_probability, features=features
        )
    if features is None:
        raise InputError(f"{by} selects by features, and none were given: embed the data first")
    if by == "greedy":
        return greedy(features, target, k=k)
    return diverse(features, target, k=k, generator=generator)
