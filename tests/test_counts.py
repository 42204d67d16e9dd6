from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longtail import counts
from longtail.counts import class_counts, effective_number, gini, imbalance, pareto_ratio, prior, shot_groups
from longtail.errors import InputError

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=60)
SIZES = st.lists(st.integers(1, 5000), min_size=1, max_size=30)


def gini_by_pairs(sizes: list[int]) -> float:
    """The definition: half the mean absolute difference between two classes, over the mean."""
    pairs = sum(abs(a - b) for a in sizes for b in sizes)
    return float(Fraction(pairs, 2 * len(sizes) * sum(sizes)))


def pareto_by_definition(sizes: list[int]) -> float:
    """(K - Q) / Q with Q found by trying every number of head classes."""
    ordered = sorted(sizes)[::-1]
    enough = [q for q in range(1, len(sizes) + 1) if Fraction(sum(ordered[:q]), sum(sizes)) >= Fraction(4, 5)]
    return (len(sizes) - min(enough)) / min(enough)


# Counts


def test_counts_are_those_of_a_tally():
    target = torch.randint(7, (500,), generator=torch.Generator().manual_seed(0))
    found = class_counts(target, 9)
    assert found.tolist() == [sum(int(t) == c for t in target) for c in range(9)]
    assert found.dtype == torch.int64


def test_counts_of_nothing_are_zero():
    assert class_counts(torch.zeros(0, dtype=torch.int64), 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("target", "what"), [([0, 3], "class 3"), ([-1, 0], "class -1")])
def test_a_class_out_of_range_is_named(target, what):
    with pytest.raises(InputError, match=f"{what}, but 3 classes are 0..2"):
        class_counts(torch.tensor(target), 3)


def test_no_classes_at_all():
    with pytest.raises(InputError, match="at least 1, not 0"):
        class_counts(torch.tensor([0]), 0)


# Prior


@EXAMPLES
@given(SIZES)
def test_prior_is_the_share(sizes):
    found = prior(torch.tensor(sizes))
    torch.testing.assert_close(found, torch.tensor([n / sum(sizes) for n in sizes]))


def test_prior_does_not_widen_the_losses():
    assert prior(torch.tensor([1, 2])).dtype == torch.float32


# Effective number


@EXAMPLES
@given(st.integers(1, 300), st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.9999]))
def test_effective_number_is_the_geometric_sum(n, beta):
    found = effective_number(torch.tensor([n]), beta)
    torch.testing.assert_close(found, torch.tensor([math.fsum(beta**i for i in range(n))], dtype=torch.float32))


def test_effective_number_at_its_ends():
    counts = torch.tensor([0, 1, 7, 5000])
    assert effective_number(counts, 0).tolist() == [0, 1, 1, 1]
    torch.testing.assert_close(effective_number(counts, 1 - 1e-12), counts.float(), rtol=1e-4, atol=0)


def test_effective_number_keeps_its_digits_where_single_precision_loses_them():
    single = (1 - torch.tensor(0.9999) ** torch.tensor([2.0])) / (1 - 0.9999)  # the mutant
    assert effective_number(torch.tensor([2]), 0.9999).item() == pytest.approx(1.9999, rel=1e-6)
    assert single.item() != pytest.approx(1.9999, rel=1e-6)


@pytest.mark.parametrize("beta", [-0.1, 1.0, 2.0, math.nan])
def test_beta_out_of_range(beta):
    with pytest.raises(InputError, match=r"beta must lie in \[0, 1\)"):
        effective_number(torch.tensor([1]), beta)


# Shot groups


def at_the_edges(groups: object) -> None:
    """The rule of the field, at the four counts where it turns: more than 100 many, fewer than 20 few."""
    found = groups(torch.tensor([101, 100, 20, 19]))  # type: ignore[operator]
    assert found["many"].tolist() == [True, False, False, False]
    assert found["medium"].tolist() == [False, True, True, False]
    assert found["few"].tolist() == [False, False, False, True]


def grouped(many: object, few: object) -> object:
    def groups(counts: Tensor) -> dict[str, Tensor]:
        above, below = many(counts), few(counts)  # type: ignore[operator]
        return {"many": above, "medium": ~(above | below), "few": below}

    return groups


def test_groups_at_their_edges():
    at_the_edges(shot_groups)


@pytest.mark.parametrize(
    "mutant",
    [
        grouped(lambda n: n >= 100, lambda n: n < 20),
        grouped(lambda n: n > 100, lambda n: n <= 20),
        grouped(lambda n: n > 101, lambda n: n < 20),
        grouped(lambda n: n > 100, lambda n: n < 19),
    ],
)
def test_other_edges_are_noticed(mutant):
    with pytest.raises(AssertionError):
        at_the_edges(mutant)


@EXAMPLES
@given(SIZES, st.integers(1, 200), st.integers(0, 200))
def test_every_class_is_in_exactly_one_group(sizes, many, few):
    counts = torch.tensor(sizes)
    if few > many + 1:
        with pytest.raises(InputError, match="overlap"):
            shot_groups(counts, many=many, few=few)
        return
    groups = shot_groups(counts, many=many, few=few)
    assert sum(mask.int() for mask in groups.values()).tolist() == [1] * len(sizes)


# Measures of a tail


@EXAMPLES
@given(SIZES)
def test_gini_is_half_the_mean_difference_over_the_mean(sizes):
    assert gini(torch.tensor(sizes)) == pytest.approx(gini_by_pairs(sizes), abs=1e-12)


def test_a_gini_with_its_ranks_off_by_one_is_noticed():
    sizes = [1, 2, 7]
    mutant = sum((2 * rank - 3) * n for rank, n in enumerate(sorted(sizes))) / (3 * sum(sizes))
    assert mutant != pytest.approx(gini_by_pairs(sizes), abs=1e-3)


@EXAMPLES
@given(SIZES)
def test_pareto_ratio_is_its_definition(sizes):
    assert pareto_ratio(torch.tensor(sizes)) == pareto_by_definition(sizes)


def test_pareto_ratio_counts_the_class_that_reaches_four_fifths():
    """Exactly four fifths in one class of five; a mutant that asks for more than four fifths says 1.5."""
    assert pareto_ratio(torch.tensor([5, 5, 80, 5, 5])) == 4
    assert pareto_ratio(torch.tensor([10] * 5)) == 0.25


@EXAMPLES
@given(SIZES)
def test_imbalance_is_largest_over_smallest(sizes):
    assert imbalance(torch.tensor(sizes)) == max(sizes) / min(sizes)


@EXAMPLES
@given(SIZES, st.randoms(use_true_random=False))
def test_measures_do_not_depend_on_the_order_of_classes(sizes, random):
    other = random.sample(sizes, len(sizes))
    for measure in (gini, pareto_ratio, imbalance):
        assert measure(torch.tensor(sizes)) == measure(torch.tensor(other))


def test_an_empty_class_has_no_imbalance_and_is_named():
    with pytest.raises(InputError, match=r"class 1 has no images \(2 of 3"):
        imbalance(torch.tensor([4, 0, 0]))


@pytest.mark.parametrize("measure", [gini, pareto_ratio])
def test_a_tail_of_nothing_has_no_measure(measure):
    with pytest.raises(InputError, match="no class has any images"):
        measure(torch.tensor([0, 0]))


def test_what_losses_use_needs_no_values():
    """On the meta device there are none: nothing here waits for the accelerator."""
    counts = torch.zeros(5, dtype=torch.int64, device="meta")
    assert prior(counts).shape == effective_number(counts, 0.9).shape == (5,)
    assert {mask.device.type for mask in shot_groups(counts).values()} == {"meta"}


FORMS = [list, tuple, np.array, torch.tensor, lambda row: torch.tensor(row, dtype=torch.uint8)]


@pytest.mark.parametrize("form", FORMS)
def test_counts_and_labels_come_in_any_form(form):
    row = [50, 7, 3]
    for read in (counts.as_counts, counts.as_labels):
        found = read(form(row))
        assert found.dtype == torch.int64
        assert found.tolist() == row
    assert counts.class_counts(form([0, 2, 0]), 3).tolist() == [2, 0, 1]
    assert counts.imbalance(form(row)) == 50 / 3
    assert counts.shot_groups(form(row), many=10, few=5)["many"].tolist() == [True, False, False]
    assert counts.prior(form(row)).sum() == pytest.approx(1)
    assert counts.effective_number(form(row), 0.5).shape == (3,)


def test_a_tensor_comes_back_as_it_is_and_on_the_device_asked_for():
    given = torch.tensor([3, 1])
    assert counts.as_counts(given) is given
    assert counts.as_counts(given, device="meta").device.type == "meta"
    assert counts.as_counts(given.to("meta"), num_classes=2).shape == (2,)


@pytest.mark.parametrize(("wrong", "message"), [
    ([[1, 2]], r"not torch.int64 of shape \(1, 2\)"),
    ([0.5, 0.5], r"not torch.float32 of shape \(2,\)"),
    (np.array([True, False]), r"not torch.bool of shape \(2,\)"),
    (["cat", "dog"], r"not a list of str: number the names, as numpy.unique"),
    (np.array(["cat", "dog"]), r"not a ndarray of <U3: number the names"),
    (np.array(["cat", None], dtype=object), r"not a ndarray of object: number the names"),
    (None, r"not a NoneType"),
    (7, r"not torch.int64 of shape \(\)"),
])  # fmt: skip
def test_other_labels_are_refused(wrong, message):
    with pytest.raises(InputError, match=message) as error:
        counts.as_labels(wrong)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=f"counts must be the number of training images .*{message}"):
        counts.as_counts(wrong)


@pytest.mark.parametrize("length", [1, 2, 4])
def test_counts_of_another_number_of_classes_are_refused(length):
    with pytest.raises(InputError, match=f"counts has {length} entries, but there are 3 classes"):
        counts.as_counts([5] * length, num_classes=3)
