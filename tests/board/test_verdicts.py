from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm, t

from longtail.board.measures import find_measure
from longtail.board.model import Answers, Draft, Entry
from longtail.board.ranking import ranked
from longtail.board.schema import Variant
from longtail.board.verdicts import (
    agreement,
    best_of_inflation,
    contrasts,
    leader_correction,
    paired_half_width,
    pooled_sd,
    reproduction,
)
from longtail.board.verdicts import test_interval as interval_of
from longtail.results.statistics import mcnemar, t_quantile


def test_what_a_test_set_can_resolve() -> None:
    # The half-widths at each board's median that the literature is judged by.
    for value, num, half in ((52.0, 10_000, 0.98), (53.5, 50_000, 0.44), (41.7, 36_500, 0.51)):
        low, high = interval_of(value, num)
        assert round((high - low) / 2, 2) == half
        assert low < value < high
    assert round(paired_half_width(10_000), 2) == 0.88
    # Nothing is certain because everything was right, or nothing.
    assert interval_of(100.0, 100)[0] < 97.5
    assert interval_of(0.0, 100)[1] > 2.5


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
        mean, sd = statistics.fmean(values), statistics.stdev(values)
        verdict = reproduction(generator.gauss(50, 0.4), mean, 4, sd, tolerance=0.0)
        missed += verdict.p is not None and verdict.p < 0.05
    assert 130 <= missed <= 275


def entry(name: str, value: float | None, **more: Any) -> Entry:
    """A claim on a board of 10,000 test images, with the interval of one run."""
    low, high = (None, None) if value is None else interval_of(value, 10_000)
    fields = {"track": "scratch", "badge": "reported", "low": low, "high": high, **more}
    return Entry(
        id=name, board="b", kind="reported", method=name, method_id=None, paper=None, value=value, raw=str(value),
        metric="Accuracy", dataset_name="B", **fields,
    )  # fmt: skip


Ranks = dict[str, tuple[int | None, int | None]]


def placed(entries: list[Entry], measure: str = "accuracy", **answers: Answers) -> Ranks:
    variant = Variant(id="b", dataset="b", name="B", num_test=10_000)
    out, _ = ranked(Draft(variant, find_measure(measure), entries, answers))
    return {each.id: (each.rank, each.rank_high) for each in out}


def test_ranks_are_what_the_intervals_leave_possible() -> None:
    # Two independent intervals of +-0.98 tell 1.39 points.
    found = placed([entry("a", 54.0), entry("b", 53.5), entry("c", 52.5), entry("d", 50.0)])
    assert found == {"a": (1, 2), "b": (1, 3), "c": (2, 3), "d": (4, 4)}
    # Without an interval only the numbers themselves can tell.
    bare = {"low": None, "high": None}
    assert placed([entry("a", 1.0, **bare), entry("b", 2.0, **bare), entry("c", 2.0, **bare)], "nll") == {
        "a": (1, 1), "b": (2, 3), "c": (2, 3),
    }  # fmt: skip
    no_rank = [entry("a", None), entry("b", 3.0, superseded_by="a"), entry("c", 4.0, flags=("scale-unknown",))]
    assert set(placed(no_rank).values()) == {(None, None)}


def made_answers(right: list[int], num: int = 2000, seeds: int = 1) -> Answers:
    """Runs that are right on all items but the first ``right[seed]``, shifted by one item a seed."""
    correct = torch.stack([torch.arange(num) >= right[min(seed, len(right) - 1)] + seed for seed in range(seeds)])
    return Answers(correct, torch.arange(num) % 10, tuple(range(seeds)))


def test_two_re_scored_entries_are_told_apart_by_the_paired_test() -> None:
    first, second = made_answers([800]), made_answers([812])
    # 12 of 2,000 items differ, all in one direction: far inside both intervals, and yet certain.
    (found,) = contrasts([first, second])
    assert found.word == "better in this run"
    assert found.estimate.p == pytest.approx(mcnemar(first.correct[0], second.correct[0]))
    scored = [entry("a", 60.0, n=1), entry("b", 59.4, n=1)]
    assert placed(scored, a=first, b=second) == {"a": (1, 1), "b": (2, 2)}
    assert placed(scored) == {"a": (1, 2), "b": (1, 2)}
    # The same answers under two names are no difference.
    assert placed([entry("a", 60.0), entry("b", 60.0)], a=first, b=first) == {"a": (1, 2), "b": (1, 2)}
    # With two seeds there is no verdict, however far apart they lie.
    two = {"a": made_answers([100], seeds=2), "b": made_answers([900], seeds=2)}
    assert placed([entry("a", 95.0), entry("b", 55.0)], **two) == {"a": (1, 2), "b": (1, 2)}


def test_better_than_the_better_is_better() -> None:
    # The paired test tells a from b; b's claim-sized interval tells it from c, though a's own would not.
    answers = {"a": made_answers([800]), "b": made_answers([812])}
    wide = {"low": 50.0, "high": 70.0}
    found = placed([entry("a", 60.0, **wide), entry("b", 59.4), entry("c", 57.0)], **answers)
    assert found == {"a": (1, 1), "b": (2, 2), "c": (3, 3)}


def test_the_leaders_luck_by_simulation() -> None:
    values, halves = [54.0, 53.8, 53.0, 47.0], [0.98, 0.98, 0.98, 0.98]
    draws = np.random.default_rng(0).normal(values, np.array(halves) / 1.96, (200_000, 4))
    assert leader_correction(values, halves) == pytest.approx(draws.max(axis=1).mean() - 54.0, abs=0.005)
    assert leader_correction([54.0], [0.98]) == 0.0


def ranks_hold(rank: Callable[[list[Entry]], Ranks]) -> bool:
    """What the mutants below get wrong: order, direction of the interval's end, and the uncertain middle."""
    return rank([entry("a", 54.0), entry("b", 53.5), entry("c", 52.5), entry("d", 50.0)]) == {
        "a": (1, 2), "b": (1, 3), "c": (2, 3), "d": (4, 4),
    }  # fmt: skip


def test_wrong_ranks_would_be_noticed() -> None:
    def plain(entries: list[Entry]) -> Ranks:
        return {each.id: (place, place) for place, each in enumerate(entries, 1)}

    def leaders(entries: list[Entry]) -> Ranks:
        """Whoever cannot be told from a group's leader shares its rank."""
        found, leader, rank = {}, entries[0], 1
        for place, each in enumerate(entries, 1):
            if (leader.value or 0) - (each.value or 0) > 1.39:
                leader, rank = each, place
            found[each.id] = (rank, rank)
        return found

    assert ranks_hold(placed)
    assert not ranks_hold(plain)
    assert not ranks_hold(leaders)
    assert not ranks_hold(lambda entries: placed(entries, "error-rate-of-nothing"))


def verdicts_hold(judge: Callable[[float, float, int, float, int], str]) -> bool:
    """The worked example, the direction, and a claim that one more run would easily miss by this much."""
    return (
        judge(38.6, 38.50, 3, 0.34, 8) == "agrees"
        and judge(43.9, 42.11, 3, 0.34, 8) == "below"
        and judge(42.11, 43.9, 3, 0.34, 8) == "above"
        and judge(51.05, 50.0, 3, 0.30, 2) == "agrees"
    )


def test_a_gap_that_is_printed_at_the_tolerance_lies_within_it() -> None:
    # 1.004 is printed as +1.00, and a tolerance of 1 is not exceeded by that.
    assert reproduction(45.0, 43.996, 3, 0.2, degrees=8).word == "agrees"
    assert reproduction(45.0, 43.99, 3, 0.2, degrees=8).word == "below"
    # The same at the prediction interval, whose half width is 1.386 for this spread.
    spread, half = 0.5, t_quantile(8.0) * 0.5 * math.sqrt(4 / 3)
    printed = round(half, 2)
    assert reproduction(45.0, 45.0 - printed - 0.004, 3, spread, degrees=8).word == "agrees"
    assert reproduction(45.0, 45.0 - printed - 0.006, 3, spread, degrees=8).word == "below"


def quantile(degrees: int) -> float:
    return t_quantile(float(degrees))


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
    assert verdicts_hold(variant(1.0, quantile, lambda interval: max(interval, 1.0)))
    # The interval of the mean instead of one more run; the normal instead of t; tolerance added, not alternative.
    assert not verdicts_hold(variant(0.0, quantile, lambda interval: max(interval, 1.0)))
    assert not verdicts_hold(variant(1.0, lambda _: 1.96, lambda interval: max(interval, 1.0)))
    assert not verdicts_hold(variant(1.0, quantile, lambda interval: interval + 1.0))
    assert not verdicts_hold(lambda *given: {"below": "above", "above": "below"}.get(right(*given), "agrees"))


def test_pooling() -> None:
    pooled = pooled_sd([[1.0, 2.0, 3.0], [5.0, 5.0], [7.0]])
    assert pooled is not None
    assert pooled == (pytest.approx(math.sqrt(2 / 3)), 3)
    assert pooled_sd([[1.0]]) is None
    assert t_quantile(8.0) == pytest.approx(2.306, abs=1e-3)


def test_agreement_by_hand() -> None:
    first = [True] * 60 + [True] * 12 + [False] * 3 + [False] * 25
    second = [True] * 60 + [False] * 12 + [True] * 3 + [False] * 25
    arms = [Answers(torch.tensor([each]), torch.zeros(100, dtype=torch.int64), (0,)) for each in (first, second)]
    assert agreement(*arms) == pytest.approx({"both": 60, "first": 12, "second": 3, "neither": 25})
    (found,) = contrasts(arms)
    assert found.estimate.value == pytest.approx(0.09)
    # Two-sided binomial: 2 * P(X <= 3 | 15, 1/2).
    assert found.estimate.p == pytest.approx(2 * sum(math.comb(15, k) for k in range(4)) / 2**15)
