"""Eigenvectors through the features, the precision they keep, and matrices that are kernels but for rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from longtail import dpp
from longtail.dpp import spectral
from longtail.errors import InputError
from oracles import law


@pytest.mark.parametrize("shape", [(40, 6), (6, 40), (7, 7), (3000, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_features_give_the_spectrum_of_the_kernel(
    shape: tuple[int, int], dtype: torch.dtype, generator: torch.Generator
) -> None:
    kernel = dpp.LowRank(torch.randn(shape, generator=generator, dtype=dtype))
    found = spectral.spectrum(kernel)
    vectors = found.vectors()
    assert vectors.dtype == found.values.dtype == torch.float64
    assert len(found.values) == min(shape)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(len(found.values), dtype=torch.float64))
    torch.testing.assert_close((vectors * found.values) @ vectors.T, law.matrix(kernel), rtol=1e-10, atol=1e-10)
    weight = torch.rand(len(found.values), generator=generator, dtype=torch.float64)
    torch.testing.assert_close(found.squares(weight), vectors.square() @ weight)
    items = torch.tensor([2, 0, 1])
    torch.testing.assert_close(found.vectors(items), vectors[items])


def graded(count: int, singular: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Features (count, D) of these singular values."""
    width = len(singular)
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64)).Q
    frame = torch.linalg.qr(torch.randn(count, width, generator=generator, dtype=torch.float64)).Q
    return frame * singular @ turn


def test_small_eigenvalues_keep_their_digits_and_orthogonal_vectors(generator: torch.Generator) -> None:
    singular = 10.0 ** -torch.arange(8.0, dtype=torch.float64)
    features = graded(2500, singular, generator)
    found = spectral.spectrum(dpp.LowRank(features))
    torch.testing.assert_close(found.values, singular.square(), rtol=1e-7, atol=0.0)
    vectors = found.vectors()
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(8, dtype=torch.float64), rtol=0.0, atol=1e-7)
    # The mutant, B^T B whatever its condition, has the square of it.
    values, dual = torch.linalg.eigh(features.T @ features)
    vectors = features @ dual / values.abs().sqrt()
    assert float((vectors.T @ vectors - torch.eye(8, dtype=torch.float64)).abs().max()) > 1e-6


def test_both_factorisations_agree_where_the_gram_matrix_is_used(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = dpp.LowRank(graded(300, torch.tensor([3.0, 1.0, 0.1, 0.011], dtype=torch.float64), generator))
    by_gram = spectral.spectrum(kernel)
    monkeypatch.setattr(spectral, "CONDITION", 0.0)
    by_triangle = spectral.spectrum(kernel)
    torch.testing.assert_close(by_gram.values.sort().values, by_triangle.values.sort().values, rtol=1e-10, atol=0.0)
    weight = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    torch.testing.assert_close(by_gram.squares(weight), by_triangle.squares(weight.flip(0)), rtol=1e-9, atol=1e-12)


def test_rank_is_found() -> None:
    assert len(spectral.spectrum(dpp.LowRank(torch.ones(9, 4))).values) == 1
    assert len(spectral.spectrum(dpp.LowRank(torch.zeros(9, 4))).values) == 0
    assert len(spectral.spectrum(dpp.LowRank(torch.ones(2, 4))).values) == 1
    assert len(spectral.spectrum(dpp.Dense(torch.ones(9, 9))).values) == 1


@pytest.mark.parametrize("scale", [1e-160, 1e160])
def test_features_whose_squares_are_no_numbers_are_refused(scale: float) -> None:
    kernel = dpp.LowRank(scale * torch.eye(3, dtype=torch.float64))
    with pytest.raises(InputError, match="scale them"):
        dpp.sample(kernel, k=2)


def test_more_items_than_features_cannot_be_drawn() -> None:
    assert float(spectral.log_determinant(dpp.LowRank(torch.eye(4)[:, :2]), torch.tensor([0, 1, 2]))) == -torch.inf


@pytest.mark.parametrize(("count", "rank"), [(50, 10), (300, 20)])
def test_a_gram_matrix_formed_in_float32_has_the_law_of_its_features(count: int, rank: int) -> None:
    features = torch.randn(count, rank, generator=torch.Generator().manual_seed(0))
    gram = (features @ features.T).numpy()
    assert np.linalg.eigvalsh(gram.astype(np.float64)).min() < 0.0
    for k in (rank // 2, rank):
        wanted = dpp.inclusion_probabilities(dpp.LowRank(features), k=k)
        torch.testing.assert_close(dpp.inclusion_probabilities(dpp.Dense(gram), k=k), wanted, rtol=0.0, atol=1e-3)
    found = dpp.correction(dpp.Dense(gram))
    assert 0.0 < found.eigenvalue < 1e-4
    with pytest.raises(InputError, match=f"no set of {rank + 1} items"):  # noise above 0 is not a rank
        dpp.sample(dpp.Dense(gram), k=rank + 1)


def test_a_gaussian_kernel_of_rounded_distances_is_accepted() -> None:
    points = torch.rand(200, 2, generator=torch.Generator().manual_seed(1))
    gaussian = torch.exp(-(torch.cdist(points, points) ** 2) / 0.18)
    kernel = dpp.Dense(gaussian)
    assert torch.equal(kernel.matrix, kernel.matrix.T)
    assert kernel.asymmetry == float((gaussian.double() - gaussian.double().T).abs().max()) > 0.0
    assert dpp.correction(kernel).asymmetry == kernel.asymmetry
    exact = (points.double()[:, None] - points.double()[None]).square().sum(2)
    wanted = dpp.inclusion_probabilities(dpp.Dense(torch.exp(-exact / 0.18)), k=5)
    torch.testing.assert_close(dpp.inclusion_probabilities(kernel, k=5), wanted, rtol=0.0, atol=1e-4)


def test_an_indefinite_matrix_is_refused_with_its_eigenvalue(generator: torch.Generator) -> None:
    features = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    direction = torch.nn.functional.normalize(torch.randn(60, generator=generator, dtype=torch.float64), dim=0)
    for dtype in (torch.float32, torch.float64):
        broken = (features @ features.T - 0.01 * torch.outer(direction, direction)).to(dtype)
        for function in (lambda kernel: dpp.sample(kernel, k=2), dpp.correction):
            with pytest.raises(InputError, match=r"eigenvalue -0\.00.*a kernel has none below 0.*give LowRank\(X\)"):
                function(dpp.Dense(broken))
    with pytest.raises(InputError, match="eigenvalue -1") as error:
        dpp.sample(dpp.Dense([[0.0, 1.0], [1.0, 0.0]]), k=1)
    assert "LowRank" not in str(error.value)
    # In float64 what float32 would explain is no rounding.
    slightly = features @ features.T - 1e-5 * torch.outer(direction, direction)
    dpp.sample(dpp.Dense(slightly.float()), k=2)
    with pytest.raises(InputError, match="none below 0"):
        dpp.sample(dpp.Dense(slightly), k=2)


def gram(shape: tuple[int, int], seed: int, dtype: torch.dtype, *, mean: float = 0.0) -> torch.Tensor:
    features = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) + mean
    return features @ features.T


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("shape", "mean"), [((5, 3), 0.0), ((4, 3), 0.0), ((20, 19), 5.0)])
def test_noise_is_no_rank_on_either_side_of_0(shape: tuple[int, int], mean: float, dtype: torch.dtype) -> None:
    """With few eigenvalues of 0 the noise of all of them is often above it."""
    for seed in range(150):
        matrix = gram(shape, seed, dtype, mean=mean)
        assert len(spectral.spectrum(dpp.Dense(matrix)).values) == shape[1]
        with pytest.raises(InputError, match=f"no set of {shape[1] + 1} items"):
            dpp.sample(dpp.Dense(matrix), k=shape[1] + 1)
        with pytest.raises(InputError, match=f"no set of {shape[1] + 1} items"):
            dpp.log_prob(dpp.Dense(matrix.requires_grad_()), list(range(shape[1] + 1)), k=shape[1] + 1)
        rest = dpp.condition(dpp.Dense(matrix.detach()), include=[0])
        with pytest.raises(InputError, match=f"no set of {shape[1]} items"):
            dpp.sample(rest, k=shape[1])


def test_what_is_small_beside_the_largest_is_a_rank_all_the_same() -> None:
    """The mutant: (N + 16) eps of the largest eigenvalue, the bound of the worst case, drops good eigenvalues."""
    for matrix in (torch.ones(600, 600) + 0.01 * torch.eye(600), torch.diag(torch.tensor([1e10, 1.0, 2.0]))):
        found = spectral.spectrum(dpp.Dense(matrix))
        assert len(found.values) == len(matrix)
        mutant = (len(matrix) + 16) * torch.finfo(torch.float32).eps * found.values.max()
        assert int((found.values > mutant).sum()) == 1


@pytest.mark.parametrize("k", [2, None])
@pytest.mark.parametrize("width", [2, 3, 5, 40])
def test_equal_items_have_no_probability(width: int, k: int | None) -> None:
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(4, width, generator=generator, dtype=torch.float64)
        rows[1] = rows[0] if seed % 2 else 1.7 * rows[0]
        items = torch.tensor([[0, 1], [0, 2], [1, 0], [2, 3]])
        wanted = torch.linalg.det((rows @ rows.T)[items[:, :, None], items[:, None, :]]).log()
        for kernel in (dpp.LowRank(rows), dpp.Dense(rows @ rows.T), dpp.Dense(rows.float() @ rows.float().T)):
            found = dpp.log_prob(kernel, items, k=k)
            assert found.isneginf().tolist() == [True, False, True, False]
            assert float((found[1] - found[3]) - (wanted[1] - wanted[3])) == pytest.approx(0.0, abs=1e-2)


def test_nearly_equal_items_keep_their_probability() -> None:
    near = dpp.LowRank([[1.0, 0.0], [1.0, 1e-9], [0.0, 1.0]])
    assert float(spectral.log_determinant(near, torch.tensor([0, 1]))) == pytest.approx(2.0 * np.log(1e-9))
    far_longer = dpp.LowRank([[1e10, 0.0], [0.3, 0.1]])
    assert float(spectral.log_determinant(far_longer, torch.tensor([0, 1]))) == pytest.approx(2.0 * np.log(1e9))


def test_a_set_without_probability_gives_the_others_their_gradients(generator: torch.Generator) -> None:
    rows = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    rows[1] = rows[0]
    alone, beside = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    for form in (dpp.LowRank, lambda rows: dpp.Dense(rows @ rows.T)):
        dpp.log_prob(form(alone), [[2, 3]]).sum().backward()
        found = dpp.log_prob(form(beside), [[0, 1], [2, 3]])
        found[~found.isneginf()].sum().backward()
    assert alone.grad is not None
    torch.testing.assert_close(beside.grad, alone.grad)
