from __future__ import annotations

import collections
import types

import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from longtail.errors import InputError
from longtail.samplers import ClassBalanced, InstanceBalanced, ProgressivelyBalanced, SquareRoot

# Classes in mixed order, one of them (3) without images and one with a single one.
COUNTS = torch.tensor([400, 120, 36, 0, 11, 1])
TARGET = torch.arange(6).repeat_interleave(COUNTS)[torch.randperm(568, generator=torch.Generator().manual_seed(0))]
ALL = [InstanceBalanced, SquareRoot, ClassBalanced, ProgressivelyBalanced]
SIGNIFICANCE = 1e-5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def p_value(index: Tensor, classes: Tensor) -> float:
    """Chi-square, on counts of single images, of the law: a class by ``classes``, then one of its images uniformly."""
    probability = (classes / COUNTS.clamp(min=1))[TARGET].double()
    observed = torch.bincount(index, minlength=len(TARGET)).double()
    expected = probability / probability.sum() * len(index)
    assert float(expected.min()) > 5  # or the chi-square law would not hold
    return float(scipy.stats.chisquare(observed.numpy(), expected.numpy()).pvalue)


def share(epoch: int, epochs: int) -> Tensor:
    even = (COUNTS > 0) / 5
    return (1 - epoch / epochs) * COUNTS / COUNTS.sum() + epoch / epochs * even


LAWS = {
    "square root": (SquareRoot, None, COUNTS.double().sqrt()),
    "balanced": (ClassBalanced, None, (COUNTS > 0).double()),
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
    assert len(sampler) == len(TARGET) == len(sampler.draw()) == len(list(sampler))
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
        r"row of class numbers as target, not torch.int64 of shape \(3, 2\)",
    ),
    "float": (torch.zeros(3), r"not torch.float32 of shape \(3,\)"),
    "mask": (torch.zeros(3, dtype=torch.bool), r"not torch.bool of shape \(3,\)"),
    "empty": (torch.zeros(0, dtype=torch.int64), r"of shape \(0,\)"),
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
