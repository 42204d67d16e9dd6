from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import pytest
from scipy.stats import norm, t

from longtail.board.verdicts import (
    best_of_inflation,
    half_width,
    mean_half_width,
    mean_sd,
    paired,
    paired_half_width,
    pooled_sd,
    reproduction,
    shared_ranks,
    t_quantile,
)


def test_what_a_test_set_can_resolve() -> None:
    # The half-widths at each board's median that the literature is judged by.
    assert round(half_width(52.0, 10_000), 2) == 0.98
    assert round(half_width(53.5, 50_000), 2) == 0.44
    assert round(half_width(41.7, 36_500), 2) == 0.51
    assert round(paired_half_width(10_000), 2) == 0.88


def test_an_interval_over_seeds_needs_three_of_them() -> None:
    assert mean_half_width([1.0]) is None
    assert mean_half_width([1.0, 2.0]) is None
    for values, factor in (([1.0, 2.0, 4.0], 2.48), ([1.0, 2.0, 4.0, 5.0, 9.0], 1.24)):
        deviation = mean_sd(values)[1]
        half = mean_half_width(values)
        assert deviation is not None
        assert half is not None
        assert half / deviation == pytest.approx(factor, abs=0.006)


def test_the_best_of_several_seeds_is_inflated() -> None:
    for count, factor in ((3, 0.85), (5, 1.16), (10, 1.54)):
        assert best_of_inflation(count) == pytest.approx(factor, abs=0.006)
    # By the density of the maximum, independently.
    grid = [-8 + i / 1000 for i in range(16_001)]
    for count in (2, 7):
        direct = sum(x * count * norm.pdf(x) * norm.cdf(x) ** (count - 1) for x in grid[::10]) / 100
        assert best_of_inflation(count) == pytest.approx(direct, abs=1e-3)


def test_the_worked_example() -> None:
    # Public reports on CIFAR-100-LT at imbalance 100: three seeds, pooled sd 0.34, eight degrees of freedom.
    agrees = reproduction(38.6, 38.50, 3, 0.34, degrees=8)
    below = reproduction(43.9, 42.11, 3, 0.34, degrees=8)
    assert agrees.word == "agrees"
    assert below.word == "below"
    assert below.p == pytest.approx(0.002, abs=0.0005)
    assert below.gap == pytest.approx(1.79)
    assert below.interval == pytest.approx(t.ppf(0.975, 8) * 0.34 * math.sqrt(4 / 3))


@pytest.mark.parametrize(
    ("published", "mean", "seeds", "sd", "higher", "word"),
    [
        (50.0, 48.0, 5, 0.3, True, "below"),
        (50.0, 52.0, 5, 0.3, True, "above"),
        (50.0, 52.0, 5, 0.3, False, "below"),
        (50.0, 48.0, 2, 0.3, True, "undecided"),
        (50.0, 48.0, 3, None, True, "undecided"),
        # Significant, but within the tolerance of one point.
        (50.0, 49.1, 5, 0.05, True, "agrees"),
        # Outside the tolerance, but within the interval of one more run.
        (50.0, 48.8, 5, 0.5, True, "agrees"),
        # Seeds that scatter by points cannot confirm anything.
        (50.0, 49.5, 3, 2.0, True, "undecided"),
        (50.0, 50.0, 3, 0.0, True, "agrees"),
    ],
)
def test_verdicts(published: float, mean: float, seeds: int, sd: float | None, higher: bool, word: str) -> None:
    assert reproduction(published, mean, seeds, sd, higher_is_better=higher).word == word


def test_a_verdict_holds_its_level() -> None:
    # Claims drawn from the runs' own law are called missed in at most 5 % of the cases (tolerance 0 for the check).
    generator = random.Random(7)
    missed = 0
    for _ in range(4000):
        values = [generator.gauss(50, 0.4) for _ in range(4)]
        mean, sd = mean_sd(values)
        verdict = reproduction(generator.gauss(50, 0.4), mean, 4, sd, tolerance=0.0)
        missed += verdict.p is not None and verdict.p < 0.05
    assert 130 <= missed <= 275


def test_who_cannot_be_told_from_the_leader_shares_its_rank() -> None:
    assert shared_ranks([50.0, 54.0, 53.5, 53.2, 53.0], 0.88) == [5, 1, 1, 1, 4]
    # A chain of small gaps does not pull everybody up: distance counts from the group's leader.
    assert shared_ranks([54.0, 53.5, 53.0, 52.5], 0.88) == [1, 1, 3, 3]
    assert shared_ranks([1.0, 2.0, 2.0], None) == [3, 1, 1]
    assert shared_ranks([4.0, 3.9, 9.0], 0.2, higher_is_better=False) == [1, 1, 3]
    # Scattering seeds widen what cannot be told apart.
    assert shared_ranks([54.0, 53.0], 0.88, True, [0.0, 0.9]) == [1, 1]
    assert shared_ranks([], 1.0) == []


def ranks_hold(rank: Callable[..., list[int]]) -> bool:
    """The two properties of shared ranks that the mutants below lack."""
    return rank([54.0, 53.5, 53.0, 52.5], 0.88) == [1, 1, 3, 3] and rank([50.0, 54.0, 53.5], 0.88) == [3, 1, 1]


def test_wrong_ranks_would_be_noticed() -> None:
    def chained(values: list[float], resolution: float) -> list[int]:
        order = sorted(range(len(values)), key=lambda i: -values[i])
        ranks = [1] * len(values)
        for place, (before, i) in enumerate(itertools.pairwise(order), 2):
            ranks[i] = ranks[before] if values[before] - values[i] <= resolution else place
        return ranks

    def dense(values: list[float], resolution: float) -> list[int]:
        found = shared_ranks(values, resolution)
        return [sorted(set(found)).index(each) + 1 for each in found]

    def plain(values: list[float], resolution: float) -> list[int]:
        return shared_ranks(values, 0.0)

    def upside_down(values: list[float], resolution: float) -> list[int]:
        return shared_ranks(values, resolution, higher_is_better=False)

    assert ranks_hold(shared_ranks)
    for mutant in (chained, dense, plain, upside_down):
        assert not ranks_hold(mutant)


def verdicts_hold(judge: Callable[[float, float, int, float, int], str]) -> bool:
    """The worked example, the direction, and a claim that one more run would easily miss by this much."""
    return (
        judge(38.6, 38.50, 3, 0.34, 8) == "agrees"
        and judge(43.9, 42.11, 3, 0.34, 8) == "below"
        and judge(42.11, 43.9, 3, 0.34, 8) == "above"
        and judge(51.05, 50.0, 3, 0.30, 2) == "agrees"
    )


def test_wrong_verdicts_would_be_noticed() -> None:
    def right(published: float, mean: float, n: int, sd: float, degrees: int) -> str:
        return reproduction(published, mean, n, sd, degrees=degrees).word

    def variant(scale: float, quantile: Callable[[int], float], limit: Callable[[float], float]) -> Callable[..., str]:
        def judge(published: float, mean: float, n: int, sd: float, degrees: int) -> str:
            gap = published - mean
            far = abs(gap) > limit(quantile(degrees) * sd * math.sqrt(scale + 1 / n))
            return ("below" if gap > 0 else "above") if far else "agrees"

        return judge

    assert verdicts_hold(right)
    assert verdicts_hold(variant(1.0, t_quantile, lambda interval: max(interval, 1.0)))
    # The interval of the mean instead of one more run; the normal instead of t; tolerance added, not alternative.
    assert not verdicts_hold(variant(0.0, t_quantile, lambda interval: max(interval, 1.0)))
    assert not verdicts_hold(variant(1.0, lambda _: 1.96, lambda interval: max(interval, 1.0)))
    assert not verdicts_hold(variant(1.0, t_quantile, lambda interval: interval + 1.0))
    assert not verdicts_hold(lambda *given: {"below": "above", "above": "below"}.get(right(*given), "agrees"))


def test_pooling() -> None:
    pooled = pooled_sd([[1.0, 2.0, 3.0], [5.0, 5.0], [7.0]])
    assert pooled is not None
    assert pooled == (pytest.approx(math.sqrt(2 / 3)), 3)
    assert pooled_sd([[1.0]]) is None
    assert t_quantile(8) == pytest.approx(2.306, abs=1e-3)


def test_paired_comparison_by_hand() -> None:
    first = [True] * 60 + [True] * 12 + [False] * 3 + [False] * 25
    second = [True] * 60 + [False] * 12 + [True] * 3 + [False] * 25
    result = paired(first, second)
    assert (result.both, result.only_first, result.only_second, result.neither) == (60, 12, 3, 25)
    assert result.difference == pytest.approx(9.0)
    # Two-sided binomial: 2 * P(X <= 3 | 15, 1/2).
    assert result.p == pytest.approx(2 * sum(math.comb(15, k) for k in range(4)) / 2**15)
    assert result.half_width == pytest.approx(100 * 1.96 * math.sqrt((0.15 - 0.09**2) / 100), abs=0.01)
    assert paired([True, False], [True, False]).p == 1.0
