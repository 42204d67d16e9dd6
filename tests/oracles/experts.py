"""Losses of several experts written out in float64, and the ways of writing them wrongly."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

from torch import Tensor


def log_softmax(row: Sequence[float]) -> list[float]:
    top = max(row)
    total = math.log(sum(math.exp(value - top) for value in row)) + top
    return [value - total for value in row]


def inverse_softmax(
    logits: Tensor,
    target: Tensor,
    *,
    counts: Sequence[int],
    tau: float,
    # What follows exists to be got wrong.
    turned: bool = True,
    sign: float = -1.0,
    own_prior: bool = True,
) -> list[float]:
    """The rarest class takes the frequency of the most frequent one, and so on."""
    share = [count / sum(counts) for count in counts]
    order = sorted(range(len(counts)), key=lambda c: share[c])
    reverse = dict(zip(order, [share[c] for c in reversed(order)], strict=True)) if turned else dict(enumerate(share))
    losses = []
    for row, label in zip(logits.tolist(), target.tolist(), strict=True):
        moved = [
            value + own_prior * math.log(share[c]) + sign * tau * math.log(reverse[c]) for c, value in enumerate(row)
        ]
        losses.append(-log_softmax(moved)[label])
    return losses


INVERSE_MUTANTS: dict[str, Callable[..., list[float]]] = {
    "prior not reversed": functools.partial(inverse_softmax, turned=False),
    "reversed prior added": functools.partial(inverse_softmax, sign=1.0),
    "without the own prior": functools.partial(inverse_softmax, own_prior=False),
}


def diversity(
    logits: Tensor,
    *,
    counts: Sequence[int],
    temperature: float,
    share: float,
    # What follows exists to be got wrong.
    with_itself: bool = False,
    harder_tail: bool = True,
    softened: bool = True,
) -> list[float]:
    """The mean divergence over ordered pairs of experts."""
    mean = sum(counts) / len(counts)
    beta = [share * count / mean + 1 - share for count in counts]
    edge = max(beta) if harder_tail else min(beta)
    heat = [temperature * (b + 1 - edge) if softened else 1.0 for b in beta]
    found = []
    for each in logits.tolist():
        rows = [log_softmax([value / t for value, t in zip(row, heat, strict=True)]) for row in each]
        pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if with_itself or i != j]
        gaps = [sum(math.exp(a) * (a - b) for a, b in zip(rows[i], rows[j], strict=True)) for i, j in pairs]
        found.append(sum(gaps) / len(gaps))
    return found


DIVERSITY_MUTANTS: dict[str, Callable[..., list[float]]] = {
    "an expert paired with itself": functools.partial(diversity, with_itself=True),
    "temperature raised for the head": functools.partial(diversity, harder_tail=False),
    "without temperatures": functools.partial(diversity, softened=False),
}
