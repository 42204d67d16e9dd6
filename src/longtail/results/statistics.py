"""What a number and a difference are worth: summaries over seeds, intervals, tests and verdicts.

A number has two sources of chance: which images happen to be in the test set, and which seed happened to train the
network. Everything here works on a matrix of S runs by N test items that says which item each run got right. Nothing is
drawn at random. An interval, its p-value and its verdict come from one computation, so they cannot contradict each
other. docs/statistics.md explains the choices and shows how often the intervals contain the truth.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from longtail.errors import InputError
from longtail.results import crossed
from longtail.shapes import Bool, Float, Int

LEVEL = 0.95
"""Of every interval; for a family of contrasts, of all its intervals together."""
BETTER, WORSE, INDISTINGUISHABLE = "better", "worse", "indistinguishable at 95 %"
ONE_RUN = " in this run"
"""Added to ``BETTER`` and ``WORSE`` where a method has one seed: the verdict is on that network, not on the method."""
NO_VERDICT = "no verdict from two seeds"
FEWEST = 3
"""Seeds from which on a verdict is one on a method."""
ALIKE = 0.05
"""Spreads over seeds are pooled unless Bartlett's test finds them different at this level."""
SMALL = 10.5
"""Below so many independent answers, the interval of a rate is also as wide as that of Clopper and Pearson."""
MARGIN = 0.45
"""Standard errors by which a variance over seeds may be small by chance without making an interval short."""
_LEAST = 1e-30
"""No p-value that takes seeds into account is stated smaller."""
_STRAY = 0.05
"""Share of the sum of squares up to which the lightest disagreements do not make a distribution less lumpy."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """One rate over the seeds of a method.

    Args:
        values: the rate of each seed, in [0, 1].
        mean: mean of ``values``.
        sd: standard deviation of ``values`` with n - 1 in the denominator; None for one seed.
        low: the smallest value.
        high: the largest value.
        n: number of seeds.

    Example:
        >>> Summary((0.5,), mean=0.5, sd=None, low=0.5, high=0.5, n=1) == summarize([0.5])
        True
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
        p: two-sided p-value of the hypothesis that a difference is 0 in truth, of this contrast alone; None for a rate
            and for two seeds.

    Example:
        >>> gap = Estimate(0.02, low=-0.01, high=0.05, p=0.19)
        >>> gap.low <= 0 <= gap.high, verdict(gap, runs=3)
        (True, 'indistinguishable at 95 %')
    """

    value: float
    low: float | None
    high: float | None
    p: float | None = None


@dataclasses.dataclass(frozen=True)
class Seeds:
    """Spread over seeds, pooled over the arms of a table.

    Args:
        variance: variance of one run's rate, for each of the M rates.
        freedom: degrees of freedom of ``variance``.
        alike: p-value of Bartlett's test that the arms spread alike, for each rate.
        pooled: whether the pooled variance serves, for each rate; otherwise each contrast uses its own runs.
    """

    variance: tuple[float, ...]
    freedom: int
    alike: tuple[float, ...]
    pooled: tuple[bool, ...]


def summarize(values: Sequence[float]) -> Summary:
    """Mean, standard deviation, range and number of one rate over seeds.

    Args:
        values: the rate of each seed, at least one.

    Returns:
        The summary; its standard deviation is None for one seed.

    Raises:
        InputError: ``values`` is empty.

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
    generator: object = None,
) -> list[Estimate]:
    r"""Rates of one method with their 95 % intervals, from its own runs alone.

    .. math:: \tilde\theta \pm \sqrt{z^2 \tilde\theta (1 - \tilde\theta) / (n + z^2) + t^2 \max(B - \kappa C, 0)},
        \qquad \tilde\theta = (n \hat\theta + z^2 / 2) / (n + z^2)

    n is the effective number of answers: as many independent answers have the variance that the test items of each
    class show (Korn and Graubard). The first term is the interval of Agresti and Coull, which has a width even where
    everything is right. B is the variance of the mean over the seeds, and C the part of it that is chance on single
    items, which the first term holds already. t has S - 1 degrees of freedom; see ``seed_part`` for the factor of C.
    Use it for the accuracy of one method; use ``difference`` to compare two.

    Args:
        correct: which of the N test items each of S runs got right.
        target: true class of each item.
        weights: M rates as weights of the K classes' recalls, each row with the sum 1; shares of the test set make the
            accuracy, equal weights the balanced accuracy. A class without a test item must have weight 0.
        generator: not used; nothing is drawn.

    Returns:
        One estimate for each row of ``weights``. No interval for two runs.

    Raises:
        InputError: weights that make no mean of the recalls, or other test items.

    Example:
        >>> import torch
        >>> target = torch.arange(1000) % 4
        >>> correct = torch.arange(3000).reshape(3, 1000) % 10 < 7
        >>> (rate,) = estimate(correct, target, weights=torch.full((1, 4), 0.25))
        >>> f"{rate.value:.3f} [{rate.low:.3f}, {rate.high:.3f}]"
        '0.700 [0.672, 0.727]'

    References:
        Agresti, Coull, *Approximate is better than "exact" for interval estimation of binomial proportions*, 1998.
        Korn, Graubard, *Confidence intervals for proportions with small expected number of positive counts*, 1998.
    """
    del generator
    made = crossed.rates(target, weights)
    found = crossed.arm(correct, made)
    value = np.clip(crossed.of_runs(made, found.right.sum(axis=0, keepdims=True))[:, 0] / found.runs, 0.0, 1.0)
    if found.runs == 2:
        return [Estimate(one, None, None) for one in value.tolist()]
    number = _answers(made, found, value)
    extra = np.zeros(len(value))
    if found.runs > 2:
        cells = crossed.histogram(made, found.sums, found.runs + 1)
        alone = crossed.interaction(made, found.right.sum(axis=0), cells, np.arange(found.runs + 1), found.right)
        between = crossed.of_seeds(crossed.of_runs(made, found.right)) / found.runs
        freedom = float(found.runs - 1)
        from_seeds = [seed_part(b, c, freedom) for b, c in zip(between, alone, strict=True)]
        extra = _t(1 - LEVEL, freedom) ** 2 * np.array(from_seeds)
    return [_rate(*one) for one in zip(value.tolist(), number.tolist(), extra.tolist(), strict=True)]


def difference(
    correct: Bool[Tensor, "S N"],
    baseline: Bool[Tensor, "B N"],
    target: Int[Tensor, " N"],
    *,
    weights: Float[Tensor, "M K"],
    paired: bool,
    family: int = 1,
    seeds: Seeds | None = None,
    generator: object = None,
) -> list[Estimate]:
    r"""Rates of one method minus those of another on the same test items, with simultaneous 95 % intervals.

    The items on which the two differ decide. Let :math:`D_i` be the difference on item i (mean over the runs, times the
    weight of the item), :math:`\rho = \sum |D_i|`, and :math:`\pi` the share of :math:`\rho` that speaks for the
    method, so that the difference is :math:`\rho (2\pi - 1)`. :math:`\pi` has the exact binomial interval of
    :math:`(\sum |D_i|)^2 / \sum D_i^2` disagreements. For two single runs and the accuracy this is McNemar's exact
    test. The variance over seeds is added to it as in ``estimate``.

    Args:
        correct: which of the N test items each run of the method got right.
        baseline: right answers of the method it is compared with, likewise.
        target: true class of each item.
        weights: M rates as weights of the K classes' recalls, as in ``estimate``.
        paired: the runs at the same position have the same seed.
        family: number of contrasts that are read together; each gets a share of the 5 % (Bonferroni).
        seeds: spread over seeds, pooled over a table; without it, that of these runs alone.
        generator: not used; nothing is drawn.

    Returns:
        One estimate for each row of ``weights``. ``low`` and ``high`` hold for the whole family; ``p`` is that of the
        contrast alone, and 0 is outside the interval exactly when ``adjusted(p, family)`` is below 5 %. No interval and
        no p if one of the two has two runs.

    Raises:
        InputError: runs that cannot be paired, weights that make no mean of the recalls, or other test items.

    Example:
        >>> import torch
        >>> target = torch.zeros(20, dtype=torch.int64)
        >>> always, half = torch.ones(1, 20, dtype=torch.bool), torch.arange(20)[None] < 10
        >>> (gap,) = difference(always, half, target, weights=torch.ones(1, 1), paired=True)
        >>> f"{gap.value} [{gap.low:.2f}, {gap.high:.2f}], p {gap.p:.4f}"
        '0.5 [0.18, 0.73], p 0.0020'

    References:
        McNemar, *Note on the sampling error of the difference between correlated proportions or percentages*, 1947.
        Clopper, Pearson, *The use of confidence or fiducial limits illustrated in the case of the binomial*, 1934.
    """
    del generator
    made = crossed.rates(target, weights)
    ours, theirs = crossed.arm(correct, made), crossed.arm(baseline, made)
    if paired and ours.runs != theirs.runs:
        raise InputError(f"{ours.runs} runs cannot be paired with {theirs.runs}")
    if family < 1:
        raise InputError(f"a family has at least one contrast, not {family}")
    return _estimates(_contrast(made, ours, theirs, paired=paired, seeds=seeds), ours, theirs, family)


def pairwise(
    arms: Sequence[Bool[Tensor, "S N"] | crossed.Arm],
    target: Int[Tensor, " N"],
    *,
    weights: Float[Tensor, "M K"],
    paired: Callable[[int, int], bool],
    family: int = 1,
    seeds: Seeds | None = None,
) -> Iterator[tuple[int, int, list[Estimate]]]:
    """``difference`` of every two of many methods on the same test items; each is counted once.

    Args:
        arms: which of the N test items each of the S runs of a method got right, or ``crossed.arm`` of it.
        target: true class of each item.
        weights: M rates as weights of the K classes' recalls, as in ``estimate``.
        paired: whether the runs of two arms, given by their places, have the same seeds in the same order.
        family: number of contrasts that are read together.
        seeds: spread over seeds, pooled over the arms.

    Yields:
        The places of two arms, the first before the second, and the estimates of the first minus the second.

    Raises:
        InputError: as for ``difference``.
    """
    made = crossed.rates(target, weights)
    counted = [crossed.arm(correct, made) for correct in arms]
    for i, j in itertools.combinations(range(len(arms)), 2):
        together = paired(i, j)
        if together and counted[i].runs != counted[j].runs:
            raise InputError(f"{counted[i].runs} runs cannot be paired with {counted[j].runs}")
        parts = _contrast(made, counted[i], counted[j], paired=together, seeds=seeds)
        yield i, j, _estimates(parts, counted[i], counted[j], family)


def _estimates(parts: Sequence[_Contrast], ours: crossed.Arm, theirs: crossed.Arm, family: int) -> list[Estimate]:
    if 2 in (ours.runs, theirs.runs):
        return [Estimate(one.value, None, None) for one in parts]
    alpha = (1 - LEVEL) / family
    return [Estimate(one.value, -_upper(one.turned(), alpha), _upper(one, alpha), _p(one)) for one in parts]


def pool_seeds(
    arms: Sequence[Bool[Tensor, "S N"] | crossed.Arm],
    target: Int[Tensor, " N"],
    *,
    weights: Float[Tensor, "M K"],
    paired: bool,
) -> Seeds:
    """Pool the variance over seeds of the methods of a table, where their spreads are alike.

    Three seeds give two degrees of freedom to a variance, and eight contrasts then need 12.6 standard errors. Nine
    methods together have sixteen. Arms of one run tell nothing about the spread and count for nothing.

    Args:
        arms: which of the N test items each run of each method got right, or ``crossed.arm`` of it.
        target: true class of each item.
        weights: M rates as weights of the K classes' recalls.
        paired: all arms have the same seeds in the same order.

    Returns:
        The pooled variance, and whether it may be used.

    Example:
        >>> import torch
        >>> target = torch.zeros(40, dtype=torch.int64)
        >>> arms = [torch.rand(3, 40, generator=torch.Generator().manual_seed(n)) < 0.6 for n in range(4)]
        >>> seeds = pool_seeds(arms, target, weights=torch.ones(1, 1), paired=True)
        >>> seeds.freedom, seeds.pooled
        (6, (True,))

    References:
        Bartlett, *Properties of sufficiency and statistical tests*, 1937.
    """
    made = crossed.rates(target, weights)
    counted = [crossed.arm(one, made) for one in arms]
    values = [crossed.of_runs(made, one.right) for one in counted if one.runs > 1]
    if not values:
        nothing = len(made.weights)
        return Seeds((0.0,) * nothing, 0, (1.0,) * nothing, (False,) * nothing)
    variance, freedom = crossed.spread(values, paired=paired)
    # No spread is smaller than what rounding to whole items makes.
    least = (made.item.max(axis=1)) ** 2 / 12
    spreads = np.stack([np.maximum(crossed.of_seeds(part), least) for part in values])
    alike = [_bartlett(spreads[:, m], [part.shape[1] for part in values]) for m in range(len(made.weights))]
    pooled = tuple(p >= ALIKE and freedom > 0 for p in alike)
    return Seeds(tuple(variance.tolist()), freedom, tuple(alike), pooled)


def smallest_difference(
    correct: Bool[Tensor, "S N"],
    baseline: Bool[Tensor, "B N"],
    target: Int[Tensor, " N"],
    *,
    weights: Float[Tensor, "M K"],
    paired: bool,
    runs: int,
    arms: int = 2,
    family: int = 1,
    seeds: Seeds | None = None,
) -> list[float]:
    """Half the width that the interval of a difference would have with another number of seeds.

    A true difference of this size is told from 0 about half of the time. Use it to plan how many seeds to run.

    Args:
        correct: which of the N test items each run of the method got right; at least three runs.
        baseline: right answers of the method it is compared with, likewise.
        target: true class of each item.
        weights: M rates as weights of the K classes' recalls.
        paired: the runs at the same position have the same seed.
        runs: seeds of each method, at least three.
        arms: methods of the table, whose spread over seeds is pooled if ``seeds`` says that it may be.
        family: number of contrasts that are read together.
        seeds: spread over seeds, pooled over the table.

    Returns:
        The smallest difference for each row of ``weights``.
    """
    made = crossed.rates(target, weights)
    ours, theirs = crossed.arm(correct, made), crossed.arm(baseline, made)
    have = 2 / (1 / ours.runs + 1 / theirs.runs)
    alpha, found = (1 - LEVEL) / family, []
    for m, one in enumerate(_contrast(made, ours, theirs, paired=paired, seeds=seeds)):
        pooled = seeds is not None and seeds.pooled[m]
        groups = arms if pooled else 2
        freedom = float((groups - 1 if paired else groups) * (runs - 1))
        items = one.squares - min(one.alone, one.squares) * (1 - have / runs)
        between = seed_part(one.between * have / runs, one.alone * have / runs, freedom)
        found.append(math.sqrt(_z(alpha) ** 2 * items + _t(alpha, freedom) ** 2 * between))
    return found


def seed_part(between: float, alone: float, freedom: float) -> float:
    r"""Variance of a mean over runs that comes from the seeds, beyond chance on single items.

    .. math:: \max(B - \kappa C, 0), \qquad \kappa = 1 - m \sqrt{2 / \nu}

    B - C would be unbiased. But a B that is small by chance must not make the interval too short. Where the seeds add
    nothing, B has the mean C and the standard error :math:`C \sqrt{2 / \nu}`; m = ``MARGIN`` of these stay in.

    Args:
        between: B, the variance of the mean over the runs, estimated from the runs.
        alone: C, the part of it that is chance on single items.
        freedom: degrees of freedom of B.

    Returns:
        The variance, at least 0.

    Example:
        >>> round(seed_part(3.0, 2.0, 2.0), 6), seed_part(1.0, 2.0, 50.0)
        (1.9, 0.0)
    """
    kept = max(1 - MARGIN * math.sqrt(2 / freedom), 0.0)
    return max(float(between) - kept * float(alone), 0.0)


def t_quantile(freedom: float | int, level: float = LEVEL) -> float:
    """Return the standard errors on either side of a mean that hold a share ``level`` of Student's t.

    Example:
        >>> round(t_quantile(2.0), 2), round(t_quantile(2.0, 1 - 0.05 / 8), 1)
        (4.3, 12.6)
    """
    return _t(1 - level, freedom)


def mcnemar(correct: Bool[Tensor, " N"], baseline: Bool[Tensor, " N"]) -> float:
    """Exact McNemar test of two single runs on the same items.

    Of the items that exactly one of the two got right, each got half if the runs are equally good. For two single runs
    the p-value of ``difference`` in accuracy is this one.

    Args:
        correct: which items the one run got right.
        baseline: which items the other got right.

    Returns:
        Two-sided p-value.

    Example:
        >>> import torch
        >>> mcnemar(torch.tensor([True] * 6), torch.tensor([False] * 6))
        0.03125

    References:
        McNemar, *Note on the sampling error of the difference between correlated proportions or percentages*, 1947.
    """
    from scipy.stats import binomtest

    wins, losses = int((correct & ~baseline).sum()), int((baseline & ~correct).sum())
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def adjusted(p: float | None, family: int) -> float | None:
    """Return a p-value that allows for a family of contrasts, by Bonferroni's rule.

    Example:
        >>> adjusted(0.01, 4), adjusted(0.5, 4), adjusted(None, 4)
        (0.04, 1.0, None)
    """
    return None if p is None else min(1.0, family * p)


def verdict(estimate: Estimate, runs: int) -> str:
    """Say what an interval of a difference says.

    Args:
        estimate: a difference with its interval, from ``difference``.
        runs: seeds of the method that has fewer.

    Returns:
        ``better`` or ``worse`` if 0 is outside the interval, with "in this run" after it for one seed; otherwise
        ``indistinguishable at 95 %``; for two seeds, that there is no verdict.

    Example:
        >>> verdict(Estimate(0.02, 0.01, 0.03, 0.001), 3), verdict(Estimate(0.02, 0.01, 0.03, 0.001), 1)
        ('better', 'better in this run')
    """
    if estimate.low is None or estimate.high is None:
        return NO_VERDICT
    if estimate.low <= 0 <= estimate.high:
        return INDISTINGUISHABLE
    return (BETTER if estimate.low > 0 else WORSE) + (ONE_RUN if runs == 1 else "")


def _answers(made: crossed.Rates, found: crossed.Arm, value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Effective number (M,) of independent answers behind each rate.

    The variance within a class is that of its recall, drawn to the overall rate by the weight of one item, so that a
    class that is all right by chance is not taken for certain. Runs that agree count as one, runs that do not as more.
    """
    size, runs = made.sizes.astype(np.float64), found.runs
    share = np.divide(made.weights**2, size, out=np.zeros_like(made.weights), where=size > 0)
    whole = 1 / share.sum(axis=1)
    recall = found.right.sum(axis=0) / np.maximum(size * runs, 1)
    middle = (whole * value + 2) / (whole + 4)
    drawn = (size * recall + middle[:, None]) / (size + 1)
    lost = 1 - size / (size + 1) ** 2  # of p (1 - p), on average, by estimating p
    variance = (share * drawn * (1 - drawn) / lost).sum(axis=1)
    mean = (made.weights * drawn).sum(axis=1)
    if runs > 1:
        cells = crossed.histogram(made, found.sums, runs + 1)
        second = cells @ (np.arange(runs + 1) / runs) ** 2 / np.maximum(size, 1)
        unbiased = np.divide(size, size - 1, out=np.zeros_like(size), where=size > 1)
        together = (share * unbiased * np.maximum(second - recall**2, 0)).sum(axis=1)
        alone = (share * unbiased * recall * (1 - recall)).sum(axis=1)
        # As if one more item were answered by all runs alike.
        one = share.sum(axis=1) / (size * (made.weights > 0)).sum(axis=1)
        variance *= (together + one) / (alone + one)
    # The mean is drawn to the middle too; the root keeps a single class of any size above 93 %.
    return np.asarray(mean * (1 - mean) / np.sqrt(1 - whole / (whole + 1) ** 2) / variance)


def _rate(value: float, number: float, extra: float) -> Estimate:
    z2 = _z(1 - LEVEL) ** 2
    middle = (value * number + z2 / 2) / (number + z2)
    half = math.sqrt(z2 * middle * (1 - middle) / (number + z2) + extra)
    low, high = middle - half, middle + half
    if number < SMALL:
        exact = _share(value * number, number, 0.0, 1 - LEVEL), 1 - _share((1 - value) * number, number, 0.0, 1 - LEVEL)
        low = min(low, value - math.hypot(value - exact[0], math.sqrt(extra)))
        high = max(high, value + math.hypot(exact[1] - value, math.sqrt(extra)))
    return Estimate(value, max(low, 0.0), min(high, 1.0))


@dataclasses.dataclass(frozen=True)
class _Contrast:
    """What decides one difference: disagreements by items, and the seeds."""

    value: float
    apart: float  # rho
    ahead: float  # pi
    squares: float  # sum of D squared
    smooth: float  # 0 for a distribution as lumpy as the binomial, up to 0.5
    whole: float  # effective number of test items
    between: float  # B
    alone: float  # C
    freedom: float

    def turned(self) -> _Contrast:
        """Return the difference in the other direction."""
        return dataclasses.replace(self, value=-self.value, ahead=1 - self.ahead)

    @property
    def number(self) -> float:
        """Effective number of disagreements."""
        return self.apart**2 / self.squares if self.squares > 0 else 0.0


def _contrast(
    made: crossed.Rates, ours: crossed.Arm, theirs: crossed.Arm, *, paired: bool, seeds: Seeds | None
) -> list[_Contrast]:
    a, b = ours.runs, theirs.runs
    joint = crossed.histogram(made, ours.sums * (b + 1) + theirs.sums, (a + 1) * (b + 1))
    # In units of 1 / (a b), so that equal answers differ by exactly 0.
    unit = a * b
    steps = (np.arange(a + 1)[:, None] * b - np.arange(b + 1) * a).reshape(-1)
    total = ours.right.sum(axis=0) * b - theirs.right.sum(axis=0) * a
    value = np.clip(crossed.of_runs(made, total[None])[:, 0] / unit, -1.0, 1.0)
    if paired:
        gap = ours.right - theirs.right
        unlike = (ours.correct != theirs.correct).sum(axis=0)
        squares = np.bincount(made.target, weights=unlike, minlength=len(made.sizes)).astype(np.int64)
        alone = crossed.interaction(made, squares, joint, steps // b, gap)
        between = crossed.of_seeds(crossed.of_runs(made, gap)) / a
        freedom = np.full(len(between), float(a - 1))
    else:
        (b_ours, c_ours), (b_theirs, c_theirs) = _own(made, ours), _own(made, theirs)
        between, alone = b_ours + b_theirs, c_ours + c_theirs
        uncertain = b_ours**2 / max(a - 1, 1) + b_theirs**2 / max(b - 1, 1)
        all_degrees = np.full(len(between), float(max(a + b - 2, 1)))
        freedom = np.divide(between**2, uncertain, out=all_degrees, where=uncertain > 0)
    found = []
    for m, item in enumerate(made.item):
        weight = (item[:, None] * np.abs(steps) / unit).reshape(-1)
        count = joint.reshape(-1)
        kept = (weight > 0) & (count > 0)
        sizes, times = weight[kept], count[kept]
        sign = np.broadcast_to(steps > 0, joint.shape).reshape(-1)[kept]
        apart, square = float(sizes @ times), float(sizes**2 @ times)
        b_m, c_m, f_m = float(between[m]), float(alone[m]), float(freedom[m])
        if min(a, b) < FEWEST:  # the verdict is on these networks
            b_m, c_m, f_m = 0.0, float(alone[m]), 1.0
        elif seeds is not None and seeds.pooled[m]:
            b_m, f_m = seeds.variance[m] * (1 / a + 1 / b), float(seeds.freedom)
        found.append(
            _Contrast(
                value=float(value[m]),
                apart=apart,
                ahead=float(sizes[sign] @ times[sign]) / apart if apart > 0 else 0.5,
                squares=square,
                smooth=_smooth(sizes, times, apart, square),
                whole=float(1 / (made.weights[m] * item).sum()),
                between=b_m,
                alone=c_m,
                freedom=f_m,
            )
        )
    return found


def _own(made: crossed.Rates, found: crossed.Arm) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """B and C of one arm by itself."""
    cells = crossed.histogram(made, found.sums, found.runs + 1)
    alone = crossed.interaction(made, found.right.sum(axis=0), cells, np.arange(found.runs + 1), found.right)
    return crossed.of_seeds(crossed.of_runs(made, found.right)) / found.runs, alone


def _smooth(sizes: NDArray[np.float64], times: NDArray[np.int64], apart: float, square: float) -> float:
    """How much of the half step between exact and continuous a sum of signs of these sizes may give up: 0 to 0.5."""
    if apart <= 0:
        return 0.0
    order = np.argsort(sizes, kind="stable")
    heavy = np.cumsum((sizes**2 * times)[order]) > _STRAY * square
    step = float(sizes[order][heavy][0])
    return 0.5 * max(1 - step * apart / square, 0.0)


def _share(ahead: float, number: float, smooth: float, alpha: float) -> float:
    """Lower end of the interval for a binomial share, Clopper and Pearson's where ``smooth`` is 0."""
    if ahead <= 0:
        return 0.0
    return float(special.betaincinv(ahead + smooth, max(number - ahead, 0.0) + 1 - smooth, alpha / 2))


def _upper(one: _Contrast, alpha: float) -> float:
    """Upper end of the interval of a difference; the lower end is that of the difference the other way round."""
    return min(one.value + math.sqrt(_upper_square(one, alpha)), 1.0)


def _upper_square(one: _Contrast, alpha: float) -> float:
    number = one.number
    share = 1 - _share((1 - one.ahead) * number, number, one.smooth, alpha)
    direction = 2 * share - 1
    # Where the end lies above 0, more disagreements lie further out; below 0, fewer do.
    apart = _apart(one, alpha, more=direction > 0)
    items = (one.apart * direction - one.value) ** 2 + (direction * (apart - one.apart)) ** 2
    return items + _t(alpha, one.freedom) ** 2 * seed_part(one.between, one.alone, one.freedom)


def _apart(one: _Contrast, alpha: float, *, more: bool) -> float:
    """One end of the interval of the sum of disagreements, by its effective number of items."""
    rate = min(one.apart, 1.0)
    variance = one.squares - rate**2 / one.whole
    number = rate * (1 - rate) / variance if rate > 0 and variance > 1e-12 * one.squares else one.whole
    smooth = one.smooth
    if more:
        return 1 - _share((1 - rate) * number, number, smooth, alpha)
    return _share(rate * number, number, smooth, alpha)


def _p(one: _Contrast) -> float:
    """Level at which the interval ends at 0."""
    from scipy.optimize import brentq

    if one.value == 0:
        return 1.0
    up = one if one.value < 0 else one.turned()  # its upper end is the one that may reach 0
    number = up.number
    if seed_part(up.between, up.alone, up.freedom) == 0:
        # The end is at 0 exactly where the share is a half.
        losses = (1 - up.ahead) * number
        return min(1.0, 2 * float(special.betainc(losses + up.smooth, max(number - losses, 0.0) + 1 - up.smooth, 0.5)))

    def over(log_alpha: float) -> float:
        return _upper_square(up, math.exp(log_alpha)) - up.value**2

    lowest, highest = math.log(_LEAST), math.log(1 - 1e-12)
    if over(highest) >= 0:
        return 1.0
    if over(lowest) <= 0:
        return _LEAST
    return math.exp(float(brentq(over, lowest, highest, xtol=1e-10)))


def _bartlett(variance: NDArray[np.float64], runs: Sequence[int]) -> float:
    """P-value of equal variances."""
    if len(variance) < 2:
        return 1.0
    freedom = np.array(runs, dtype=np.float64) - 1
    pooled = float(freedom @ variance / freedom.sum())
    statistic = float(freedom.sum() * math.log(pooled) - freedom @ np.log(variance))
    correction = 1 + (float((1 / freedom).sum()) - 1 / float(freedom.sum())) / (3 * (len(runs) - 1))
    return float(special.chdtrc(len(runs) - 1, max(statistic, 0.0) / correction))


def _z(alpha: float) -> float:
    return float(-special.ndtri(alpha / 2))


def _t(alpha: float, freedom: float) -> float:
    return float(-special.stdtrit(freedom, alpha / 2))
