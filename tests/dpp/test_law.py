"""The yardsticks themselves: they are checked against determinants, and against one another."""

from __future__ import annotations

import pytest
import torch

from longtail import dpp
from oracles import law
from oracles.dpp import p_value, subset_masks

P = torch.tensor([0.0, 1.0, 0.95, 0.5, 0.2, 0.8], dtype=torch.float64)


def test_enumeration_of_a_matrix_worked_by_hand() -> None:
    kernel = dpp.Dense(torch.tensor([[2.0, 1.0], [1.0, 3.0]]))
    subsets, probability = law.enumeration(kernel)
    assert subsets.int().tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]
    assert (probability * 11.0).tolist() == pytest.approx([1.0, 2.0, 3.0, 5.0])  # det(L + I) = 11


def test_enumeration_divides_by_det_of_l_plus_i() -> None:
    kernel = dpp.information_kernel(P)
    L = law.matrix(kernel)
    subsets, probability = law.enumeration(kernel)
    assert len(subsets) == 64
    assert float(probability[0]) == pytest.approx(1.0 / float(torch.linalg.det(L + torch.eye(6))))


def test_enumeration_stops_at_12() -> None:
    with pytest.raises(AssertionError, match="13 items"):
        law.enumeration(dpp.information_kernel(torch.zeros(13)))


@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_the_table_holds_the_sum_over_subsets(k: int) -> None:
    kernel = dpp.information_kernel(P)
    A, B = law.table(kernel, k)
    # A and B are under the tilt, divided by prod(1 + t d): their ratio is that of the two parts of equation (1).
    d, u2 = kernel.diagonal, kernel.factor.square()
    masks = subset_masks(6, k)
    plain = torch.stack([d[mask].prod() for mask in masks]).sum()
    special = torch.stack(
        [
            sum((u2[i] * d[mask & (torch.arange(6) != i)].prod() for i in mask.nonzero().flatten()), torch.tensor(0.0))
            for mask in masks
        ]
    ).sum()
    assert float(B[0, k] / A[0, k]) == pytest.approx(float(special / plain), rel=1e-9)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_table_inclusion_is_exact(k: int) -> None:
    kernel = dpp.information_kernel(P)
    subsets, probability = law.enumeration(kernel, k=k)
    torch.testing.assert_close(law.table_inclusion(kernel, k), probability @ subsets.double(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_table_sample_and_rejection_follow_the_law(k: int, generator: torch.Generator) -> None:
    kernel = dpp.information_kernel(P)
    expected = law.enumeration(kernel, k=k)
    assert p_value(law.table_sample(kernel, 20_000, k, generator), *expected) > 1e-5
    assert p_value(law.rejection(kernel, 20_000, k, generator), *expected) > 1e-5


def test_rejection_is_exact_for_every_tilt(generator: torch.Generator) -> None:
    kernel = dpp.information_kernel(P)
    expected = law.enumeration(kernel, k=3)
    for tilt in (0.3, 4.0):
        assert p_value(law.rejection(kernel, 10_000, 3, generator, tilt=tilt), *expected) > 1e-5


def test_rejection_without_redrawing_the_special_item_is_a_mutant_that_the_counts_reject(
    generator: torch.Generator,
) -> None:
    """The choice whether an item is special belongs to the trial: kept through the rejections, its weight is wrong."""
    kernel = dpp.information_kernel(P)
    d, weight = kernel.diagonal, kernel.factor.square() / (1.0 + kernel.diagonal)
    draws = 40_000
    special = torch.rand(draws, generator=generator) * (1.0 + weight.sum()) >= 1.0
    item = torch.multinomial(weight, draws, replacement=True, generator=generator)
    masks = torch.zeros(draws, 6, dtype=torch.bool)
    waiting = torch.arange(draws)
    while len(waiting):
        trial = torch.rand(len(waiting), 6, generator=generator) < d / (1.0 + d)
        trial[special[waiting].nonzero().flatten(), item[waiting][special[waiting]]] = True
        masks[waiting] = trial
        waiting = waiting[trial.sum(1) != 2]
    assert p_value(masks, *law.enumeration(kernel, k=2)) < 1e-6
