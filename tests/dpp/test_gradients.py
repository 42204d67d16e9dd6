"""Gradients of log_prob, against differences, for every kind of kernel."""

from __future__ import annotations

import pytest
import torch

from longtail import dpp
from longtail.dpp import normalizer

ITEMS = torch.tensor([4, 0, 2])


@pytest.mark.parametrize("k", [None, 3])
def test_to_probabilities(k: int | None, generator: torch.Generator) -> None:
    p = (0.1 + 0.8 * torch.rand(7, generator=generator, dtype=torch.float64)).requires_grad_()
    for strength in (1.0, 2.5):
        assert torch.autograd.gradcheck(
            lambda p, s=strength: dpp.log_prob(dpp.information_kernel(p, strength=s), ITEMS, k=k), p
        )
    log_p = p.detach().log().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda log_p: dpp.log_prob(dpp.information_kernel(log_probability=log_p), ITEMS, k=k), log_p
    )


@pytest.mark.parametrize("k", [None, 3])
def test_to_the_diagonal_and_the_factor(k: int | None, generator: torch.Generator) -> None:
    d = torch.rand(7, generator=generator, dtype=torch.float64).requires_grad_()
    u = torch.randn(7, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda d, u: dpp.log_prob(dpp.DiagonalPlusRankOne(d, u), ITEMS, k=k), (d, u))


@pytest.mark.parametrize("shape", [(7, 4), (6, 9), (7, 3)])
@pytest.mark.parametrize("k", [None, 3])
def test_to_features(shape: tuple[int, int], k: int | None, generator: torch.Generator) -> None:
    features = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: dpp.log_prob(dpp.LowRank(f), ITEMS, k=k), features)
    single = features.detach().float().requires_grad_()
    dpp.log_prob(dpp.LowRank(single), ITEMS, k=k).backward()
    dpp.log_prob(dpp.LowRank(features), ITEMS, k=k).backward()
    torch.testing.assert_close(single.grad, features.grad.float(), rtol=1e-4, atol=1e-5)


def test_to_features_of_equal_eigenvalues() -> None:
    """Where the derivative of an eigenvector does not exist that of the probability does."""
    features = torch.eye(5, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: dpp.log_prob(dpp.LowRank(f), torch.tensor([0, 1]), k=2), features)


@pytest.mark.parametrize("k", [None, 3])
def test_to_a_matrix(k: int | None, generator: torch.Generator) -> None:
    half = torch.randn(6, 6, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda h: dpp.log_prob(dpp.Dense(h @ h.T), ITEMS, k=k), half)


def test_through_a_condition(generator: torch.Generator) -> None:
    features = torch.randn(7, 4, generator=generator, dtype=torch.float64).requires_grad_()
    chosen = torch.tensor([0, 3])
    assert torch.autograd.gradcheck(
        lambda f: dpp.log_prob(dpp.condition(dpp.LowRank(f), include=[1], exclude=[2]), chosen, k=2), features
    )


def test_of_many_items_by_the_inclusion(generator: torch.Generator) -> None:
    """More items than are worked on at a time; the derivative by log of the scale of an item is its inclusion."""
    count = normalizer._CHUNK + 900
    p = torch.rand(count, generator=generator, dtype=torch.float64)
    kernel = dpp.information_kernel(p)
    d, u = kernel.diagonal.clone().requires_grad_(), kernel.factor.clone().requires_grad_()
    by_d, by_u = torch.autograd.grad(normalizer.log_normalizer(d, u, 300), (d, u))
    inclusion = dpp.inclusion_probabilities(kernel, k=300)
    torch.testing.assert_close((d * by_d + 0.5 * u * by_u).detach(), inclusion, rtol=1e-9, atol=1e-12)


def test_training_features_makes_a_set_likelier(generator: torch.Generator) -> None:
    features = torch.randn(30, 6, generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([features], lr=0.05)
    values = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = -dpp.log_prob(dpp.LowRank(features), ITEMS, k=3)
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < values[0] - 2.0
