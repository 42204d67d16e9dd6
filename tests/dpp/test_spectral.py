"""Eigenvectors through the dual, and draws from the projection onto them."""

from __future__ import annotations

import pytest
import torch

from longtail import dpp
from longtail.dpp import law, spectral
from oracles.dpp import p_value


@pytest.mark.parametrize("shape", [(40, 6), (6, 40), (7, 7)])
def test_the_dual_has_the_spectrum_of_the_kernel(shape: tuple[int, int], generator: torch.Generator) -> None:
    kernel = dpp.LowRank(torch.randn(shape, generator=generator, dtype=torch.float64))
    values, vectors = spectral.spectrum(kernel)
    assert len(values) == min(shape)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(len(values), dtype=torch.float64))
    torch.testing.assert_close((vectors * values) @ vectors.T, law.matrix(kernel))


def test_small_eigenvalues_keep_their_digits_and_orthogonal_vectors(generator: torch.Generator) -> None:
    turn = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64)).Q
    frame = torch.linalg.qr(torch.randn(200, 8, generator=generator, dtype=torch.float64)).Q
    singular = 10.0 ** -torch.arange(8.0, dtype=torch.float64)
    features = frame * singular @ turn
    values, vectors = spectral.spectrum(dpp.LowRank(features))
    torch.testing.assert_close(values, singular.square(), rtol=1e-8, atol=0.0)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(8, dtype=torch.float64))
    # The mutant, the dual matrix itself, has the square of the condition number.
    values, dual = torch.linalg.eigh(features.T @ features)
    vectors = features @ dual / values.abs().sqrt()
    assert float((vectors.T @ vectors - torch.eye(8, dtype=torch.float64)).abs().max()) > 1e-6


def test_rank_is_found() -> None:
    assert len(spectral.spectrum(dpp.LowRank(torch.ones(9, 4))).values) == 1
    assert len(spectral.spectrum(dpp.LowRank(torch.zeros(9, 4))).values) == 0
    assert len(spectral.spectrum(dpp.Dense(torch.ones(9, 9))).values) == 1


def test_a_projection_draws_items_by_its_diagonal(generator: torch.Generator) -> None:
    vectors = torch.linalg.qr(torch.randn(6, 3, generator=generator, dtype=torch.float64)).Q
    masks = spectral.project(vectors, torch.ones(20_000, 3, dtype=torch.bool), generator)
    projection = dpp.Dense(vectors @ vectors.T)
    assert p_value(masks, *law.enumeration(projection, k=3)) > 1e-5


def test_the_first_item_of_a_projection_is_not_the_arg_max(generator: torch.Generator) -> None:
    """The mutant that the paper prints: the item of largest projection each time."""
    vectors = torch.linalg.qr(torch.randn(6, 3, generator=generator, dtype=torch.float64)).Q
    projection = dpp.Dense(vectors @ vectors.T)
    most = vectors.square().sum(1).topk(3).indices
    masks = torch.zeros(20_000, 6, dtype=torch.bool)
    masks[:, most] = True
    assert p_value(masks, *law.enumeration(projection, k=3)) < 1e-6


def test_rows_may_choose_unequally_many_vectors(generator: torch.Generator) -> None:
    vectors = torch.linalg.qr(torch.randn(8, 4, generator=generator, dtype=torch.float64)).Q
    chosen = torch.tensor([[0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 1]], dtype=torch.bool)
    assert spectral.project(vectors, chosen, generator).sum(1).tolist() == [0, 2, 4, 1]


def test_twins_are_never_drawn_together(generator: torch.Generator) -> None:
    features = torch.randn(5, 4, generator=generator)
    kernel = dpp.LowRank(torch.cat([features, features]))
    masks = dpp.sample_masks(kernel, 2000, k=4, generator=generator)
    assert not bool((masks[:, :5] & masks[:, 5:]).any())
    assert float(dpp.log_prob(kernel, torch.tensor([0, 5, 1]), k=3)) < -50.0


def test_more_items_than_features_cannot_be_drawn() -> None:
    assert float(spectral.log_determinant(dpp.LowRank(torch.eye(4)[:, :2]), torch.tensor([0, 1, 2]))) == -torch.inf
