from __future__ import annotations

import collections
import itertools

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from longtail.errors import InputError
from longtail.samplers import ClassQuota, MinimumPerClass
from longtail.samplers.quota import without_replacement

SIGNIFICANCE = 1e-5
COUNTS = [40, 17, 9, 0, 4, 3, 1]


def mixed(counts: list[int], seed: int = 0) -> Tensor:
    target = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return target[torch.randperm(len(target), generator=seeded(seed))]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


tails = st.lists(st.integers(0, 12), min_size=1, max_size=9).filter(any)


@settings(max_examples=60, deadline=None)
@given(counts=tails, images=st.integers(1, 7), length=st.integers(1, 90), seed=st.integers(0, 9), data=st.data())
def test_every_batch_keeps_the_quota(counts, images, length, seed, data):
    present = sum(count > 0 for count in counts)
    classes = data.draw(st.integers(1, present))
    target = mixed(counts)
    sampler = ClassQuota(target, classes=classes, images=images, num_samples=length, generator=seeded(seed))
    index = sampler.draw()
    assert len(index) == len(sampler)
    assert length <= len(sampler) < length + sampler.batch_size
    for batch in index.view(-1, classes, images):
        drawn = target[batch]
        assert bool((drawn == drawn[:, :1]).all())
        assert len(set(drawn[:, 0].tolist())) == classes
        for hand in batch:
            times = collections.Counter(hand.tolist())
            size = counts[int(target[hand[0]])]
            # As different as the class allows, and otherwise as even as it can be.
            assert len(times) == min(size, images)
            assert max(times.values()) == -(-images // size)
            assert len(times) < size or min(times.values()) == images // size


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 7)), min_size=1, max_size=6),
    size=st.integers(1, 6),
    seed=st.integers(0, 9),
)
def test_a_deck_is_dealt_out_before_it_is_shuffled(groups, size, seed):
    counts, hands = (torch.tensor(column) for column in zip(*groups, strict=True))
    dealt = without_replacement(counts, hands, size=size, generator=seeded(seed))
    assert dealt.shape == (int(hands.sum()), size)
    for (count, _), rows in zip(groups, dealt.split(hands.tolist()), strict=True):
        cards = rows.flatten().tolist()
        assert all(0 <= card < count for card in cards)
        if count >= size:
            full = count // size * size
            for deck in chunks(cards, full):
                assert len(set(deck)) == len(deck)
        else:
            for hand in rows.tolist():
                for deck in chunks(hand, count):
                    assert len(set(deck)) == len(deck)


def chunks(items: list[int], size: int) -> list[list[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def test_classes_come_equally_often():
    """Ten classes, three at a time: each deck of classes gives three batches, so no class is ever far behind."""
    target = mixed([20] * 10)
    sampler = ClassQuota(target, classes=3, images=2, num_samples=6 * 3000, generator=seeded())
    batches = target[sampler.draw()].view(3000, 3, 2)[..., 0]
    for deck in batches.view(1000, 9):
        assert len(set(deck.tolist())) == 9
    # One class is left out of each deck, uniformly.
    left_out = torch.full((1000,), 45) - batches.view(1000, 9).sum(1)
    assert scipy.stats.chisquare(torch.bincount(left_out, minlength=10).numpy()).pvalue > SIGNIFICANCE


def subsets(index: Tensor) -> collections.Counter:
    return collections.Counter(tuple(sorted(batch)) for batch in index.tolist())


def test_pairs_of_classes_are_uniform():
    target = mixed([3, 3, 3, 3, 3])
    sampler = ClassQuota(target, classes=2, images=1, num_samples=2 * 6000, generator=seeded())
    seen = subsets(target[sampler.draw()].view(-1, 2))
    assert len(seen) == 10
    # Two batches of a deck exclude each other, which only narrows the spread of the counts.
    assert scipy.stats.chisquare(list(seen.values())).pvalue > SIGNIFICANCE


@pytest.mark.parametrize(("size", "images"), [(5, 2), (5, 3), (6, 2)])
def test_hands_of_images_are_uniform_subsets(size, images):
    target = torch.zeros(size, dtype=torch.int64)
    sampler = ClassQuota(target, classes=1, images=images, num_samples=images * 6000, generator=seeded())
    seen = subsets(sampler.draw().view(-1, images))
    assert len(seen) == len(list(itertools.combinations(range(size), images)))
    assert scipy.stats.chisquare(list(seen.values())).pvalue > SIGNIFICANCE


def test_a_deck_that_is_never_shuffled_is_rejected():
    """The mutant: the images of a class always in the same order."""
    hands = torch.arange(4).repeat(6000).view(-1, 2)
    seen = subsets(hands)
    observed = [seen.get(pair, 0) for pair in itertools.combinations(range(4), 2)]
    assert scipy.stats.chisquare(observed).pvalue < SIGNIFICANCE


@pytest.mark.parametrize("images", [2, 4, 7])
def test_images_of_a_class_come_equally_often(images):
    target = mixed(COUNTS)
    sampler = ClassQuota(target, classes=6, images=images, num_samples=6 * images * 1500, generator=seeded())
    times = torch.bincount(sampler.draw(), minlength=len(target)).double()
    for c, count in enumerate(COUNTS):
        if count > 1:
            assert scipy.stats.chisquare(times[target == c].numpy()).pvalue > SIGNIFICANCE


def test_places_of_classes_are_uniform():
    """No class prefers the beginning of a batch."""
    target = mixed([5, 5, 5, 5])
    sampler = ClassQuota(target, classes=3, images=2, num_samples=6 * 4000, generator=seeded())
    place = target[sampler.draw()].view(4000, 3, 2)[..., 0]
    table = torch.stack([torch.bincount(place[:, j], minlength=4) for j in range(3)])
    assert scipy.stats.chi2_contingency(table.numpy()).pvalue > SIGNIFICANCE
    ordered = place.sort(dim=1).values
    table = torch.stack([torch.bincount(ordered[:, j], minlength=4) for j in range(3)])
    assert scipy.stats.chi2_contingency(table.numpy() + 1).pvalue < SIGNIFICANCE


@settings(max_examples=60, deadline=None)
@given(counts=tails, minimum=st.integers(1, 5), seed=st.integers(0, 9), share=st.one_of(st.none(), st.integers(1, 150)))
def test_minimum_per_class_holds_in_every_batch(counts, minimum, seed, share):
    target = mixed(counts)
    sampler = MinimumPerClass(target, minimum=minimum, num_samples=share, generator=seeded(seed))
    index = sampler.draw()
    assert len(index) == len(sampler)
    for size in (minimum, 3 * minimum):
        for batch in index.split(size):
            present = torch.bincount(target[batch])
            assert bool((present[present > 0] >= minimum).all())
            for c in target[batch].unique().tolist():
                different = batch[target[batch] == c].unique()
                assert len(different) >= min(minimum, counts[c])
    if share is not None:
        assert share <= len(index) < share + minimum


@settings(max_examples=60, deadline=None)
@given(counts=tails, minimum=st.integers(1, 5), seed=st.integers(0, 9))
def test_minimum_per_class_sees_every_image_and_hardly_more(counts, minimum, seed):
    target = mixed(counts)
    index = MinimumPerClass(target, minimum=minimum, generator=seeded(seed)).draw()
    times = torch.bincount(index, minlength=len(target))
    assert int(times.min()) >= 1
    seen = torch.bincount(target[index], minlength=len(counts)).tolist()
    assert seen == [-(-count // minimum) * minimum for count in counts]


def test_minimum_of_one_is_natural():
    target = mixed(COUNTS)
    index = MinimumPerClass(target, minimum=1, generator=seeded()).draw()
    assert torch.equal(index.sort().values, torch.arange(len(target)))
    assert not torch.equal(index, torch.arange(len(target)))


def test_minimum_per_class_repeats_every_image_equally_often_and_shuffles_its_hands():
    target = mixed([7, 5, 4])
    sampler = MinimumPerClass(target, minimum=3, generator=seeded())
    times = torch.zeros(16)
    first = torch.zeros(3)
    for _ in range(3000):
        index = sampler.draw()
        times += torch.bincount(index, minlength=16)
        first[target[index[0]]] += 1
    for c in range(3):
        assert scipy.stats.chisquare(times[target == c].double().numpy()).pvalue > SIGNIFICANCE
    # Hands 3, 2, 2 of the three classes: the first of an epoch is of class 0 in three cases of seven.
    expected = torch.tensor([3.0, 2.0, 2.0]).double() / 7 * 3000
    assert scipy.stats.chisquare(first.double().numpy(), expected.numpy()).pvalue > SIGNIFICANCE
    assert scipy.stats.chisquare(first.double().numpy(), [1000.0] * 3).pvalue < SIGNIFICANCE


SAMPLERS = {
    "quota": lambda target, generator: ClassQuota(target, classes=4, images=3, generator=generator),
    "minimum": lambda target, generator: MinimumPerClass(target, minimum=2, generator=generator),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_state_of_the_generator_is_the_whole_state(name):
    target = mixed(COUNTS)
    generator = seeded()
    sampler = SAMPLERS[name](target, generator)
    sampler.draw()
    stored = generator.get_state()
    following = [sampler.draw(), sampler.draw()]
    generator = seeded(99)
    resumed = SAMPLERS[name](target, generator)
    resumed.draw()
    generator.set_state(stored)
    for expected in following:
        assert torch.equal(resumed.draw(), expected)
    assert not torch.equal(following[0], following[1])


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_data_loader_sees_the_batches(name):
    target = mixed(COUNTS)
    expected = SAMPLERS[name](target, seeded()).draw()
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(target), batch_size=12, sampler=SAMPLERS[name](target, seeded()))
    assert torch.equal(torch.cat([batch for (batch,) in loader]), target[expected])


def test_inaturalist_sized_quota_is_drawn_at_once():
    """437,513 images in 8,142 classes, in memory of a few times that and within seconds even on a busy machine."""
    rank = torch.arange(1, 8143, dtype=torch.float64)
    counts = (1000 / rank**0.45).long().clamp(min=2)
    target = torch.arange(8142).repeat_interleave(counts)
    index = ClassQuota(target, classes=64, images=4, num_samples=len(target), generator=seeded()).draw()
    assert len(index) == -(-len(target) // 256) * 256
    seen = torch.bincount(target[index])
    assert int(seen.max()) <= int(seen.min()) + 3 * 4


@pytest.mark.parametrize(("options", "message"), [
    ({"classes": 0}, "at least 1 class, not 0"),
    ({"images": 0}, "at least 1 image of each of its classes, not 0"),
    ({"steps": 0}, "at least 1 batch, not 0"),
    ({"steps": 2, "num_samples": 9}, "num_samples is 9 and steps is 2: give the length of an epoch by one of them"),
])  # fmt: skip
def test_impossible_quotas_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ClassQuota(mixed(COUNTS), **options, generator=seeded())


def test_a_batch_has_no_more_classes_than_there_are():
    sampler = ClassQuota(mixed(COUNTS), classes=32, images=2, generator=seeded())
    target = mixed(COUNTS)
    assert sampler.batch_size == 6 * 2
    for batch in target[sampler.draw()].view(-1, 12):
        assert len(batch.unique()) == 6


def test_an_epoch_is_as_long_as_the_largest_class_needs():
    """All classes drawn alike until the largest has been seen once: K * max(counts) images, in whole batches."""
    assert len(ClassQuota(mixed(COUNTS), classes=3, images=2, generator=seeded())) == -(-6 * 40 // 6) * 6
    assert len(ClassQuota(mixed(COUNTS), classes=3, images=2, steps=7, generator=seeded())) == 7 * 6
    # CIFAR-100-LT, imbalance factor 100: the 391 batches of 128 of the released DRO-LT code.
    cifar = torch.arange(100).repeat_interleave(torch.tensor([int(500 * 0.01 ** (c / 99)) for c in range(100)]))
    assert len(ClassQuota(cifar, generator=seeded())) == 391 * 128


def test_impossible_minimum_is_refused():
    with pytest.raises(InputError, match="at least 1, not 0"):
        MinimumPerClass(mixed(COUNTS), minimum=0, generator=seeded())


def test_batches_that_part_the_images_of_a_class_are_refused():
    with pytest.raises(InputError, match=r"batches of 9 would part the 2 images of a class .* a multiple of minimum"):
        MinimumPerClass(mixed(COUNTS), minimum=2, batch_size=9, generator=seeded())
    assert len(MinimumPerClass(mixed(COUNTS), minimum=2, batch_size=8, generator=seeded())) == 78


def test_bad_targets_are_refused():
    for kind in (
        lambda target: ClassQuota(target, classes=1, images=1, generator=seeded()),
        lambda target: MinimumPerClass(target, minimum=1, generator=seeded()),
    ):
        with pytest.raises(InputError, match="row of class numbers"):
            kind(torch.zeros(3))
        with pytest.raises(InputError, match="class numbers from 0"):
            kind(torch.tensor([0, -1]))
