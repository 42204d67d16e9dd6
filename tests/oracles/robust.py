"""DRO-LT's losses sample by sample, as they are written down."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def distance(a: Array, b: Array) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)))


def minus_log_softmax(scores: list[float], chosen: int) -> float:
    top = max(scores)
    return top + math.log(sum(math.exp(score - top) for score in scores)) - scores[chosen]


def robustness_loss(
    features: Array,
    target: list[int],
    centroids: Array,
    radii: list[float],
    temperature: float = 1.0,
    strict: bool = False,
    shift: float = 1.0,
) -> list[float]:
    """Loss of every anchor: nominal with radii 0, else the surrogate or the strict bound."""
    losses = []
    for i, own in enumerate(target):
        scores = []
        for j, other in enumerate(target):
            moved = distance(centroids[own], features[j])
            if strict and i == j:
                moved += 2 * radii[own]
            if not strict and own == other:
                moved += shift * radii[own]
            scores.append(-moved / temperature)
        losses.append(minus_log_softmax(scores, i))
    return losses


def class_losses(losses: list[float], target: list[int]) -> dict[int, float]:
    """Mean loss of each class that is present."""
    return {
        c: float(np.mean([loss for loss, own in zip(losses, target, strict=True) if own == c]))
        for c in sorted({*target})
    }


def class_mean(losses: list[float], target: list[int], weights: list[float] | None = None) -> float:
    means = class_losses(losses, target)
    chosen = {c: 1.0 if weights is None else weights[c] for c in means}
    return sum(chosen[c] * mean for c, mean in means.items()) / sum(chosen.values())
