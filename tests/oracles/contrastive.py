"""Supervised contrastive learning written out term by term in float64, and the ways of writing it wrongly."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from oracles.negative_sampling import average, total, unit


def supervised_contrastive(
    queries: Tensor,
    keys: Tensor,
    target: Tensor,
    *,
    temperature: float,
    # What follows exists to be got wrong.
    over_positives: Callable[[Sequence[Tensor]], Tensor] = average,
    scale: Callable[[Tensor], Tensor] = unit,
    inside: bool = False,
    itself_below: bool = False,
    itself_positive: bool = False,
    class_below: bool = True,
    other_view_positive: bool = True,
) -> Tensor:
    """Eq. 2 of Khosla et al. over all 2N views, averaged over the two views of an image."""
    z = [scale(row) for row in torch.cat([queries, keys]).double()]
    label = target.tolist() * 2
    size = len(target)
    views = range(2 * size)
    losses = []
    for a in views:
        positives = [p for p in views if label[p] == label[a] and (p != a or itself_positive)]
        if not other_view_positive:
            positives = [p for p in positives if p % size != a % size] or positives
        below = [b for b in views if (b != a or itself_below) and (class_below or label[b] != label[a])]
        normalizer = total([torch.exp(z[a] @ z[b] / temperature) for b in below])
        share = [torch.exp(z[a] @ z[p] / temperature) / normalizer for p in positives]
        losses.append(-average(share).log() if inside else over_positives([-part.log() for part in share]))
    return torch.stack([(losses[i] + losses[i + size]) / 2 for i in range(size)])


def _mutant(**change: object) -> Callable[..., Tensor]:
    return functools.partial(supervised_contrastive, **change)  # type: ignore[arg-type]


INSIDE = _mutant(inside=True)
"""Eq. 3 of the paper, the sum inside the logarithm."""

MUTANTS: dict[str, Callable[..., Tensor]] = {
    "sum over the positives inside the logarithm": INSIDE,
    "sum over the positives instead of their mean": _mutant(over_positives=total),
    "anchor in its own denominator": _mutant(itself_below=True),
    "anchor among its own positives": _mutant(itself_positive=True, itself_below=True),
    "class left out of the denominator": _mutant(class_below=False),
    "other view not a positive": _mutant(other_view_positive=False),
    "features of any length": _mutant(scale=lambda row: row),
}
