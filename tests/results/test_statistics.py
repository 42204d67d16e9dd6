from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from longtail.errors import InputError
from longtail.results import crossed, statistics
from longtail.results.statistics import (
    Estimate,
    adjusted,
    difference,
    estimate,
    mcnemar,
    pool_seeds,
    seed_part,
    smallest_difference,
    summarize,
    t_quantile,
    verdict,
)
from oracles.crossed import World, sign_flips, variance_parts

REPLICATES = 300
ONE = torch.ones(1, 1)


def gap_of(first: Tensor, second: Tensor, world: World, **more: object) -> Estimate:
    (found,) = difference(first, second, world.target, weights=world.weights, paired=True, **more)  # type: ignore[arg-type]
    return found


def ends(found: Estimate) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def coverage_and_width(world: World, replicates: int = REPLICATES) -> tuple[float, float]:
    """How often the interval of a difference of 0 contains 0; its median half-width over what would be right."""
    rng = np.random.default_rng(7)
    found = np.array([ends(gap_of(*world.pair(rng), world)) for _ in range(replicates)])
    right = 1.96 * np.std([a.float().mean() - b.float().mean() for a, b in (world.pair(rng) for _ in range(2000))])
    inside = (found[:, 0] <= 0) & (found[:, 1] >= 0)
    return float(inside.mean()), float(np.median(found[:, 1] - found[:, 0]) / 2 / right)


CALM, RESTLESS = World(runs=5), World(runs=5, spread=0.05)


def is_right(world: World) -> bool:
    """Between 90.5 % and 99.7 % of the intervals contain the truth, and they are not too wide.

    Four degrees of freedom cost 30 % of the width (2.78 / 1.96, times the median of chi), where the seeds decide.

    A true 95 % is below 90.5 % in 300 replicates with probability 3e-4, a true 96 % with 2e-5; the generator is fixed.
    """
    coverage, width = coverage_and_width(world)
    return 0.905 <= coverage <= 0.997 and width <= (1.45 if world.spread else 1.25)


@pytest.mark.parametrize("world", [CALM, RESTLESS], ids=["calm seeds", "restless seeds"])
def test_the_interval_of_a_difference_holds_what_it_promises(world: World) -> None:
    assert is_right(world)


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.05])
def test_three_seeds_are_enough_for_an_honest_interval(spread: float) -> None:
    coverage, _ = coverage_and_width(World(runs=3, spread=spread))
    assert 0.905 <= coverage <= 0.997


def test_an_interval_without_the_seeds_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "seed_part", lambda *_: 0.0)
    assert not is_right(RESTLESS)
    assert is_right(CALM)


@pytest.mark.slow
def test_an_interval_that_counts_the_interaction_thrice_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_right(CALM)
    # The first term holds C once, B once more, and here it is added again.
    monkeypatch.setattr(statistics, "seed_part", lambda between, alone, _: between + alone)
    assert not is_right(CALM)


def test_an_accuracy_is_covered() -> None:
    world = World(runs=5, spread=0.02)
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(REPLICATES):
        (found,) = estimate(world.pair(rng)[0], world.target, weights=world.weights)
        low, high = ends(found)
        inside += low <= world.accuracy <= high
    assert 0.905 <= inside / REPLICATES <= 0.997


def test_an_interval_that_does_not_stratify_is_rejected() -> None:
    world = World(runs=1, recalls=(0.97, 0.97, 0.03, 0.03), easiness=0.0)
    rng = np.random.default_rng(1)
    right = 1.96 * np.std([world.pair(rng)[0].float().mean() for _ in range(2000)])
    widths = []
    for target, weights in ((world.target, world.weights), (torch.zeros_like(world.target), ONE)):
        found = [ends(estimate(world.pair(rng)[0], target, weights=weights)[0]) for _ in range(60)]
        widths.append(np.median([high - low for low, high in found]) / 2 / right)
    # Drawing the recall of a class to the middle by one item in fifty costs a fifth here.
    assert widths[0] < 1.35
    assert widths[1] > 1.6


def test_one_class_and_one_run_give_agresti_and_coull_and_clopper_and_pearson() -> None:
    for number, right in ((400, 300), (60, 59), (60, 60)):
        (found,) = estimate((torch.arange(number) < right)[None], torch.zeros(number, dtype=torch.int64), weights=ONE)
        n, z = number, 1.959963984540054
        middle = (right + z * z / 2) / (n + z * z)
        half = z * math.sqrt(middle * (1 - middle) / (n + z * z))
        assert ends(found) == pytest.approx((middle - half, min(middle + half, 1)), abs=0.5 / number)
    (found,) = estimate(torch.ones(1, 6, dtype=torch.bool), torch.zeros(6, dtype=torch.int64), weights=ONE)
    low, high = ends(found)
    assert low <= stats.binomtest(6, 6).proportion_ci().low + 0.03
    assert high == 1.0


def test_a_single_class_is_covered_for_every_accuracy_and_size() -> None:
    # The exact coverage: no chance is left, so the bounds are those that are promised.
    rates = np.concatenate([np.linspace(0.5, 0.99, 50), 1 - np.logspace(-2, -5, 20)])
    for number in (1, 3, 6, 11, 20, 60, 200):
        target = torch.zeros(number, dtype=torch.int64)
        found = [estimate((torch.arange(number) < x)[None], target, weights=ONE)[0] for x in range(number + 1)]
        low, high = np.array([ends(one) for one in found]).T
        for rate in rates:
            chance = stats.binom.pmf(np.arange(number + 1), number, rate)
            coverage = chance[(low <= rate) & (rate <= high)].sum()
            assert coverage >= 0.93
            if number * (1 - rate) >= 5:
                assert coverage <= 0.981


def test_two_single_runs_are_compared_by_mcnemar_and_clopper_and_pearson() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        first, second = torch.from_numpy(rng.random((2, 1, 80)) < 0.7)
        wins, losses = int((first & ~second).sum()), int((second & ~first).sum())
        target = torch.from_numpy(rng.integers(0, 3, 80))
        share = torch.bincount(target, minlength=3).double() / 80
        (found,) = difference(first, second, target, weights=share[None], paired=True)
        assert found.p == pytest.approx(mcnemar(first[0], second[0]))
        low, high = ends(found)
        exact = stats.binomtest(wins, wins + losses).proportion_ci()
        # An end between 0 and the value is that of the share, up to the chance in the number of disagreements.
        apart = (wins + losses) / 80
        assert low <= apart * (2 * exact.low - 1) + 1e-12
        assert high >= apart * (2 * exact.high - 1) - 1e-12
        assert (low > 0) == (exact.low > 0.5)
        assert (high < 0) == (exact.high < 0.5)


def test_far_from_zero_a_difference_has_the_variance_of_its_items() -> None:
    # 3000 items: 1200 speak for the first, 300 for the second.
    first, second = torch.zeros(2, 1, 3000, dtype=torch.bool)
    first[0, :1200], second[0, 1200:1500] = True, True
    (found,) = difference(first, second, torch.zeros(3000, dtype=torch.int64), weights=ONE, paired=True)
    half = 1.96 * math.sqrt((0.5 - 0.3**2) / 3000)
    assert ends(found) == pytest.approx((0.3 - half, 0.3 + half), abs=0.002)


def test_the_parts_of_the_variance_are_those_of_the_definition() -> None:
    world = World(runs=4, items=7, spread=0.1)
    first, second = world.pair(np.random.default_rng(5))
    # Class 2 has a single item, class 3 none.
    keep = (world.target < 2) | (torch.arange(28) == 2)
    target, first, second = world.target[keep], first[:, keep], second[:, keep]
    weights = torch.tensor([[0.2, 0.5, 0.3, 0.0]], dtype=torch.float64)
    made = crossed.rates(target, weights)
    one, two = crossed.arm(first, made), crossed.arm(second, made)
    (found,) = statistics._contrast(made, one, two, paired=True, seeds=None)
    gap = first.numpy().astype(float) - second.numpy()
    _, b, c = variance_parts(gap, target.numpy(), weights[0].numpy())
    assert (found.between, found.alone) == (pytest.approx(b), pytest.approx(c))
    item = weights[0].numpy()[target.numpy()] / np.bincount(target.numpy(), minlength=4)[target.numpy()]
    assert found.squares == pytest.approx(np.square(item * gap.mean(axis=0)).sum())
    assert found.apart == pytest.approx(np.abs(item * gap.mean(axis=0)).sum())
    assert found.value == pytest.approx((item * gap.mean(axis=0)).sum())
    (apart,) = statistics._contrast(made, one, two, paired=False, seeds=None)
    parts = [variance_parts(runs.numpy().astype(float), target.numpy(), weights[0].numpy()) for runs in (first, second)]
    assert (apart.between, apart.alone) == (
        pytest.approx(parts[0][1] + parts[1][1]),
        pytest.approx(parts[0][2] + parts[1][2]),
    )
    assert apart.freedom == pytest.approx(
        (parts[0][1] + parts[1][1]) ** 2 / (parts[0][1] ** 2 / 3 + parts[1][1] ** 2 / 3)
    )


def test_few_disagreements_are_judged_like_all_choices_of_signs() -> None:
    rng = np.random.default_rng(6)
    far = 0.0
    for _ in range(200):
        items = int(rng.integers(3, 11))
        sums = rng.choice([-3, -2, -1, 1, 2, 3], size=items, p=[0.05, 0.05, 0.1, 0.2, 0.3, 0.3])
        first, second = np.zeros((2, 3, items), dtype=bool)
        for i, total in enumerate(sums):
            (first if total > 0 else second)[: abs(total), i] = True
        target = torch.zeros(items, dtype=torch.int64)
        made = crossed.rates(target, ONE)
        arms = [crossed.arm(torch.from_numpy(runs), made) for runs in (first, second)]
        (parts,) = statistics._contrast(made, *arms, paired=True, seeds=None)
        # The seeds are another matter: without them, p must be that of the signs.
        p, exact = statistics._p(dataclasses.replace(parts, between=0.0)), sign_flips(sums.astype(float))
        assert not (p < 0.05 and exact > 0.07)
        far = max(far, abs(math.log(p / exact))) if exact < 0.5 else far
    assert far < 1.0


def test_copies_of_a_run_add_nothing() -> None:
    rng = np.random.default_rng(8)
    for number in (6, 40):
        first, second = torch.from_numpy(rng.random((2, 1, number)) < [[[0.8]], [[0.4]]])
        target = torch.zeros(number, dtype=torch.int64)
        (once,) = difference(first, second, target, weights=ONE, paired=True)
        (thrice,) = difference(first.repeat(3, 1), second.repeat(3, 1), target, weights=ONE, paired=True)
        assert ends(thrice) == pytest.approx(ends(once))
        assert thrice.p == pytest.approx(mcnemar(first[0], second[0]))
        (alone,) = estimate(first, target, weights=ONE)
        (copied,) = estimate(first.repeat(3, 1), target, weights=ONE)
        assert ends(copied) == pytest.approx(ends(alone))


def test_five_against_none_is_not_better_however_often_it_is_copied() -> None:
    first, second = torch.ones(3, 5, dtype=torch.bool), torch.zeros(3, 5, dtype=torch.bool)
    (found,) = difference(first, second, torch.zeros(5, dtype=torch.int64), weights=ONE, paired=True)
    assert found.p == pytest.approx(0.0625)
    assert verdict(found, 3) == "indistinguishable at 95 %"


@pytest.mark.parametrize("runs", [1, 3, 5])
def test_no_interval_is_without_width(runs: int) -> None:
    for sizes in ((4, 2), (1,), (50, 10)):
        target = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        weights = torch.tensor([[size / sum(sizes) for size in sizes]])
        always = [(target == k).repeat(runs, 1) for k in (0, 1)] + [torch.ones(runs, len(target), dtype=torch.bool)]
        for first in always:
            (rate,) = estimate(first, target, weights=weights)
            assert ends(rate)[1] - ends(rate)[0] > 0.9 / len(target)
            assert ends(rate)[0] <= rate.value <= ends(rate)[1]
            for second in always:
                (gap,) = difference(first, second, target, weights=weights, paired=True)
                assert ends(gap)[1] - ends(gap)[0] > 0.9 / len(target)
                assert ends(gap)[0] <= gap.value <= ends(gap)[1]


@pytest.mark.slow
def test_interval_and_p_never_contradict_each_other() -> None:
    rng = np.random.default_rng(9)
    told = 0
    for place in range(300):
        runs, number = (1, 3, 5)[place % 3], (4, 7, 13, 40, 150)[place % 5]
        target = torch.arange(number) % 2
        rate = rng.random((2, 1, 1)) + rng.normal(0, 0.1, (2, runs, 1))
        first, second = torch.from_numpy(rng.random((2, runs, number)) < rate)
        for family in (1, 3, 8):
            paired = bool(rng.random() < 0.5)
            weights = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
            for found in difference(first, second, target, weights=weights, paired=paired, family=family):
                low, high = ends(found)
                p = adjusted(found.p, family)
                assert p is not None
                assert (low > 0 or high < 0) == (p < 0.05)
                told += p < 0.05
    assert told > 250


def test_nothing_depends_on_the_order_of_items_or_runs() -> None:
    world = World(runs=3, spread=0.05)
    first, second = world.pair(np.random.default_rng(1))
    order, turn = torch.randperm(200, generator=torch.Generator().manual_seed(2)), torch.tensor([2, 0, 1])
    weights = torch.stack([world.weights[0], torch.tensor([0.7, 0.1, 0.1, 0.1])])

    def found(items: Tensor, runs: Tensor, paired: bool) -> object:
        a, b, target = first[runs][:, items], second[runs][:, items], world.target[items]
        return difference(a, b, target, weights=weights, paired=paired), estimate(a, target, weights=weights)

    for paired in (True, False):
        assert found(torch.arange(200), torch.arange(3), paired) == found(order, turn, paired)
    # The lucky items of a class change places: the same answers in sum, so the same numbers.
    again = first.clone()
    kind = torch.nonzero(world.target == 1).flatten()
    again[:, kind] = first[:, kind.flip(0)]
    assert estimate(again, world.target, weights=weights) == estimate(first, world.target, weights=weights)


def test_turning_a_difference_round_turns_its_interval_round() -> None:
    world = World(runs=3, spread=0.03)
    first, second = world.pair(np.random.default_rng(3), 0.1)
    there, back = gap_of(first, second, world), gap_of(second, first, world)
    assert ends(there) == pytest.approx(tuple(-end for end in reversed(ends(back))))
    assert there.p == pytest.approx(back.p)


def test_every_two_of_many_are_tested_as_two_alone_are() -> None:
    generator = torch.Generator().manual_seed(3)
    target = torch.arange(120) % 4
    runs = (3, 3, 1, 4)
    arms = [torch.rand(number, 120, generator=generator) < 0.5 + place / 10 for place, number in enumerate(runs)]
    weights = torch.tensor([[0.25] * 4, [0.5, 0.5, 0.0, 0.0]])
    seeds = pool_seeds(arms[:2], target, weights=weights, paired=True)

    def alike(i: int, j: int) -> bool:
        return runs[i] == runs[j]

    found = list(statistics.pairwise(arms, target, weights=weights, paired=alike, family=3, seeds=seeds))
    assert [(i, j) for i, j, _ in found] == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    for i, j, estimates in found:
        options = {"weights": weights, "paired": alike(i, j), "family": 3, "seeds": seeds}
        assert estimates == difference(arms[i], arms[j], target, **options)
    with pytest.raises(InputError, match="3 runs cannot be paired with 1"):
        list(statistics.pairwise(arms, target, weights=weights, paired=lambda i, j: True))


def test_a_generator_is_taken_and_changes_nothing() -> None:
    world = World(runs=3)
    first, second = world.pair(np.random.default_rng(1))
    for seed in (1, 2):
        generator = torch.Generator().manual_seed(seed)
        assert gap_of(first, second, world, generator=generator) == gap_of(first, second, world)
        (rate,) = estimate(first, world.target, weights=world.weights, generator=generator)
        assert rate == estimate(first, world.target, weights=world.weights)[0]


def test_two_seeds_have_no_interval_and_no_p() -> None:
    for runs, known in ((1, True), (2, False), (3, True)):
        world = World(runs=runs)
        first, second = world.pair(np.random.default_rng(1))
        (one,) = estimate(first, world.target, weights=world.weights)
        assert one.p is None
        assert (one.low is not None) is known
        gap = gap_of(first, second, world)
        assert all((value is not None) is known for value in (gap.low, gap.high, gap.p))


def test_a_family_widens_every_interval_and_loses_no_verdict_of_its_own() -> None:
    world = World(runs=3, spread=0.05)
    first, second = world.pair(np.random.default_rng(2))
    found = [gap_of(first, second, world, family=size) for size in (1, 2, 8)]
    widths = [ends(one)[1] - ends(one)[0] for one in found]
    assert widths[0] < widths[1] < widths[2]
    assert len({one.p for one in found}) == 1
    with pytest.raises(InputError, match="at least one contrast"):
        gap_of(first, second, world, family=0)


def table(rng: np.random.Generator, arms: int, world: World, restless: float = 0.0) -> list[Tensor]:
    """Equally good methods on the same items; the last differs by ``restless`` more between its runs."""
    recall = np.asarray(world.recalls)[world.target.numpy()]
    easy = rng.choice([-world.easiness, world.easiness], len(recall))
    spread = np.full(arms, world.spread)
    spread[-1] += restless
    quality = rng.normal(0, 1, (arms, world.runs, 1)) * spread[:, None, None]
    return list(torch.from_numpy(rng.random((arms, world.runs, len(recall))) < recall + easy + quality))


def false_verdicts(world: World, arms: int, tables: int, restless: float = 0.0, family: int | None = None) -> float:
    """Share of the tables in which the last contrast, or with ``family`` any, is told from 0."""
    rng, wrong = np.random.default_rng(11), 0
    for _ in range(tables):
        made = table(rng, arms, world, restless)
        seeds = pool_seeds(made, world.target, weights=world.weights, paired=True)
        others = made[-1:] if family is None else made[1:]
        found = [gap_of(one, made[0], world, family=family or 1, seeds=seeds) for one in others]
        wrong += any(ends(one)[0] > 0 or ends(one)[1] < 0 for one in found)
    return wrong / tables


@pytest.mark.slow
def test_a_family_bounds_the_chance_of_any_false_verdict_and_single_intervals_do_not() -> None:
    world = World(runs=3, spread=0.03)
    assert false_verdicts(world, 7, 200, family=6) < 0.11
    assert false_verdicts(world, 7, 200, family=1) > 0.13


@pytest.mark.slow
def test_spreads_that_differ_are_not_pooled_and_pooling_them_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(runs=5, spread=0.005)
    assert false_verdicts(world, 6, 200, restless=0.15) < 0.11
    monkeypatch.setattr(statistics, "ALIKE", 0.0)  # mutant: pool whatever the test says
    assert false_verdicts(world, 6, 200, restless=0.15) > 0.2


def test_pooling_makes_the_intervals_of_a_table_narrower() -> None:
    world, rng = World(runs=3, spread=0.03), np.random.default_rng(12)
    pooled, alone = [], []
    for _ in range(40):
        made = table(rng, 9, world)
        seeds = pool_seeds(made, world.target, weights=world.weights, paired=True)
        assert seeds.freedom == 16
        for kept, given in ((pooled, seeds), (alone, None)):
            low, high = ends(gap_of(made[1], made[0], world, family=8, seeds=given))
            kept.append(high - low)
    assert np.median(pooled) < 0.75 * np.median(alone)


def test_the_pooled_variance_is_that_of_the_definition() -> None:
    world = World(runs=4, spread=0.05)
    made = table(np.random.default_rng(1), 3, world)
    values = np.array([[float(run.double().mean()) for run in runs] for runs in made])
    rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    together = pool_seeds(made, world.target, weights=world.weights, paired=True)
    assert together.variance[0] == pytest.approx((rest**2).sum() / 6)
    assert together.freedom == 6
    apart = pool_seeds(made, world.target, weights=world.weights, paired=False)
    assert apart.variance[0] == pytest.approx(values.var(axis=1, ddof=1).mean())
    assert apart.freedom == 9
    assert apart.alike[0] == pytest.approx(stats.bartlett(*values).pvalue)
    # Of two methods: half the variance of their differences, and then nothing changes.
    two = pool_seeds(made[:2], world.target, weights=world.weights, paired=True)
    assert two.variance[0] == pytest.approx((values[0] - values[1]).var(ddof=1) / 2)
    if two.pooled[0]:
        assert ends(gap_of(*made[:2], world, seeds=two)) == pytest.approx(ends(gap_of(*made[:2], world)))


def test_single_runs_have_no_spread_to_pool() -> None:
    world = World(runs=1)
    seeds = pool_seeds(table(np.random.default_rng(1), 3, world), world.target, weights=world.weights, paired=True)
    assert (seeds.freedom, seeds.pooled) == (0, (False,))


def test_the_smallest_difference_is_half_an_interval_and_shrinks_with_the_seeds() -> None:
    world = World(runs=3, spread=0.05, items=200)
    first, second = world.pair(np.random.default_rng(2))
    asked = {"weights": world.weights, "paired": True}
    three, five = (
        smallest_difference(first, second, world.target, runs=runs, **asked)[0]  # type: ignore[arg-type]
        for runs in (3, 5)
    )
    low, high = ends(gap_of(first, second, world))
    assert three == pytest.approx((high - low) / 2, rel=0.03)
    assert five < three


def test_what_the_seeds_add() -> None:
    assert seed_part(1.0, 0.0, 2.0) == 1.0
    assert seed_part(1.0, 1.0, 1e9) == pytest.approx(0.0, abs=1e-3)
    assert seed_part(0.0, 1.0, 2.0) == 0.0
    # Two degrees of freedom and eight contrasts need 12.6 standard errors, sixteen need 3.1.
    assert t_quantile(2.0, 1 - 0.05 / 8) == pytest.approx(12.6, abs=0.05)
    assert t_quantile(16.0, 1 - 0.05 / 8) == pytest.approx(3.13, abs=0.05)


def test_a_class_without_test_items_needs_no_weight() -> None:
    correct, target = torch.tensor([[True, False, True, True]]), torch.tensor([0, 0, 2, 2])
    (one,) = estimate(correct, target, weights=torch.tensor([[0.5, 0.0, 0.5]]))
    assert one.value == pytest.approx(0.75)
    for weights, message in (
        (torch.full((1, 3), 1 / 3), "0 where a class has no test item"),
        (torch.full((1, 2), 1 / 2), "a column for each class"),
        (torch.tensor([[0.5, 0.0, 0.1]]), "sum to 1"),
        (torch.tensor([[1.5, 0.0, -0.5]]), "numbers from 0"),
    ):
        with pytest.raises(InputError, match=message):
            estimate(correct, target, weights=weights)


def test_runs_that_cannot_be_paired() -> None:
    correct, target = torch.ones(3, 4, dtype=torch.bool), torch.tensor([0, 0, 1, 1])
    with pytest.raises(InputError, match="3 runs cannot be paired with 2"):
        difference(correct, correct[:2], target, weights=torch.ones(1, 2) / 2, paired=True)


def test_one_run_against_three_is_about_these_runs() -> None:
    world = World(runs=3, spread=0.1)
    first, second = world.pair(np.random.default_rng(1), 0.4)
    (found,) = difference(first[:1], second, world.target, weights=world.weights, paired=False)
    assert verdict(found, 1) == "better in this run"


def test_mcnemar_is_the_binomial_test_of_the_disagreements() -> None:
    a = torch.tensor([True] * 5 + [False] * 1 + [True] * 50)
    b = torch.tensor([False] * 5 + [True] * 1 + [True] * 50)
    by_hand = 2 * sum(math.comb(6, k) for k in range(2)) / 2**6
    assert mcnemar(a, b) == pytest.approx(by_hand)
    assert mcnemar(b, a) == pytest.approx(by_hand)
    assert mcnemar(a, a) == 1.0


def test_mcnemar_does_not_reject_equals_too_often() -> None:
    world, rng = World(runs=1, items=20), np.random.default_rng(11)
    rejected = sum(mcnemar(*(x[0] for x in world.pair(rng))) < 0.05 for _ in range(600))
    assert rejected / 600 < 0.085


def test_summaries_by_hand() -> None:
    three = summarize([0.4, 0.1, 0.4])
    assert (three.mean, three.sd) == (pytest.approx(0.3), pytest.approx(math.sqrt(0.06 / 2)))
    assert (three.low, three.high, three.n, three.values) == (0.1, 0.4, 3, (0.4, 0.1, 0.4))
    assert summarize([0.4]).sd is None
    with pytest.raises(InputError, match="no seed was given"):
        summarize([])


def test_the_words_of_a_verdict() -> None:
    word: Callable[..., str] = lambda low, high, runs: verdict(Estimate(0.1, low, high, 0.1), runs)  # noqa: E731
    assert word(0.01, 0.2, 3) == "better"
    assert word(-0.2, -0.01, 5) == "worse"
    assert word(0.0, 0.2, 3) == "indistinguishable at 95 %"
    assert word(0.01, 0.2, 1) == "better in this run"
    assert word(-0.2, -0.01, 1) == "worse in this run"
    assert word(None, None, 2) == "no verdict from two seeds"
