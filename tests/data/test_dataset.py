from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from longtail.counts import class_counts
from longtail.data import Source, Split, channel_statistics, draw
from longtail.data.dataset import Drawn, leave_out_small
from longtail.errors import InputError


def split(sizes: list[int], seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    target = target[torch.randperm(len(target), generator=generator)]
    images = torch.randint(256, (len(target), 1, 2, 2), generator=generator, dtype=torch.uint8)
    return Split(images, target, torch.arange(len(target)))


def source(sizes: list[int], **changes) -> Source:
    names = tuple("abcdefgh"[: len(sizes)])
    return Source("toy", split(sizes, 0), split([9] * len(sizes), 1), names, **changes)


def drawn(made: Source, **changes):
    return draw(made, **{"imbalance": None, "profile": "exponential", "split_seed": 0, "validation": 0.0, **changes})


BALANCED = source([100, 100, 100, 100], imbalance=10)
NATURAL = source([40, 1, 12, 7])


def test_a_natural_set_keeps_its_own_images():
    data = drawn(NATURAL)
    assert torch.equal(data.train.images, NATURAL.train.images)
    assert data.counts.tolist() == [40, 1, 12, 7]
    assert (data.imbalance, data.profile, data.split_seed) == (40, None, None)


def test_a_drawn_set_has_the_sizes_of_its_profile():
    data = drawn(BALANCED)
    assert data.counts.tolist() == class_counts(data.train.target, 4).tolist() == [100, 46, 21, 10]
    assert (data.imbalance, data.profile, data.split_seed) == (10, "exponential", 0)
    step = drawn(BALANCED, imbalance=20, profile="step", split_seed=5)
    assert step.counts.tolist() == [100, 100, 5, 5]
    assert (step.imbalance, step.profile, step.split_seed) == (20, "step", 5)


def test_a_natural_set_is_drawn_from_when_asked():
    data = drawn(source([60, 50, 40]), imbalance=4)
    assert data.counts.tolist() == [60, 30, 15]
    assert data.profile == "exponential"


def test_a_natural_set_is_drawn_by_size_where_its_names_are_in_another_order():
    """Classes of 4, 400 and 40: in their order the head could have 4; by size 49, and 49 / 10 -> 4 in the tail."""
    data = drawn(source([4, 400, 40]), imbalance=10)
    assert data.counts.tolist() == [4, 49, 15]
    assert data.notes[-1].startswith("the sizes fall from the class with the most images")
    assert torch.equal(data.train.target.bincount(), data.counts)
    in_order = drawn(source([400, 300, 200]), imbalance=10)
    assert (in_order.counts.tolist(), in_order.notes) == ([400, 126, 40], ())


def test_a_refused_imbalance_states_the_true_size():
    with pytest.raises(InputError, match="class 'a' would be left without images: the largest class has 400, so"):
        drawn(source([4, 400, 40]), imbalance=500)


def test_a_set_keeps_its_own_validation_images():
    made = dataclasses.replace(NATURAL, validation=split([2, 2, 2, 2], 7))
    data = drawn(made)
    assert data.validation is made.validation
    assert data.fingerprint != drawn(NATURAL).fingerprint
    assert data.validation_share == 0
    with pytest.raises(InputError, match="toy has validation images of its own"):
        drawn(made, validation=0.1)


def test_all_classes_without_images_are_named():
    with pytest.raises(InputError, match="class 'b', 'c' has no training images"):
        drawn(source([5, 0, 0, 3]))


def test_small_classes_are_left_out_and_named():
    made = leave_out_small(source([5, 2, 9, 1]), 3)
    data = drawn(made)
    assert (data.class_names, data.counts.tolist()) == (("a", "c"), [5, 9])
    assert data.test.target.bincount().tolist() == [9, 9]
    assert data.notes == ("left out 2 classes with fewer than 3 training images: b (2), d (1)",)
    assert leave_out_small(NATURAL, 1) is NATURAL
    with pytest.raises(InputError, match="fewer than two classes have 9 training images or more"):
        leave_out_small(source([5, 2, 9, 1]), 9)


def test_imbalance_one_is_balanced():
    assert drawn(BALANCED, imbalance=1).counts.tolist() == [100] * 4


def test_images_classes_and_numbers_stay_together():
    data = drawn(BALANCED, imbalance=7, validation=0.3)
    for part in (data.train, data.validation):
        assert torch.equal(part.images, BALANCED.train.images[part.index])
        assert torch.equal(part.target, BALANCED.train.target[part.index])


def test_test_is_left_as_it_is():
    for changes in ({}, {"validation": 0.5}, {"imbalance": 50, "split_seed": 2}):
        assert drawn(BALANCED, **changes).test is BALANCED.test


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25, 0.5, 0.9])
def test_validation_is_carved_from_each_class_of_train(share):
    whole, data = drawn(BALANCED, imbalance=50), drawn(BALANCED, imbalance=50, validation=share)
    held = class_counts(data.validation.target, 4)
    assert sorted([*data.train.index.tolist(), *data.validation.index.tolist()]) == sorted(whole.train.index.tolist())
    assert data.counts.tolist() == (whole.counts - held).tolist() == class_counts(data.train.target, 4).tolist()
    for kept, n in zip(held.tolist(), whole.counts.tolist(), strict=True):
        assert 1 <= kept < n
        assert abs(kept - share * n) <= 1
    assert data.validation_share == share


def test_a_single_image_is_trained_on_and_not_held_out():
    data = drawn(NATURAL, validation=0.1)
    assert data.counts.tolist() == [36, 1, 11, 6]
    assert class_counts(data.validation.target, 4).tolist() == [4, 0, 1, 1]


def test_validation_follows_the_split_seed():
    first, again, other = (drawn(BALANCED, validation=0.2, split_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.validation.index, again.validation.index)
    assert set(first.validation.index.tolist()) != set(other.validation.index.tolist())


def test_the_fingerprint_tells_draws_apart():
    found = [
        drawn(BALANCED, **changes).fingerprint
        for changes in ({}, {"imbalance": 20}, {"split_seed": 1}, {"validation": 0.1}, {"profile": "step"})
    ]
    assert len(set(found)) == 5
    assert found[0] == drawn(BALANCED).fingerprint


def test_a_set_that_is_drawn_already_keeps_its_order():
    data = drawn(dataclasses.replace(BALANCED, drawn=Drawn(imbalance=10)))
    assert torch.equal(data.train.index, torch.arange(400))
    assert (data.imbalance, data.profile, data.split_seed) == (10, "exponential", 0)
    stepped = dataclasses.replace(BALANCED, drawn=Drawn(imbalance=10, profile="step", split_seed=2))
    data = drawn(stepped)
    assert (data.imbalance, data.profile, data.split_seed) == (10, "step", 2)
    for another in ({"imbalance": 20}, {"profile": "pareto"}, {"split_seed": 1}):
        with pytest.raises(InputError, match="toy was drawn by the step profile and holds the subset of imbalance 10"):
            drawn(stepped, **another)


def test_a_validation_split_without_an_image_is_refused():
    with pytest.raises(InputError, match="toy: no class has an image to spare for validation; leave --validation out"):
        drawn(source([1, 1]), validation=0.5)


@pytest.mark.parametrize(
    ("made", "changes", "message"),
    [
        (BALANCED, {"imbalance": 0.5}, "imbalance 0.5: largest over smallest class, a number from 1"),
        (BALANCED, {"imbalance": float("nan")}, "imbalance nan"),
        (BALANCED, {"imbalance": 101}, "class 'd' would be left without images: the largest class has 100"),
        (BALANCED, {"validation": 1.0}, "validation 1: the share"),
        (BALANCED, {"validation": -0.1}, "validation -0.1: the share"),
        (BALANCED, {"profile": "steps"}, "unknown profile 'steps': did you mean 'step'"),
        (BALANCED, {"split_seed": -1}, "split seed -1"),
        (NATURAL, {"split_seed": 1}, "toy keeps its own images; give an imbalance"),
        (NATURAL, {"profile": "step"}, "toy keeps its own images; give an imbalance"),
        (source([5, 0, 3]), {}, "toy: class 'b' has no training images"),
        (source([5, 0, 3]), {"imbalance": 2}, "toy: class 'b' has no training images"),
    ],
)
def test_what_cannot_be_drawn(made, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        drawn(made, **changes)
    assert "\n" not in str(caught.value)


# Channel statistics


def test_statistics_are_those_of_the_pixels():
    images = torch.randint(256, (50, 3, 5, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    mean, std = channel_statistics(images)
    pixels = images.double().transpose(0, 1).reshape(3, -1) / 255
    assert mean == pytest.approx(pixels.mean(1).tolist(), rel=1e-12)
    assert std == pytest.approx(pixels.std(1, correction=0).tolist(), rel=1e-12)


def test_statistics_are_the_same_to_the_last_bit_in_any_order():
    """Unlike sums of fractions in single precision, the mutant."""
    images = torch.randint(256, (3000, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    turned = images[torch.randperm(3000, generator=torch.Generator().manual_seed(1))]
    assert channel_statistics(images) == channel_statistics(turned)
    single = {float(np.cumsum(part.numpy() / np.float32(255), dtype=np.float32)[-1]) for part in (images, turned)}
    assert len(single) > 1


def test_one_value_can_still_be_divided_by_its_deviation():
    assert channel_statistics(torch.full((2, 1, 3, 3), 51, dtype=torch.uint8)) == ((0.2,), (1.0,))


def test_statistics_are_of_the_images_that_are_trained_on():
    data = drawn(NATURAL, validation=0.5)
    assert (data.mean, data.std) == channel_statistics(data.train.images)
    assert (data.mean, data.std) != channel_statistics(NATURAL.train.images)
    stored = drawn(source([5, 5], mean=(0.5,), std=(0.25,)))
    assert (stored.mean, stored.std) == ((0.5,), (0.25,))
