"""Losses on logits, sample by sample, as their papers write them."""

from __future__ import annotations

import math


def softmax(scores: list[float]) -> list[float]:
    top = max(scores)
    powers = [math.exp(score - top) for score in scores]
    return [power / sum(powers) for power in powers]


def cross_entropy(logits: list[list[float]], target: list[int], weights: list[float] | None = None) -> list[float]:
    return [
        (1.0 if weights is None else weights[y]) * -math.log(softmax(row)[y])
        for row, y in zip(logits, target, strict=True)
    ]


def balanced_softmax(logits: list[list[float]], target: list[int], counts: list[int]) -> list[float]:
    losses = []
    for row, y in zip(logits, target, strict=True):
        powers = [n * math.exp(score) for n, score in zip(counts, row, strict=True)]
        losses.append(-math.log(powers[y] / sum(powers)))
    return losses


def logit_adjusted(logits: list[list[float]], target: list[int], counts: list[int], tau: float) -> list[float]:
    losses = []
    for row, y in zip(logits, target, strict=True):
        powers = [(n / sum(counts)) ** tau * math.exp(score) for n, score in zip(counts, row, strict=True)]
        losses.append(-math.log(powers[y] / sum(powers)))
    return losses


def vector_scaling(
    logits: list[list[float]], target: list[int], counts: list[int], gamma: float, tau: float
) -> list[float]:
    losses = []
    for row, y in zip(logits, target, strict=True):
        scores = [
            (n / max(counts)) ** gamma * score + tau * math.log(n / sum(counts))
            for n, score in zip(counts, row, strict=True)
        ]
        losses.append(-math.log(softmax(scores)[y]))
    return losses


def focal(logits: list[list[float]], target: list[int], gamma: float) -> list[float]:
    true = [softmax(row)[y] for row, y in zip(logits, target, strict=True)]
    return [(1 - p) ** gamma * -math.log(p) for p in true]


def ldam(
    logits: list[list[float]], target: list[int], counts: list[int], max_margin: float, scale: float
) -> list[float]:
    constant = max_margin * min(counts) ** 0.25
    losses = []
    for row, y in zip(logits, target, strict=True):
        moved = [score - constant / counts[c] ** 0.25 if c == y else score for c, score in enumerate(row)]
        losses.append(-math.log(softmax([scale * score for score in moved])[y]))
    return losses


def effective_number_weights(counts: list[int], beta: float) -> list[float]:
    """Of classes that all have images."""
    raw = [1 / sum(beta**i for i in range(n)) for n in counts]
    return [weight * len(counts) / sum(raw) for weight in raw]
