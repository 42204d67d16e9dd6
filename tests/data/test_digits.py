from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits

from longtail.counts import class_counts, shot_groups
from longtail.data import load
from longtail.data.digits import read


def test_every_digit_is_in_exactly_one_split():
    source = read()
    together = sorted([*source.train.index.tolist(), *source.test.index.tolist()])
    assert together == list(range(1797))
    assert class_counts(source.test.target, 10).tolist() == [74] * 10
    assert class_counts(source.train.target, 10).min() == 100


def test_pixels_are_scikit_learns():
    original, source = load_digits(), read()
    for split in (source.train, source.test):
        pixels = torch.from_numpy(original.images)[split.index]
        assert (split.images[:, 0].double() * 16 / 255 - pixels).abs().max() <= 0.5 * 16 / 255
        assert torch.equal(split.target, torch.from_numpy(original.target)[split.index])
    assert source.train.images.max() == 255
    assert len(source.train.images.unique()) == 17


@pytest.mark.parametrize("imbalance", [1, 10, 50, 100])
def test_the_subset_has_exactly_the_imbalance_that_is_asked_for(imbalance):
    data = load("digits-lt", imbalance=imbalance)
    assert int(data.counts.max()) == imbalance * int(data.counts.min()) == 100


@pytest.mark.parametrize("imbalance", [50, 100])
def test_no_shot_group_is_empty(imbalance):
    data = load("digits-lt", imbalance=imbalance)
    assert all(mask.any() for mask in shot_groups(data.counts, many=data.many, few=data.few).values())


def test_the_test_split_is_fixed():
    first, other = load("digits-lt", imbalance=10), load("digits-lt", imbalance=50, split_seed=9, validation=0.1)
    assert torch.equal(first.test.index, other.test.index)
    assert torch.equal(first.test.images, other.test.images)
