"""The sum over all k-subsets in O(N): against rational arithmetic, against the O(N k) table, and by its derivative."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from longtail import dpp
from longtail.dpp import normalizer
from oracles import law
from oracles.dpp import exact_log_normalizer

SHAPES = {
    "uniform": lambda n, g: torch.rand(n, generator=g, dtype=torch.float64),
    "0 and 1": lambda n, g: (torch.rand(n, generator=g) > 0.5).double(),
    "confident": lambda n, g: 1.0 - torch.rand(n, generator=g, dtype=torch.float64) ** 15,
    "equal": lambda n, g: torch.full((n,), 0.7, dtype=torch.float64),
    "one hard": lambda n, g: (torch.arange(n) > 0).double(),
}


@pytest.mark.parametrize("k", [1, 2, 7, 20, 29, 30])
@pytest.mark.parametrize("name", SHAPES)
def test_against_rational_arithmetic(name: str, k: int, generator: torch.Generator) -> None:
    kernel = dpp.information_kernel(SHAPES[name](30, generator))
    d, u = ([Fraction(v) for v in values.tolist()] for values in (kernel.diagonal, kernel.factor))
    computed = float(normalizer.log_normalizer(kernel.diagonal, kernel.factor, k))
    assert computed == pytest.approx(exact_log_normalizer(d, u, k), abs=1e-11)


@pytest.mark.parametrize(("count", "k"), [(60, 6), (300, 30), (301, 200), (200, 195)])
@pytest.mark.parametrize("name", SHAPES)
def test_inclusion_against_the_table_to_1e_10(name: str, count: int, k: int, generator: torch.Generator) -> None:
    kernel = dpp.information_kernel(SHAPES[name](count, generator))
    computed = dpp.inclusion_probabilities(kernel, k=k)
    assert float((computed - law.table_inclusion(kernel, k)).abs().max()) < 1e-12
    assert float(computed.sum()) == pytest.approx(k, abs=1e-10)


def test_mutants_of_the_inclusion_are_farther_off_than_1e_10(generator: torch.Generator) -> None:
    kernel = dpp.information_kernel(SHAPES["uniform"](300, generator))
    exact = law.table_inclusion(kernel, 30)
    d = kernel.diagonal
    without_special = dpp.inclusion_probabilities(dpp.DiagonalPlusRankOne(d, torch.zeros_like(d)), k=30)
    t = law._bisected_tilt(d, kernel.factor.square(), 30)
    unconditioned = dpp.inclusion_probabilities(dpp.DiagonalPlusRankOne(t * d, t**0.5 * kernel.factor))
    for mutant in (without_special, unconditioned):
        assert float((mutant - exact).abs().max()) > 1e-6


def test_the_derivative_of_the_normaliser_is_the_inclusion(generator: torch.Generator) -> None:
    """Scaling row and column i of L by sqrt(g_i) multiplies every subset with i in it by g_i."""
    kernel = dpp.information_kernel(SHAPES["uniform"](40, generator))
    log_g = torch.zeros(40, dtype=torch.float64, requires_grad=True)
    total = normalizer.log_normalizer(kernel.diagonal * log_g.exp(), kernel.factor * (0.5 * log_g).exp(), 9)
    (gradient,) = torch.autograd.grad(total, log_g)
    torch.testing.assert_close(gradient, dpp.inclusion_probabilities(kernel, k=9), rtol=1e-10, atol=1e-13)


def test_the_derivative_against_the_table_of_one_item_more(generator: torch.Generator) -> None:
    """By d_i: the sum over sets of k - 1 of the other items, plain and special, over the sum over sets of k."""
    kernel = dpp.information_kernel(SHAPES["uniform"](12, generator))
    d = [Fraction(v) for v in kernel.diagonal.tolist()]
    u = [Fraction(v) for v in kernel.factor.tolist()]
    given = kernel.diagonal.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(normalizer.log_normalizer(given, kernel.factor, 5), given)
    whole = exact_log_normalizer(d, u, 5)
    for i in (0, 7):
        rest = exact_log_normalizer(d[:i] + d[i + 1 :], u[:i] + u[i + 1 :], 4)
        assert float(gradient[i]) == pytest.approx(math.exp(rest - whole), rel=1e-10)


def test_nothing_overflows_where_linear_space_would() -> None:
    """C(5000, 500) is about 1e705."""
    kernel = dpp.DiagonalPlusRankOne(torch.ones(5000), torch.zeros(5000))
    log_choose = torch.lgamma(torch.tensor([5001.0, 501.0, 4501.0], dtype=torch.float64))
    expected = float(log_choose[0] - log_choose[1] - log_choose[2])
    assert expected > 1600.0
    computed = float(normalizer.log_normalizer(kernel.diagonal, kernel.factor, 500))
    assert computed == pytest.approx(expected, rel=1e-12)
    items = torch.arange(500)
    assert float(dpp.log_prob(kernel, items, k=500)) == pytest.approx(-expected, rel=1e-12)


def test_a_hundred_thousand_items(generator: torch.Generator) -> None:
    kernel = dpp.information_kernel(torch.rand(100_000, generator=generator, dtype=torch.float64))
    inclusion = dpp.inclusion_probabilities(kernel, k=10_000)
    assert float(inclusion.sum()) == pytest.approx(10_000, rel=1e-11)
    # All but conditional Poisson sampling: the odds of an item are nearly proportional to d.
    odds = inclusion / (1.0 - inclusion) / kernel.diagonal
    assert float(odds.max() / odds.min()) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("d", "u"),
    [
        ([1e-310, 1.0, 2.0], [1.0, 1.0, 1.0]),
        ([1e-310, 1e-310], [1.0, 1e150]),
        ([5e-324, 1e100, 1.0], [1e-150, 1e150, -1e-100]),
        ([0.0, 1e-300, 2.0], [1e-5, 1e150, 1.0]),
        ([1e-250, 1e100, 1e300], [0.0, 1e150, 1e-10]),
        ([3.0, 1e300], [1e-150, 0.0]),
    ],
)
def test_log_determinant_of_extreme_numbers_against_rational_arithmetic(d: list[float], u: list[float]) -> None:
    wanted = exact_log_normalizer([Fraction(v) for v in d], [Fraction(v) for v in u], len(d))
    kernel = dpp.DiagonalPlusRankOne(d, u)
    assert float(normalizer.log_determinant(kernel.diagonal, kernel.factor)) == pytest.approx(wanted, rel=1e-13)


@pytest.mark.parametrize(
    ("d", "u", "expected"),
    [
        ([2.0, 3.0], [1.0, 1.0], 11.0),
        ([0.0, 3.0], [2.0, 1.0], 12.0),
        ([0.0, 0.0], [2.0, 1.0], 0.0),
        ([0.0, 3.0], [0.0, 1.0], 0.0),
    ],
)
def test_log_determinant(d: list[float], u: list[float], expected: float) -> None:
    computed = normalizer.log_determinant(torch.tensor(d, dtype=torch.float64), torch.tensor(u, dtype=torch.float64))
    assert float(computed.exp()) == pytest.approx(expected)
