from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from longtail.data import exponential_profile, pareto_profile, step_profile
from longtail.data.profiles import PROFILES, by_name, largest_that_fits
from longtail.errors import InputError
from oracles.splits import exact_sizes, ldam_sizes

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=100)
ALL = list(PROFILES.values())


@pytest.mark.parametrize(
    ("imbalance", "images", "smallest", "groups"),
    [(100, 10_847, 5, (35, 35, 30)), (50, 12_608, 10, (41, 41, 18)), (10, 19_573, 50, (69, 31, 0))],
)
def test_cifar100_as_published(imbalance, images, smallest, groups):
    sizes = exponential_profile(100, 500, imbalance)
    assert (int(sizes.sum()), int(sizes[0]), int(sizes[-1])) == (images, 500, smallest)
    many, few = int((sizes > 100).sum()), int((sizes < 20).sum())
    assert (many, 100 - many - few, few) == groups


def test_cifar10_as_published():
    sizes = exponential_profile(10, 5000, 100)
    assert sizes.tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert int(sizes.sum()) == 12_406
    assert ((sizes > 500).sum(), (sizes < 200).sum()) == (5, 3)


@pytest.mark.parametrize("imbalance", [1, 2, 10, 20, 50, 100, 200, 256])
@pytest.mark.parametrize(("num_classes", "largest"), [(10, 5000), (100, 500), (10, 100), (1000, 1280)])
def test_the_sizes_are_those_of_ldams_code(num_classes, largest, imbalance):
    found = exponential_profile(num_classes, largest, imbalance).tolist()
    assert found == ldam_sizes(num_classes, largest, 1 / imbalance)


@EXAMPLES
@given(st.integers(2, 40), st.integers(1, 5000), st.integers(1, 300))
@example(3, 500, 100)
@example(5, 1000, 81)
@example(31, 729, 729)
def test_the_sizes_are_the_exact_ones(num_classes, largest, imbalance):
    found = exponential_profile(num_classes, largest, imbalance).tolist()
    assert found == exact_sizes(num_classes, largest, Fraction(imbalance))


def test_a_plain_floor_is_noticed():
    """The mutant loses an image where the formula has a whole value and rounding ends up just below it."""
    plain = [int(98 * 49 ** (-c / 2)) for c in range(3)]
    assert plain == ldam_sizes(3, 98, 1 / 49) == [98, 14, 1]
    assert exponential_profile(3, 98, 49).tolist() == exact_sizes(3, 98, Fraction(49)) == [98, 14, 2]


@pytest.mark.parametrize("profile", ALL)
@EXAMPLES
@given(st.integers(1, 200), st.integers(1, 5000), st.floats(1, 1000))
def test_every_profile_falls_from_the_largest_by_the_imbalance(profile, num_classes, largest, imbalance):
    sizes = profile(num_classes, largest, imbalance)
    assert sizes.dtype == torch.int64
    assert len(sizes) == num_classes
    assert int(sizes[0]) == largest
    assert (sizes.diff() <= 0).all()
    if num_classes > 1:
        assert int(sizes[-1]) == pytest.approx(math.floor(largest / imbalance + 1e-6), abs=0)


@pytest.mark.parametrize("profile", ALL)
def test_imbalance_one_is_balanced(profile):
    assert profile(7, 30, 1).tolist() == [30] * 7


def test_step_has_a_smaller_half():
    assert step_profile(10, 500, 100).tolist() == [500] * 5 + [5] * 5
    assert step_profile(3, 60, 10).tolist() == [60, 6, 6]


def test_pareto_is_a_power_of_the_rank():
    """A straight line through the logarithms of rank and size; in those of the exponential profile it is none."""
    ranks = torch.log(torch.arange(1, 101).double())

    def straightness(sizes):
        return float(torch.corrcoef(torch.stack([ranks, torch.log(sizes.double())]))[0, 1])

    assert straightness(pareto_profile(100, 10**9, 100)) == pytest.approx(-1, abs=1e-9)
    assert straightness(exponential_profile(100, 10**9, 100)) > -0.95
    assert pareto_profile(100, 500, 100).sum() < exponential_profile(100, 500, 100).sum()


@pytest.mark.parametrize("profile", ALL)
@pytest.mark.parametrize("imbalance", [0.99, 0.01, 0, -3, math.nan, math.inf])
def test_an_imbalance_below_one_or_none_at_all(profile, imbalance):
    with pytest.raises(
        InputError, match=r"imbalance .*: largest over smallest class, a number from 1 \(100, not 0.01\)"
    ):
        profile(10, 500, imbalance)


@pytest.mark.parametrize("profile", ALL)
@pytest.mark.parametrize("shape", [(0, 10), (10, 0)])
def test_a_profile_of_nothing(profile, shape):
    with pytest.raises(InputError, match="a class and an image at least"):
        profile(*shape, 10)


def test_an_unknown_profile_suggests_the_nearest():
    with pytest.raises(InputError, match=r"unknown profile 'exponental': did you mean 'exponential'\?"):
        by_name("exponental")


@EXAMPLES
@given(st.lists(st.integers(1, 300), min_size=1, max_size=12), st.integers(1, 100), st.sampled_from(ALL))
def test_the_largest_profile_that_fits(available, imbalance, profile):
    counts = torch.tensor(available)
    best = largest_that_fits(profile, counts, imbalance)
    fits = [
        largest
        for largest in range(1, max(available) + 1)
        if bool((profile(len(available), largest, imbalance) <= counts).all())
    ]
    assert best == max(fits)
