"""What a test set and a handful of seeds can tell apart, and whether a published number was reproduced.

Intervals and tests are those of :mod:`longtail.results.statistics`, which the terminal and the report print as well.
Values are on the board's scale (per cent for rates); every interval is at 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import torch

from longtail.board.model import Answers
from longtail.results import claims, crossed
from longtail.results.comparison import has_tail
from longtail.results.statistics import (
    BETTER,
    FEWEST,
    WORSE,
    Estimate,
    estimate,
    pairwise,
    pool_seeds,
    summarize,
    t_quantile,
    verdict,
)
from longtail.wording import counted

Z = 1.959963984540054
TYPICAL_DISAGREEMENT = 0.2
"""Share of the test items on which two methods of a board typically differ in being right."""
TOLERANCE = 100 * claims.TOLERANCE
"""Points by which a published number may miss without counting as missed."""


def ranked_by(answers: Answers) -> str:
    """The rate that a board ranks by: balanced accuracy on a test set with a tail of its own, else accuracy.

    The two are one number where every class has as many test items.
    """
    return "balanced_accuracy" if has_tail(answers.target) else "accuracy"


def rate_estimate(answers: Answers) -> Estimate:
    """``ranked_by`` over the runs, in [0, 1], with the interval that ``compare`` prints for the same runs."""
    return estimate(answers.correct, answers.target, weights=_shares(answers))[0]


def _shares(answers: Answers) -> torch.Tensor:
    support = torch.bincount(answers.target).double()
    weights = support if ranked_by(answers) == "accuracy" else (support > 0).double()
    return (weights / weights.sum())[None]


@lru_cache(maxsize=1 << 16)
def test_interval(value: float, num_test: int) -> tuple[float, float]:
    """The 95 % interval that the size of the test set alone gives a printed accuracy.

    Args:
        value: accuracy in per cent.
        num_test: images in the test set.

    Returns:
        Lower and upper end, in per cent: that of one run with so many right answers.

    Example:
        >>> low, high = test_interval(53.0, 10_000)
        >>> round(low, 2), round(high, 2)
        (52.02, 53.98)
    """
    right = round(num_test * min(max(value / 100, 0.0), 1.0))
    found = rate_estimate(
        Answers((torch.arange(num_test) < right)[None], torch.zeros(num_test, dtype=torch.int64), (0,))
    )
    assert found.low is not None and found.high is not None  # noqa: PT018
    return 100 * found.low, 100 * found.high


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


@dataclass(frozen=True)
class Contrast:
    """Two re-scored entries on the same test items.

    Args:
        first: place of the one.
        second: place of the other.
        estimate: ``ranked_by`` of the first minus that of the second, in [0, 1], with its simultaneous interval.
        word: the verdict on the first, as ``compare`` says it.
        paired: the seeds are the same.
    """

    first: int
    second: int
    estimate: Estimate
    word: str
    paired: bool

    @property
    def sign(self) -> int:
        """1 if the first is better, -1 if it is worse, 0 where they cannot be told apart."""
        return self.word.startswith(BETTER) - self.word.startswith(WORSE)


def contrasts(arms: Sequence[Answers]) -> list[Contrast]:
    """Every pair of re-scored entries, tested on the same items; each entry's own contrasts are read together.

    Args:
        arms: answers on the same test items.

    Returns:
        One for each pair.
    """
    if len(arms) < 2:
        return []
    weights, family = _shares(arms[0]), len(arms) - 1
    target, counted = arms[0].target, [_counted(arm) for arm in arms]
    several = [place for place, arm in enumerate(arms) if len(arm.seeds) > 2]
    same = len({arms[place].seeds for place in several}) == 1
    spread = [counted[place] for place in several]
    seeds = pool_seeds(spread, target, weights=weights, paired=same) if len(several) > 1 else None

    def paired(i: int, j: int) -> bool:
        return arms[i].seeds == arms[j].seeds

    made = pairwise(counted, target, weights=weights, paired=paired, family=family, seeds=seeds)
    return [
        Contrast(i, j, found, verdict(found, min(len(arms[i].seeds), len(arms[j].seeds))), paired(i, j))
        for i, j, (found,) in made
    ]


@lru_cache(maxsize=512)
def _counted(answers: Answers) -> crossed.Arm:
    """The counts behind an entry, made once for all its contrasts."""
    return crossed.arm(answers.correct, crossed.rates(answers.target, _shares(answers)))


def same_items(first: Answers, second: Answers) -> bool:
    """Whether two entries were tested on the same images with the same true classes."""
    return torch.equal(first.target, second.target)


def agreement(first: Answers, second: Answers) -> dict[str, float]:
    """The share of the test images that both, only one, or neither got right, as a mean over pairs of runs."""
    one, other = _counted(first), _counted(second)
    pairs = one.runs if first.seeds == second.seeds else one.runs * other.runs
    both = int((one.correct & other.correct).sum()) if first.seeds == second.seeds else int(one.sums @ other.sums)
    each, whole = pairs // one.runs, pairs * len(first.target)
    ours, theirs = int(one.sums.sum()) * each, int(other.sums.sum()) * (pairs // other.runs)
    found = {"both": both, "first": ours - both, "second": theirs - both, "neither": whole - ours - theirs + both}
    return {name: 100 * count / whole for name, count in found.items()}


def leader_correction(values: Sequence[float], half_widths: Sequence[float]) -> float:
    """How much the largest of several uncertain numbers exceeds the largest truth on average, if they are the truth.

    The largest of several estimates is picked partly for its luck. Each number is taken to scatter normally about
    itself; what the expected maximum then exceeds the present one by is the winner's curse (a parametric bootstrap,
    computed and not drawn).

    Args:
        values: of one track, higher is better.
        half_widths: half of each one's 95 % interval.

    Returns:
        Points to subtract from the leader's number; 0 for a single one.

    Example:
        >>> round(leader_correction([50.0, 50.0], [1.96, 1.96]), 3)
        0.564
        >>> round(leader_correction([50.0, 40.0], [1.0, 1.0]), 3)
        0.0
    """
    if len(values) < 2:
        return 0.0
    from scipy.special import ndtr

    value, scale = np.asarray(values, dtype=np.float64), np.maximum(np.asarray(half_widths) / Z, 1e-9)
    best = float(value.max())
    near = value > best - 8 * (scale + float(scale[value.argmax()]))
    value, scale = value[near], scale[near]
    low, high = float((value - 8 * scale).max()), float((value + 8 * scale).max())
    grid = np.linspace(low, high, 4001)
    below = np.ones_like(grid)
    for centre, width in zip(value, scale, strict=True):
        below *= ndtr((grid - centre) / width)
    # E max = low + integral of 1 - F over what lies above it.
    return max(float(low + np.trapezoid(1 - below, grid) - best), 0.0)


@cache
def best_of_inflation(num_seeds: int) -> float:
    """How many standard deviations the best of several seeds lies above their mean, on average.

    Example:
        >>> [round(best_of_inflation(n), 2) for n in (3, 5, 10)]
        [0.85, 1.16, 1.54]
    """
    # E max = integral of 1 - F^n - (1 - F)^n over the positive half line, by the trapezoid rule.
    # Its slope is 0 at both ends, so that the error is of the fourth order in the step.
    step, total = 1e-2, 0.0
    for i in range(1000):
        below = 0.5 * math.erfc(-(i * step) / math.sqrt(2))
        term = 1 - below**num_seeds - (1 - below) ** num_seeds
        total += term * (0.5 if i == 0 else 1.0)
    return total * step


def pooled_sd(groups: Sequence[Sequence[float]]) -> tuple[float, int] | None:
    """One standard deviation over seeds for a whole board, with its degrees of freedom."""
    squares, degrees = 0.0, 0
    for values in groups:
        deviation = summarize(values).sd
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
    if num_seeds < FEWEST or sd is None:
        return Verdict("undecided", f"{counted(num_seeds, 'seed')}; at least 3 are needed", gap)
    freedom = num_seeds - 1 if degrees is None else degrees
    scale = sd * math.sqrt(1 + 1 / num_seeds)
    interval = t_quantile(float(freedom)) * scale
    if scale > 0:
        from scipy.stats import t

        p = float(2 * t.sf(abs(gap) / scale, freedom))
    else:
        p = 1.0 if gap == 0 else 0.0
    seen = f"gap {gap:+.2f}, prediction interval ±{interval:.2f}, tolerance {tolerance:g}"
    shown, around = round(abs(gap), 2), round(interval, 2)  # as they are printed
    if shown > max(around, tolerance):
        measured_better = (gap < 0) == higher_is_better
        return Verdict("above" if measured_better else "below", seen, gap, interval, p)
    if around > 2 * tolerance:
        return Verdict("undecided", f"{seen}: the seeds scatter too much to tell", gap, interval, p)
    return Verdict("agrees", seen, gap, interval, p)
