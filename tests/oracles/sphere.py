"""Contrastive losses with classes on the sphere, in float64: BCL written out, ProCo by scipy's Bessel functions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from scipy.special import ive
from torch import Tensor


def unit(rows: Tensor) -> np.ndarray:
    held = rows.double().numpy()
    return held / np.linalg.norm(held, axis=1, keepdims=True)


def class_averaged(
    queries: Tensor,
    keys: Tensor,
    target: Tensor,
    *,
    prototypes: Tensor | None,
    temperature: float,
    # What follows exists to be got wrong.
    averaged: bool = True,
    complement: bool = True,
    itself: bool = False,
    whole: bool = False,
) -> list[float]:
    """Anchor by anchor, class by class."""
    z = [*unit(queries), *unit(keys)]
    label = target.tolist() * 2
    if prototypes is not None and complement:
        z += list(unit(prototypes))
        label += list(range(len(prototypes)))
    losses = []
    for a in range(2 * len(target)):
        below = 0.0
        for c in set(label):
            members = [b for b in range(len(z)) if label[b] == c]
            held = [b for b in members if itself or b != a]
            inner = sum(math.exp(z[a] @ z[b] / temperature) for b in held)
            below += inner / (len(members if whole else held) if averaged else 1)
        positives = [p for p in range(len(z)) if label[p] == label[a] and p != a]
        losses.append(-sum(z[a] @ z[p] / temperature - math.log(below) for p in positives) / len(positives))
    return [(losses[i] + losses[i + len(target)]) / 2 for i in range(len(target))]


CLASS_AVERAGED_MUTANTS: dict[str, Callable[..., list[float]]] = {
    "every view alike in the denominator": functools.partial(class_averaged, averaged=False),
    "without prototypes": functools.partial(class_averaged, complement=False),
    "the anchor in its own denominator": functools.partial(class_averaged, itself=True),
    "the anchor counted in its class": functools.partial(class_averaged, whole=True),
}


def log_normaliser(kappa: float, dimension: int) -> float:
    """log C_p(kappa) by the exponentially scaled Bessel function."""
    order = dimension / 2 - 1
    return dimension / 2 * math.log(2 * math.pi) + math.log(ive(order, kappa)) + kappa - order * math.log(kappa)


def probabilistic(
    embeddings: Tensor,
    target: Tensor,
    *,
    counts: list[int],
    means: Tensor,
    temperature: float,
    # What follows exists to be got wrong.
    normalised: bool = True,
    prior: bool = True,
    linear: bool = False,
) -> list[float]:
    """Eq. of L_in, class by class."""
    losses = []
    for z, label in zip(unit(embeddings), target.tolist(), strict=True):
        scores = []
        for mean, count in zip(means.double().numpy(), counts, strict=True):
            length = np.linalg.norm(mean)
            kappa = length * (len(mean) - length**2) / (1 - length**2)
            moved = kappa * mean / length + z / temperature
            shifted = kappa + z @ mean / length / temperature if linear else np.linalg.norm(moved)
            score = log_normaliser(shifted, len(mean)) - normalised * log_normaliser(kappa, len(mean))
            scores.append(score + prior * math.log(count / sum(counts)))
        top = max(scores)
        losses.append(top + math.log(sum(math.exp(score - top) for score in scores)) - scores[label])
    return losses


PROBABILISTIC_MUTANTS: dict[str, Callable[..., list[float]]] = {
    "without the class's own normaliser": functools.partial(probabilistic, normalised=False),
    "without the prior": functools.partial(probabilistic, prior=False),
    "concentrations added along the mean": functools.partial(probabilistic, linear=True),
}
