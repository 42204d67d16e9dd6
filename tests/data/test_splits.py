from __future__ import annotations

import numpy as np
import pytest
import torch

from longtail.counts import class_counts
from longtail.data.profiles import exponential_profile
from longtail.data.splits import held_out, long_tailed_index, random_state
from longtail.errors import InputError
from oracles.splits import ldam_index

NAMES = [f"c{number}" for number in range(100)]
# The first images that CIFAR-10-LT keeps of three classes, by their numbers in the original training files.
KNOWN = {
    0: [4030, 38518, 48266, 45556, 6312, 25460, 11479, 22410],
    5: [41697, 12051, 46146, 46095, 23623, 5049, 19690, 19900],
    9: [22220, 38393, 22240, 25393, 19625, 47692, 3657, 38328],
}


def mixed(sizes: list[int], seed: int = 0) -> torch.Tensor:
    target = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return target[torch.randperm(len(target), generator=torch.Generator().manual_seed(seed))]


def de_facto(target, counts, seed):
    return long_tailed_index(target, counts, seed=seed, class_names=NAMES).tolist()


def reseeded(target, counts, seed):
    """Mutant: each class starts the generator anew."""
    return [i for c, n in enumerate(counts.tolist()) for i in shuffled(target, c, np.random.RandomState(seed))[:n]]


def one_permutation(target, counts, seed):
    """Mutant: all images are shuffled at once."""
    order = np.random.RandomState(seed).permutation(len(target))
    return [i for c, n in enumerate(counts.tolist()) for i in [j for j in order if target[j] == c][:n]]


def with_replacement(target, counts, seed):
    """Mutant: images may come twice."""
    generator = np.random.RandomState(seed)
    members = [np.flatnonzero(target == c) for c in range(len(counts))]
    return [i for pool, n in zip(members, counts.tolist(), strict=True) for i in generator.choice(pool, n)]


def modern(target, counts, seed):
    """Mutant: NumPy's present generator."""
    generator = np.random.default_rng(seed)
    return [i for c, n in enumerate(counts.tolist()) for i in shuffled(target, c, generator)[:n]]


def last_ones(target, counts, seed):
    """Mutant: the last of the shuffled images are kept."""
    generator = np.random.RandomState(seed)
    return [i for c, n in enumerate(counts.tolist()) for i in shuffled(target, c, generator)[-n:]]


def other_seed(target, counts, seed):
    """Mutant."""
    return de_facto(target, counts, seed + 1)


MUTANTS = [reseeded, one_permutation, with_replacement, modern, last_ones, other_seed]


def shuffled(target, c, generator):
    members = np.flatnonzero(target == c)
    generator.shuffle(members)
    return members


def order(numbers) -> list[int]:
    return np.argsort(numbers).tolist()


def has_the_order_of_cifar10(draw) -> None:
    """The known images of a class stand in the order that the list gives to the places of a class of 5,000.

    Their numbers in the files rise with their places within the class, so the labels of CIFAR-10 are not needed.
    """
    target = torch.arange(10).repeat_interleave(5000)
    found = np.array(draw(target, exponential_profile(10, 5000, 100), 0))
    for c, numbers in KNOWN.items():
        start = int(exponential_profile(10, 5000, 100)[:c].sum())
        assert order(found[start : start + len(numbers)]) == order(numbers)


def test_the_list_is_that_of_ldams_code():
    target = mixed([300, 200, 250, 180, 170])
    for imbalance in (1, 3, 10, 100):
        counts = exponential_profile(5, 170, imbalance)
        for seed in (0, 1, 12345):
            assert de_facto(target, counts, seed) == ldam_index(target.tolist(), counts.tolist(), seed)


@pytest.mark.parametrize("mutant", [*MUTANTS])
def test_another_list_is_noticed(mutant):
    target, counts = mixed([300, 200, 250]), torch.tensor([40, 20, 10])
    assert [int(i) for i in mutant(target, counts, 0)] != ldam_index(target.tolist(), counts.tolist(), 0)


def test_the_list_is_the_one_that_cifar10_lt_was_drawn_by():
    has_the_order_of_cifar10(de_facto)


@pytest.mark.parametrize("mutant", [reseeded, with_replacement, modern, last_ones, other_seed])
def test_cifar10_lt_was_not_drawn_otherwise(mutant):
    with pytest.raises(AssertionError):
        has_the_order_of_cifar10(mutant)


def test_on_the_real_labels_of_cifar100(real_data):
    from longtail.data import load

    whole = load("cifar100-lt", root=real_data, imbalance=1)
    inverse = torch.empty_like(whole.train.index)
    target = torch.empty_like(whole.train.target)
    target[whole.train.index] = whole.train.target
    inverse[whole.train.index] = torch.arange(50_000)
    subset = load("cifar100-lt", root=real_data, imbalance=100)
    assert subset.train.index.tolist() == ldam_index(target.tolist(), subset.counts.tolist(), 0)
    assert torch.equal(subset.train.images, whole.train.images[inverse[subset.train.index]])


def test_subsets_of_one_seed_are_nested():
    target = mixed([100] * 6)
    small = set(de_facto(target, exponential_profile(6, 100, 50), 3))
    large = set(de_facto(target, exponential_profile(6, 100, 10), 3))
    assert small < large


def test_the_global_generators_are_neither_read_nor_moved():
    target = mixed([50, 40])
    np.random.seed(1)
    torch.manual_seed(1)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state()
    first = de_facto(target, torch.tensor([9, 3]), 0)
    assert before[0] == np.random.get_state()[1].tolist()
    assert torch.equal(before[1], torch.get_rng_state())
    np.random.seed(2)
    assert de_facto(target, torch.tensor([9, 3]), 0) == first


def test_a_class_left_without_images_is_named():
    with pytest.raises(InputError, match="class 'c1', 'c2' would be left without images: the largest class has 5,"):
        de_facto(mixed([5, 5, 5]), torch.tensor([5, 0, 0]), 0)


def test_a_class_with_too_few_images_is_named():
    with pytest.raises(InputError, match="class 'c1' has 2 images, 3 are wanted"):
        de_facto(mixed([5, 2]), torch.tensor([5, 3]), 0)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_is_none(seed):
    with pytest.raises(InputError, match="whole number from 0 to 4294967295"):
        random_state(seed)


# Held-out images


def test_held_out_images_are_a_stratified_part():
    target = mixed([60, 30, 9, 1])
    sizes = torch.tensor([12, 6, 2, 0])
    rest, held = held_out(target, sizes, seed=0)
    assert class_counts(target[held], 4).tolist() == sizes.tolist()
    assert sorted([*rest.tolist(), *held.tolist()]) == list(range(100))
    assert rest.tolist() == sorted(rest.tolist())
    assert held.tolist() == sorted(held.tolist())


def test_held_out_images_depend_on_the_seed_and_on_nothing_else():
    target, sizes = mixed([60, 30]), torch.tensor([12, 6])
    first = held_out(target, sizes, seed=(0, 1))[1]
    assert torch.equal(first, held_out(target, sizes, seed=(0, 1))[1])
    assert not torch.equal(first, held_out(target, sizes, seed=(1, 1))[1])
    assert not torch.equal(first, held_out(target, sizes, seed=0)[1])


def test_every_image_is_held_out_equally_often():
    """Each of 5 images in a class gives 2 with probability 2/5: counts over 2,000 seeds, within 4.5 sd."""
    target = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1, 0, 1])
    times = torch.zeros(10)
    for seed in range(2000):
        times[held_out(target, torch.tensor([2, 1]), seed=seed)[1]] += 1
    for c, share in ((0, 0.4), (1, 0.2)):
        sd = (2000 * share * (1 - share)) ** 0.5
        assert (times[c::2] - 2000 * share).abs().max() < 4.5 * sd
