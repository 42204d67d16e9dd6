"""The tilt makes E|Y| = k for every shape of the diagonal, and its moments are those of the eigenvalues."""

from __future__ import annotations

import math

import numpy as np
import pytest

from longtail.dpp.tilt import moments, tilt
from longtail.errors import InputError

RNG = np.random.default_rng(5)
SHAPES = {
    "equal": np.full(400, 0.3),
    "uniform": RNG.random(400),
    "twelve orders": 10.0 ** RNG.uniform(-12, 0, 400),
    "three hard": np.where(np.arange(400) < 3, 1.0, 1e-3),
    "some zero": np.where(RNG.random(400) < 0.3, 0.0, RNG.random(400)),
    "huge": 1e80 * RNG.random(400),
}


@pytest.mark.parametrize("k", [1, 40, 200, 250])
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("factor", [None, 0.05, 3.0])
def test_expected_size_is_k(name: str, k: int, factor: float | None) -> None:
    d = SHAPES[name]
    u = None if factor is None else factor * RNG.random(400) * math.sqrt(d.max())
    mean, variance = moments(tilt(d, u, k), d, u)
    assert abs(mean - k) <= 0.1 * math.sqrt(variance) + 1e-9


def test_a_large_ground_set_is_solved_on_every_sixteenth_item_well_enough() -> None:
    d = RNG.random(100_000)
    for k in (100, 10_000, 90_000):
        mean, variance = moments(tilt(d, None, k, finest=16), d, None)
        assert abs(mean - k) < 3.0 * math.sqrt(variance)
        mean, variance = moments(tilt(d, None, k), d, None)
        assert abs(mean - k) <= 0.1 * math.sqrt(variance)


@pytest.mark.parametrize("t", [0.1, 1.0, 30.0])
def test_moments_are_those_of_the_eigenvalues(t: float) -> None:
    d, u = RNG.random(12), RNG.standard_normal(12)
    values = np.linalg.eigvalsh(np.diag(d) + np.outer(u, u)) * t
    coins = values / (1.0 + values)
    mean, variance = moments(t, d, u)
    assert mean == pytest.approx(coins.sum(), rel=1e-12)
    assert variance == pytest.approx((coins * (1.0 - coins)).sum(), rel=1e-10)


def test_items_can_stand_for_several() -> None:
    d, u = RNG.random(20), RNG.random(20) / 5.0
    whole = moments(0.7, np.tile(d, 8), np.tile(u, 8))
    assert moments(0.7, d, u, copies=8.0) == pytest.approx(whole)


def test_a_diagonal_that_no_float_can_even_out_is_refused() -> None:
    d = np.array([1.0, 1.0, 1e-320, 1e-320])
    with pytest.raises(InputError, match="spans more orders of magnitude"):
        tilt(d, None, 3)
