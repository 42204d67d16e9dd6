from __future__ import annotations

import collections
import functools
import math
import types
from collections.abc import Callable

import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from longtail.errors import InputError
from longtail.samplers import (
    ClassBalanced,
    EffectiveNumber,
    InstanceBalanced,
    ProgressivelyBalanced,
    RepeatFactor,
    Reversed,
    SquareRoot,
)

# Classes in mixed order, one of them (3) without images and one with a single one.
COUNTS = torch.tensor([400, 120, 36, 0, 11, 1])
TARGET = torch.arange(6).repeat_interleave(COUNTS)[torch.randperm(568, generator=torch.Generator().manual_seed(0))]
ALL = [
    InstanceBalanced,
    SquareRoot,
    ClassBalanced,
    EffectiveNumber,
    Reversed,
    ProgressivelyBalanced,
    RepeatFactor,
]
SIGNIFICANCE = 1e-5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def p_value(index: Tensor, classes: Tensor) -> float:
    """Chi-square, on counts of single images, of the law: a class by ``classes``, then one of its images uniformly.

    The images of a class that is too rare for single ones are counted together.
    """
    probability = (classes / COUNTS.clamp(min=1)).double()
    probability = probability / probability[TARGET].sum() * len(index)
    observed, expected = [], []
    for c in range(len(COUNTS)):
        times = torch.bincount(index, minlength=len(TARGET))[c == TARGET].double()
        single = float(probability[c]) > 5
        observed += times.tolist() if single else [float(times.sum())][: len(times)]
        expected += [float(probability[c]) * (1 if single else len(times))] * (len(times) if single else len(times) > 0)
    assert min(expected) > 5  # or the chi-square law would not hold
    return float(scipy.stats.chisquare(observed, expected).pvalue)


def share(epoch: int, epochs: int) -> Tensor:
    even = (COUNTS > 0) / 5
    return (1 - epoch / epochs) * COUNTS / COUNTS.sum() + epoch / epochs * even


LAWS = {
    "square root": (SquareRoot, None, COUNTS.double().sqrt()),
    "balanced": (ClassBalanced, None, (COUNTS > 0).double()),
    "reversed": (Reversed, None, torch.where(COUNTS > 0, 1 / COUNTS.double(), 0.0)),
    # The sum of a geometric series: 1 + beta + ... + beta^(n - 1).
    "effective number": (
        functools.partial(EffectiveNumber, beta=0.98),
        None,
        torch.tensor([n / max(sum(0.98**i for i in range(n)), 1.0) for n in COUNTS.tolist()], dtype=torch.float64),
    ),
    "progressive, first": (ProgressivelyBalanced, (0, 4), COUNTS.double()),
    "progressive, third of four": (ProgressivelyBalanced, (2, 4), share(2, 4)),
    "progressive, last of four": (ProgressivelyBalanced, (3, 4), share(3, 4)),
}


def drawn(name: str, seed: int = 0) -> Tensor:
    kind, epoch, _ = LAWS[name]
    sampler = kind(TARGET, num_samples=60_000, generator=seeded(seed))
    if epoch:
        sampler.start_epoch(types.SimpleNamespace(epoch=epoch[0], epochs=epoch[1]))
    return sampler.draw()


@pytest.mark.parametrize("name", LAWS)
def test_images_come_by_the_law(name):
    assert p_value(drawn(name), LAWS[name][2]) > SIGNIFICANCE


@pytest.mark.parametrize("name", LAWS)
def test_every_other_law_is_rejected(name):
    index = drawn(name)
    for other, (_, _, classes) in LAWS.items():
        if other != name:
            assert p_value(index, classes) < SIGNIFICANCE, other


def test_an_image_at_the_end_of_its_class_that_never_comes_is_noticed():
    """The mutant of an off-by-one in the draw within a class."""
    last = torch.tensor([int((c == TARGET).nonzero()[-1]) for c in (0, 1, 2, 4)])
    first = torch.tensor([int((c == TARGET).nonzero()[0]) for c in (0, 1, 2, 4)])
    index = drawn("balanced")
    for a, b in zip(last, first, strict=True):
        index = torch.where(index == a, b, index)
    assert p_value(index, LAWS["balanced"][2]) < SIGNIFICANCE


def test_draws_are_independent_of_their_place():
    """Neighbours in the epoch are of the same class as often as independence says; blocks by class are rejected."""
    classes = TARGET[drawn("balanced")]

    def test(classes: Tensor) -> float:
        same = int((classes[::2] == classes[1::2]).sum())
        return float(scipy.stats.binomtest(same, len(classes) // 2, 1 / 5).pvalue)

    assert test(classes) > SIGNIFICANCE
    assert test(classes.sort().values) < SIGNIFICANCE


def test_natural_is_a_permutation_and_goes_on_with_another():
    sampler = InstanceBalanced(TARGET, num_samples=2 * len(TARGET) + 10, generator=seeded())
    first, second, rest = sampler.draw().split([len(TARGET), len(TARGET), 10])
    assert torch.equal(first.sort().values, torch.arange(len(TARGET)))
    assert torch.equal(second.sort().values, torch.arange(len(TARGET)))
    assert not torch.equal(first, second)
    assert len(set(rest.tolist())) == 10
    assert len(InstanceBalanced(TARGET, num_samples=7, generator=seeded()).draw()) == 7


def test_natural_order_is_uniform():
    """All 24 orders of four images, on counts."""
    sampler = InstanceBalanced(torch.zeros(4, dtype=torch.int64), generator=seeded())
    seen = collections.Counter(tuple(sampler) for _ in range(4800))
    assert len(seen) == 24
    assert scipy.stats.chisquare(list(seen.values())).pvalue > SIGNIFICANCE


def test_progressive_starts_natural_without_being_told():
    told = ProgressivelyBalanced(TARGET, generator=seeded())
    told.start_epoch(types.SimpleNamespace(epoch=0, epochs=9))
    assert torch.equal(told.draw(), ProgressivelyBalanced(TARGET, generator=seeded()).draw())


@pytest.mark.parametrize("kind", ALL)
def test_length_and_type(kind):
    sampler = kind(TARGET, generator=seeded())
    assert len(sampler) == len(sampler.draw()) == len(list(sampler))
    assert len(sampler) == len(TARGET) or kind is RepeatFactor
    assert all(type(item) is int for item in sampler)
    assert sampler.draw().dtype == torch.int64
    assert len(kind(TARGET, num_samples=1000, generator=seeded())) == 1000


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.uint8])
def test_targets_of_any_whole_number_type(kind, dtype):
    assert torch.equal(kind(TARGET.to(dtype), generator=seeded()).draw(), kind(TARGET, generator=seeded()).draw())


@pytest.mark.parametrize("kind", ALL)
def test_the_state_of_the_generator_is_the_whole_state(kind):
    generator = seeded()
    sampler = kind(TARGET, generator=generator)
    sampler.draw()
    stored = generator.get_state()
    following = [sampler.draw(), sampler.draw()]
    generator = seeded(99)
    resumed = kind(TARGET, generator=generator)
    resumed.draw()
    generator.set_state(stored)
    for expected in following:
        assert torch.equal(resumed.draw(), expected)
    assert not torch.equal(following[0], following[1])


@pytest.mark.parametrize("kind", ALL)
def test_the_global_generator_has_no_part_in_it(kind):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = kind(TARGET, generator=seeded()).draw()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(kind(TARGET, generator=seeded()).draw(), first)


@pytest.mark.parametrize("kind", ALL)
def test_any_data_loader_takes_it(kind):
    loader = DataLoader(TensorDataset(TARGET), batch_size=64, sampler=kind(TARGET, generator=seeded()))
    expected = TARGET[kind(TARGET, generator=seeded()).draw()]
    assert torch.equal(torch.cat([batch for (batch,) in loader]), expected)


WRONG = {
    "matrix": (
        torch.zeros(3, 2, dtype=torch.int64),
        r"target must be a row of class numbers from 0, \(N,\), not torch.int64 of shape \(3, 2\)",
    ),
    "float": (torch.zeros(3), r"not torch.float32 of shape \(3,\)"),
    "mask": (torch.zeros(3, dtype=torch.bool), r"not torch.bool of shape \(3,\)"),
    "empty": (torch.zeros(0, dtype=torch.int64), "needs a row of class numbers as target, and this one is empty"),
    "names": (["cat", "dog"], "not a list of str: number the names, as numpy.unique"),
    "negative": (torch.tensor([0, -1]), "class numbers from 0, but target holds -1"),
}


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("wrong", WRONG)
def test_bad_targets_are_refused(kind, wrong):
    target, message = WRONG[wrong]
    with pytest.raises(InputError, match=message):
        kind(target, generator=seeded())


@pytest.mark.parametrize("kind", ALL)
def test_bad_lengths_and_devices_are_refused(kind):
    with pytest.raises(InputError, match="num_samples must be at least 1, not 0"):
        kind(TARGET, num_samples=0, generator=seeded())
    with pytest.raises(InputError, match="the generator is on cpu, the targets are on meta: use one device"):
        kind(TARGET.to("meta"), generator=seeded())


# --- repeat factors ---------------------------------------------------------------------------------------------------

FACTOR = torch.sqrt(0.1 * 568 / COUNTS.clamp(min=1).double()).clamp(min=1)[TARGET]


def check_repeats(draw: Callable[[], Tensor], epochs: int = 800) -> None:
    """Every image at least the whole part of its factor, at most one more, and its factor on average."""
    times = torch.stack([torch.bincount(draw(), minlength=568) for _ in range(epochs)])
    assert times.sum(dim=1).unique().tolist() == [math.ceil(float(FACTOR.sum()))]
    scaled = FACTOR * math.ceil(float(FACTOR.sum())) / float(FACTOR.sum())
    assert bool((times >= scaled.floor()).all())
    assert bool((times <= scaled.ceil()).all())
    for image, factor in enumerate(scaled.tolist()):
        more = int(times[:, image].sum()) - epochs * math.floor(factor)
        assert scipy.stats.binomtest(more, epochs, factor % 1).pvalue > SIGNIFICANCE / 100
    # Which images of a class come once more has no pattern: two of them together as often as the law of a sample of a
    # fixed size says, and not as often as neighbours in the order of the data would.
    rare = times[:, TARGET == 4] - scaled[TARGET == 4].floor()
    both = int((rare[:, 0] * rare[:, 1]).sum())
    share = float(rare.mean())
    assert abs(both / epochs - share**2) < 0.045  # about five standard errors


def rounded() -> Tensor:
    return torch.arange(568).repeat_interleave(FACTOR.round().long())


def in_the_order_of_the_data() -> Tensor:
    """Systematic sampling with one offset, without the random order of the images."""
    ends = FACTOR.sort(descending=True).values.cumsum(0)
    total = math.ceil(float(ends[-1]))
    marks = (ends * total / ends[-1] + torch.rand(1, generator=MUTANT)).floor().long().clamp(max=total)
    marks[-1] = total
    order = FACTOR.argsort(descending=True, stable=True)
    return order.repeat_interleave(torch.diff(marks, prepend=torch.zeros(1, dtype=torch.int64)))


MUTANT = seeded(1)


def test_repeat_factors():
    check_repeats(RepeatFactor(TARGET, threshold=0.1, generator=seeded()).draw)
    balanced = ClassBalanced(TARGET, num_samples=math.ceil(float(FACTOR.sum())), generator=seeded())
    for mutant in (rounded, balanced.draw, in_the_order_of_the_data):
        with pytest.raises(AssertionError):
            check_repeats(mutant)


def test_repeat_factors_below_the_threshold_change_nothing():
    """With a threshold below the smallest share, an epoch is a permutation; the order is random in any case."""
    sampler = RepeatFactor(TARGET, threshold=1e-3, generator=seeded())
    assert torch.equal(sampler.draw().sort().values, torch.arange(568))
    first = torch.tensor([RepeatFactor([0] * 4, generator=seeded(s)).draw()[0] for s in range(800)])
    assert scipy.stats.chisquare(torch.bincount(first, minlength=4).numpy()).pvalue > SIGNIFICANCE
    assert len(RepeatFactor(TARGET, threshold=0.1, num_samples=2000, generator=seeded()).draw()) == 2000
    with pytest.raises(InputError, match="threshold is a share of the images and must be above 0, not 0"):
        RepeatFactor(TARGET, threshold=0.0, generator=seeded())


def test_effective_number_lies_between_natural_and_balanced():
    shares = []
    for beta in (0.0, 0.9, 0.999, 1 - 1e-9):
        weights = EffectiveNumber(TARGET, beta=beta, seed=0).weights()
        shares.append(float(weights[5] / weights.sum()))
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(1 / 568)
    assert shares[-1] == pytest.approx(1 / 5, rel=1e-4)
    with pytest.raises(InputError, match="beta"):
        EffectiveNumber(TARGET, beta=1.0, seed=0)
