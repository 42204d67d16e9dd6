"""What a difference between two numbers is worth: summaries over seeds, intervals, paired tests.

A number has two sources of chance: which images happen to be in the test set, and which seed happened to train the
network. Everything here works on a matrix of S runs by N test items that says which item each run got right.
docs/statistics.md explains the choices and shows how often the intervals contain the truth.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.errors import InputError
from longtail.shapes import Bool, Float, Int

LEVEL = 0.95
BETTER, WORSE, INDISTINGUISHABLE = "better", "worse", "indistinguishable at 95 %"


@dataclasses.dataclass(frozen=True)
class Summary:
    """A rate over seeds.

    Args:
        values: one for each seed.
        mean: of them.
        sd: standard deviation with n - 1 in the denominator; None for one seed.
        low: the smallest.
        high: the largest.
        n: number of seeds.
    """

    values: tuple[float, ...]
    mean: float
    sd: float | None
    low: float
    high: float
    n: int


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A rate, or a difference of rates, with what is known about its error.

    Args:
        value: mean over the seeds.
        low: lower end of the 95 % interval; None for two seeds, which are too few to tell.
        high: upper end.
        p: two-sided p-value of the hypothesis that ``value`` is 0 in truth.
    """

    value: float
    low: float | None
    high: float | None
    p: float


def summarize(values: Sequence[float]) -> Summary:
    """Mean, standard deviation, range and number of one rate over seeds.

    Example:
        >>> summary = summarize([0.5, 0.6, 0.7])
        >>> round(summary.mean, 6), round(summary.sd, 6), summary.low, summary.high, summary.n
        (0.6, 0.1, 0.5, 0.7, 3)
    """
    if not values:
        raise InputError("there is nothing to summarise: no seed was given")
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(tuple(values), float(np.mean(values)), sd, min(values), max(values), len(values))


def estimate(
    correct: Bool[Tensor, "S N"],
    target: Int[Tensor, " N"],
    *,
    weights: Float[Tensor, "M K"],
    generator: torch.Generator,
    draws: int = 2000,
) -> list[Estimate]:
    """Rates of one method with their intervals: bootstrap crossed over seeds and class-stratified test items.

    Args:
        correct: which of the N test items each of S runs got right.
        target: true class of each item.
        weights: M rates as weights of the K classes' recalls; shares of the test set make the accuracy, equal weights
            the balanced accuracy. A class without a test item must have weight 0.
        generator: decides the draws.
        draws: bootstrap replications.

    Returns:
        One estimate for each row of ``weights``, all from the same draws.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> correct = torch.rand(3, 1000, generator=generator) < 0.7
        >>> target = torch.arange(1000) % 4
        >>> (rate,) = estimate(correct, target, weights=torch.full((1, 4), 0.25), generator=generator)
        >>> rate.low < 0.7 < rate.high
        True
    """
    value, deviations = _crossed([correct.numpy().astype(np.int8)], target, weights, generator, draws)
    return _estimates(value, deviations, known=len(correct) != 2, bounds=(0.0, 1.0))


def difference(
    correct: Bool[Tensor, "S N"],
    baseline: Bool[Tensor, "B N"],
    target: Int[Tensor, " N"],
    *,
    weights: Float[Tensor, "M K"],
    paired: bool,
    generator: torch.Generator,
    draws: int = 2000,
) -> list[Estimate]:
    """Rates of one method minus those of another on the same test items: paired bootstrap.

    Args:
        correct: which of the N test items each run of the method got right.
        baseline: the same for the method it is compared with.
        target: true class of each item.
        weights: M rates as weights of the K classes' recalls, as in ``estimate``.
        paired: the runs at the same position have the same seed and are drawn together.
        generator: decides the draws.
        draws: bootstrap replications.

    Returns:
        One estimate for each row of ``weights``, all from the same draws.
    """
    ours, theirs = correct.numpy().astype(np.int8), baseline.numpy().astype(np.int8)
    if paired and len(ours) != len(theirs):
        raise InputError(f"{len(ours)} runs cannot be paired with {len(theirs)}")
    runs = [ours - theirs] if paired else [ours, -theirs]
    value, deviations = _crossed(runs, target, weights, generator, draws)
    return _estimates(value, deviations, known=2 not in (len(ours), len(theirs)), bounds=(-1.0, 1.0))


def mcnemar(correct: Bool[Tensor, " N"], baseline: Bool[Tensor, " N"]) -> float:
    """Exact McNemar test of two single runs on the same items.

    Of the items that exactly one of the two got right, each got half if the runs are equally good.

    Args:
        correct: which items the one run got right.
        baseline: which items the other got right.

    Returns:
        Two-sided p-value.

    Example:
        >>> mcnemar(torch.tensor([True] * 6), torch.tensor([False] * 6))
        0.03125

    References:
        McNemar, *Note on the sampling error of the difference between correlated proportions or percentages*, 1947.
    """
    from scipy.stats import binomtest

    wins, losses = int((correct & ~baseline).sum()), int((baseline & ~correct).sum())
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """P-values adjusted for there being several, so that the chance of any false verdict stays below the level.

    Args:
        p: one for each comparison.

    Returns:
        The adjusted ones, in the same order, at most 1.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    References:
        Holm, *A simple sequentially rejective multiple test procedure*, 1979.
    """
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = highest
    return adjusted


def verdict(value: float, p: float) -> str:
    """One of ``better``, ``worse`` and ``indistinguishable at 95 %``.

    Example:
        >>> verdict(0.02, 0.2), verdict(0.02, 0.01), verdict(-0.02, 0.01)
        ('indistinguishable at 95 %', 'better', 'worse')
    """
    if p >= 1 - LEVEL or value == 0:
        return INDISTINGUISHABLE
    return BETTER if value > 0 else WORSE


def _crossed(
    runs: Sequence[NDArray[np.int8]],
    target: Tensor,
    weights: Tensor,
    generator: torch.Generator,
    draws: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Values (M,) of M linear statistics and their bootstrap deviations (draws, M).

    ``runs`` holds independent sets of runs, each (S, N); the statistic is the sum over the sets of their means over
    runs. Runs of each set and items of each class are drawn independently (the pigeonhole bootstrap), one fewer than
    there are, which makes the variance of each unbiased (McCarthy and Snowden 1985). The variance of a draw is then
    exactly A + B + C, where

    * A is the variance from items, estimated from their means over the runs,
    * B the variance from runs, estimated from their means over the items,
    * C the variance from what one run does with one item, and nothing else.

    A and B each contain C once, so C is counted three times (Owen 2007); the truth is V = A + B - C. Deviations are
    therefore scaled by sqrt(V / (A + B + C)). Few runs know B badly: Satterthwaite's degrees of freedom of V turn the
    deviations into those of a t distribution.
    """
    rng = np.random.Generator(np.random.PCG64(int(torch.randint(2**62, (), generator=generator))))
    stacked = np.concatenate(runs)
    share = np.concatenate([np.full(len(part), 1 / len(part)) for part in runs])
    weight = weights.numpy().astype(np.float64)
    num_rates, num_classes = weight.shape
    order = np.argsort(target.numpy(), kind="stable")
    sizes = np.bincount(target.numpy(), minlength=num_classes)
    if len(sizes) != num_classes or bool((weight[:, sizes == 0] != 0).any()):
        raise InputError("weights must have a column for each class and be 0 where a class has no test item")

    statistic = np.zeros((num_rates, len(stacked)))  # of each run
    drawn = np.zeros((draws, num_rates, len(stacked)))
    by_items, by_both = np.zeros(num_rates), np.zeros(num_rates)
    for items, column in zip(np.split(order, np.cumsum(sizes)[:-1]), weight.T, strict=True):
        size = len(items)
        if size == 0:
            continue
        block = stacked[:, items]
        mean = block.mean(axis=1)
        statistic += np.outer(column, mean)
        if size == 1:  # its variance cannot be known
            drawn += np.multiply.outer(column, mean)
            continue
        by_items += column**2 * (share @ block).var(ddof=1) / size
        by_both += column**2 * sum(_interaction(part) for part in np.split(block, _ends(runs))) / size
        # Items that every run treats alike are interchangeable: draw how many of each kind, not which.
        kinds, counts = np.unique(block, axis=1, return_counts=True)
        likely_first = np.argsort(-counts)
        times = rng.multinomial(size - 1, counts[likely_first] / size, size=draws)
        means = times @ kinds[:, likely_first].T.astype(np.float64) / (size - 1)
        drawn += column[None, :, None] * means[:, None, :]

    by_runs, freedom_of_items = np.zeros(num_rates), max(len(order) - int((sizes > 0).sum()), 1)
    uncertain = by_items**2 / freedom_of_items
    chosen = []
    for part in np.split(statistic, _ends(runs), axis=1):
        size = part.shape[1]
        if size == 1:
            chosen.append(np.ones((draws, 1)))
            continue
        variance = part.var(axis=1, ddof=1) / size
        by_runs += variance
        uncertain += variance**2 / (size - 1)
        chosen.append(rng.multinomial(size - 1, np.full(size, 1 / size), size=draws) / (size - 1))
    value = statistic @ share
    deviations = np.einsum("dmr,dr->dm", drawn, np.concatenate(chosen, axis=1)) - value

    # A - C and B - C estimate variances, which are never negative.
    variance = by_both + np.maximum(by_items - by_both, 0) + np.maximum(by_runs - by_both, 0)
    total = by_items + by_runs + by_both
    scale = np.sqrt(np.divide(variance, total, out=np.ones(num_rates), where=total > 0))
    many = 1e6  # degrees of freedom that make a normal distribution
    freedom = np.divide(variance**2, uncertain, out=np.full(num_rates, many), where=uncertain > 0).clip(max=many)
    widening = np.sqrt(freedom / rng.chisquare(freedom, size=(draws, num_rates)))
    return value, deviations * scale * widening


def _ends(runs: Sequence[NDArray[np.int8]]) -> NDArray[np.intp]:
    return np.cumsum([len(part) for part in runs])[:-1]


def _interaction(block: NDArray[np.int8]) -> float:
    """Mean square of what neither the run nor the item explains, over the number of runs; 0 for a single run."""
    runs, items = block.shape
    if runs == 1:
        return 0.0
    rest = block - block.mean(axis=0) - block.mean(axis=1, keepdims=True) + block.mean()
    return float(np.square(rest).sum() / ((runs - 1) * (items - 1) * runs))


def _estimates(
    value: NDArray[np.float64], deviations: NDArray[np.float64], *, known: bool, bounds: tuple[float, float]
) -> list[Estimate]:
    """Symmetric intervals and p-values that agree: 0 is outside the interval exactly when p is below 5 %."""
    draws = len(deviations)
    size = np.sort(np.abs(deviations), axis=0)
    half = size[min(math.ceil(LEVEL * (draws + 1)), draws) - 1]
    p = (1 + (size >= np.abs(value)).sum(axis=0)) / (draws + 1)
    found = []
    for v, h, q in zip(value.tolist(), half.tolist(), p.tolist(), strict=True):
        low, high = (max(v - h, bounds[0]), min(v + h, bounds[1])) if known else (None, None)
        found.append(Estimate(v, low, high, q))
    return found
