"""What a test set and a handful of seeds can tell apart, and whether a published number was reproduced.

Values are on the board's scale (per cent for rates); every interval is at 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

Z = 1.959963984540054
TYPICAL_DISAGREEMENT = 0.2
"""Share of the test items on which two methods of a board typically differ in being right."""
TOLERANCE = 1.0
"""Points by which a published number may miss without counting as missed."""


def half_width(value: float, num_test: int) -> float:
    """Half the 95 % interval that the size of the test set alone gives one accuracy, in points.

    Args:
        value: accuracy in per cent.
        num_test: images in the test set.

    Example:
        >>> round(half_width(53.0, 10_000), 2)
        0.98
    """
    rate = min(max(value / 100, 0.0), 1.0)
    return 100 * Z * math.sqrt(rate * (1 - rate) / num_test)


def paired_half_width(num_test: int, disagreement: float = TYPICAL_DISAGREEMENT) -> float:
    """Half the 95 % interval of a difference of two methods on one test set, in points.

    Args:
        num_test: images in the test set.
        disagreement: share of them that exactly one of the two gets right.

    Example:
        >>> round(paired_half_width(10_000), 2)
        0.88
    """
    return 100 * Z * math.sqrt(disagreement / num_test)


@cache
def t_quantile(degrees: int) -> float:
    """The 97.5 % point of Student's t."""
    from scipy.stats import t

    return float(t.ppf(0.975, degrees))


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation (n - 1); no deviation for one value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def mean_half_width(values: Sequence[float]) -> float | None:
    """Half the t interval for the mean over seeds; ``None`` below three seeds, where it would say nothing.

    Example:
        >>> round(mean_half_width([-1.0, 0.0, 1.0]), 2)
        2.48
        >>> mean_half_width([1.0, 2.0]) is None
        True
    """
    if len(values) < 3:
        return None
    deviation = mean_sd(values)[1]
    assert deviation is not None
    return t_quantile(len(values) - 1) * deviation / math.sqrt(len(values))


@cache
def best_of_inflation(num_seeds: int) -> float:
    """How many standard deviations the best of several seeds lies above their mean, on average.

    Example:
        >>> [round(best_of_inflation(n), 2) for n in (3, 5, 10)]
        [0.85, 1.16, 1.54]
    """
    # E max = integral of 1 - F^n - (1 - F)^n over the positive half line, by the trapezoid rule.
    step, total = 1e-3, 0.0
    for i in range(10_000):
        below = 0.5 * math.erfc(-(i * step) / math.sqrt(2))
        term = 1 - below**num_seeds - (1 - below) ** num_seeds
        total += term * (0.5 if i == 0 else 1.0)
    return total * step


def shared_ranks(
    values: Sequence[float],
    resolution: float | None,
    higher_is_better: bool = True,
    half_widths: Sequence[float] | None = None,
) -> list[int]:
    """Ranks in which whoever cannot be told from a group's leader shares the leader's rank.

    Args:
        values: one per method.
        resolution: the smallest difference that the test set can tell; ``None`` if unknown: only ties share then.
        higher_is_better: the measure's direction.
        half_widths: what the seeds add, each method's half interval; 0 where there is none.

    Returns:
        Rank of each, from 1; after a group of n the next rank is n further on.

    Example:
        >>> shared_ranks([54.0, 53.5, 50.0], 0.88)
        [1, 1, 3]
    """
    sign = 1 if higher_is_better else -1
    widths = [0.0] * len(values) if half_widths is None else half_widths
    order = sorted(range(len(values)), key=lambda i: -sign * values[i])
    ranks = [0] * len(values)
    leader, rank = 0, 0
    for place, i in enumerate(order):
        told = math.sqrt((resolution or 0.0) ** 2 + widths[leader] ** 2 + widths[i] ** 2)
        if place == 0 or sign * (values[leader] - values[i]) > told + 1e-9:
            leader, rank = i, place + 1
        ranks[i] = rank
    return ranks


def pooled_sd(groups: Sequence[Sequence[float]]) -> tuple[float, int] | None:
    """One standard deviation over seeds for a whole board, with its degrees of freedom."""
    squares, degrees = 0.0, 0
    for values in groups:
        deviation = mean_sd(values)[1]
        if deviation is not None:
            squares += deviation**2 * (len(values) - 1)
            degrees += len(values) - 1
    return (math.sqrt(squares / degrees), degrees) if degrees else None


@dataclass(frozen=True)
class Verdict:
    """Published against measured: ``word`` is agrees, above, below, undecided or not comparable, and why."""

    word: str
    reason: str
    gap: float | None = None
    interval: float | None = None
    p: float | None = None


def reproduction(
    published: float,
    mean: float,
    num_seeds: int,
    sd: float | None,
    *,
    degrees: int | None = None,
    tolerance: float = TOLERANCE,
    higher_is_better: bool = True,
) -> Verdict:
    """Whether a published number lies where one more run would be expected.

    The gap published - mean is held against the prediction interval t s sqrt(1 + 1/n) and against the tolerance.

    Args:
        published: the number as claimed, on the board's scale.
        mean: of the re-scored runs.
        num_seeds: how many there are.
        sd: over seeds, of this method or pooled over the board.
        degrees: degrees of freedom of ``sd``; ``num_seeds - 1`` if left out.
        tolerance: points within which a gap counts for nothing.
        higher_is_better: the measure's direction.

    Returns:
        ``below`` or ``above`` (the measurement, seen from the report) if the gap exceeds both the interval and the
        tolerance; ``undecided`` with fewer than three seeds, or if the interval is wider than twice the tolerance;
        ``agrees`` otherwise.

    Example:
        >>> reproduction(38.6, 38.50, 3, 0.34, degrees=8).word
        'agrees'
        >>> verdict = reproduction(43.9, 42.11, 3, 0.34, degrees=8)
        >>> verdict.word, round(verdict.p, 3)
        ('below', 0.002)
    """
    gap = published - mean
    if num_seeds < 3 or sd is None:
        return Verdict("undecided", f"{num_seeds} seed{'s' * (num_seeds != 1)}; at least 3 are needed", gap)
    freedom = num_seeds - 1 if degrees is None else degrees
    scale = sd * math.sqrt(1 + 1 / num_seeds)
    interval = t_quantile(freedom) * scale
    if scale > 0:
        from scipy.stats import t

        p = float(2 * t.sf(abs(gap) / scale, freedom))
    else:
        p = 1.0 if gap == 0 else 0.0
    seen = f"gap {gap:+.2f}, prediction interval ±{interval:.2f}, tolerance {tolerance:g}"
    if abs(gap) > max(interval, tolerance):
        measured_better = (gap < 0) == higher_is_better
        return Verdict("above" if measured_better else "below", seen, gap, interval, p)
    if interval > 2 * tolerance:
        return Verdict("undecided", f"{seen}: the seeds scatter too much to tell", gap, interval, p)
    return Verdict("agrees", seen, gap, interval, p)


@dataclass(frozen=True)
class Paired:
    """Two methods on the same test items: how often which was right, and what follows."""

    both: int
    only_first: int
    only_second: int
    neither: int
    difference: float
    half_width: float
    p: float


def paired(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Compare two sets of predictions on the same items, exactly (McNemar).

    Args:
        first: whether the first method was right, item by item.
        second: the same for the second.

    Returns:
        The four counts, the difference first - second in points with its 95 % half-width, and the two-sided p.

    Example:
        >>> result = paired([True] * 9 + [False], [False] * 9 + [True])
        >>> result.only_first, result.only_second, round(result.p, 4)
        (9, 1, 0.0215)
    """
    from scipy.stats import binomtest

    num = len(first)
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    both = sum(a and b for a, b in zip(first, second, strict=True))
    share = (only_first + only_second) / num
    difference = (only_first - only_second) / num
    discordant = only_first + only_second
    return Paired(
        both=both,
        only_first=only_first,
        only_second=only_second,
        neither=num - both - discordant,
        difference=100 * difference,
        half_width=100 * Z * math.sqrt(max(share - difference**2, 0.0) / num),
        p=float(binomtest(only_first, discordant).pvalue) if discordant else 1.0,
    )
