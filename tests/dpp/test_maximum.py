"""The greedy set: item by item the one of largest determinant, found by brute force on small cases."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from longtail import dpp
from longtail.dpp import maximum
from longtail.errors import InputError
from oracles import law


def by_force(kernel: dpp.Kernel, k: int) -> list[int]:
    """One determinant for every item and step."""
    L = law.matrix(kernel)
    items: list[int] = []
    for _ in range(k):
        gains = [-1.0 if i in items else float(torch.linalg.det(L[[*items, i]][:, [*items, i]])) for i in range(len(L))]
        items.append(gains.index(max(gains)))
    return items


def kernels(generator: torch.Generator) -> list[tuple[dpp.Kernel, int]]:
    features = torch.randn(12, 6, generator=generator, dtype=torch.float64)
    d, u = torch.rand(12, generator=generator).double(), 2.0 * torch.randn(12, generator=generator).double()
    d[3] = 0.0
    return [
        (dpp.LowRank(features), 6),
        (dpp.LowRank(torch.cat([features[:6], 0.999 * features[:6]])), 6),
        (dpp.LowRank(features.float()), 4),
        (dpp.Dense(features @ features.T + 0.1 * torch.eye(12)), 10),
        (dpp.DiagonalPlusRankOne(d, u), 12),
        (dpp.DiagonalPlusRankOne(d, torch.zeros(12)), 11),
        (dpp.information_kernel(torch.rand(12, generator=generator)), 9),
    ]


def test_greedy_against_brute_force(generator: torch.Generator) -> None:
    for kernel, k in kernels(generator):
        items = dpp.greedy(kernel, k=k)
        assert items.dtype == torch.int64
        assert items.tolist() == by_force(kernel, k)


def test_the_most_diagonal_items_are_a_mutant(generator: torch.Generator) -> None:
    """Gains that are not updated: the k items of largest L_ii."""
    changed = 0
    for kernel, k in kernels(generator):
        most = law.matrix(kernel).diagonal().topk(k // 2).indices.tolist()
        changed += sorted(most) != sorted(by_force(kernel, k // 2))
    assert changed >= 4


@pytest.mark.parametrize("pool", [1, 3, 50])
def test_following_a_few_items_closely_changes_nothing(
    pool: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = torch.randn(400, 12, generator=generator)
    everything = dpp.greedy(dpp.LowRank(features), k=12)
    monkeypatch.setattr(maximum, "POOL", pool)
    assert torch.equal(dpp.greedy(dpp.LowRank(features), k=12), everything)
    assert everything.tolist() == dpp.greedy(dpp.Dense(features.double() @ features.double().T), k=12).tolist()


def test_greedy_of_many_items_with_a_large_factor(generator: torch.Generator) -> None:
    """The first choice takes the factor away from all: every gain that was known is void."""
    d = torch.rand(2000, generator=generator, dtype=torch.float64) + 0.01
    u = 100.0 * torch.randn(2000, generator=generator, dtype=torch.float64)
    kernel = dpp.DiagonalPlusRankOne(d, u)
    assert torch.equal(dpp.greedy(kernel, k=20), dpp.greedy(dpp.Dense(law.matrix(kernel)), k=20))


def test_the_greedy_set_is_likelier_than_draws(generator: torch.Generator) -> None:
    kernel = dpp.LowRank(torch.randn(100, 16, generator=generator))
    best = float(dpp.log_prob(kernel, dpp.greedy(kernel, k=8), k=8))
    draws = [float(dpp.log_prob(kernel, dpp.sample(kernel, k=8, generator=generator), k=8)) for _ in range(30)]
    assert best > max(draws)


def test_nothing_to_choose_and_nothing_left_to_choose() -> None:
    for kernel in (dpp.LowRank(torch.ones(4, 2)), dpp.Dense(torch.ones(4, 4)), dpp.information_kernel(torch.ones(4))):
        assert dpp.greedy(kernel, k=0).tolist() == []
        assert dpp.greedy(kernel, k=1).tolist() == [0]
        with pytest.raises(InputError, match="after 1 items every other one makes the determinant 0"):
            dpp.greedy(kernel, k=2)
        with pytest.raises(InputError, match="k is 5, and the kernel has 4 items"):
            dpp.greedy(kernel, k=5)
    assert dpp.greedy(dpp.LowRank(torch.zeros(0, 3)), k=0).tolist() == []


def by_fractions(rows: list[list[float]], k: int) -> list[int]:
    """Item by item the largest squared distance from the span, in rational arithmetic; fewer where none is above 0."""
    left = [[Fraction(value) for value in row] for row in rows]
    items: list[int] = []
    while len(items) < k:
        gains = [sum(value * value for value in row) for row in left]
        if max(gains) == 0:
            break
        best = gains.index(max(gains))
        items.append(best)
        direction, length = left[best], gains[best]
        shares = [sum(a * b for a, b in zip(row, direction, strict=True)) / length for row in left]
        parts = [[share * b for b in direction] for share in shares]
        left = [[a - b for a, b in zip(row, part, strict=True)] for row, part in zip(left, parts, strict=True)]
    return items


@pytest.mark.parametrize("scale", [1e4, 1e8, 1e10, 1e13, 1e18])
def test_small_items_are_found_beside_what_rounding_leaves_of_large_ones(scale: float) -> None:
    """Of the twin of the first item rounding leaves more than the third one has, and it is no gain."""
    rows = torch.tensor([[0.6, 0.7, 0.1], [0.6, 0.7, 0.1], [0.3, -0.2, 0.9]], dtype=torch.float64)
    rows[:2] *= scale
    for kernel in (dpp.LowRank(rows), dpp.Dense(rows @ rows.T)):
        assert dpp.greedy(kernel, k=2).tolist() == [0, 2]
        with pytest.raises(InputError, match="after 2 items every other one"):
            dpp.greedy(kernel, k=3)


@pytest.mark.parametrize("pool", [1, 4, 1000])
def test_greedy_of_items_of_very_unequal_length(
    pool: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maximum, "POOL", pool)
    for _ in range(30):
        rows = torch.randn(14, 6, generator=generator, dtype=torch.float64)
        rows *= 10.0 ** (24.0 * torch.rand(14, 1, generator=generator, dtype=torch.float64) - 12.0)
        rows[3], rows[7], rows[11] = rows[0], 4.0 * rows[0], 0.0
        rows[9] = rows[8]
        rows[9, 0] *= 1.0 + 1e-11  # not quite its twin
        assert dpp.greedy(dpp.LowRank(rows), k=6).tolist() == by_fractions(rows.tolist(), 6)


def test_a_gain_below_the_digits_of_a_square_is_a_gain() -> None:
    assert dpp.greedy(dpp.LowRank([[1e10, 0.0], [1e10, 1e-3]]), k=2).tolist() == [0, 1]


@pytest.mark.parametrize(("shape", "dtype"), [((12, 6), torch.float32), ((30, 20), torch.float32), ((12, 6), None)])
def test_greedy_stops_at_the_rank(shape: tuple[int, int], dtype: torch.dtype | None) -> None:
    """Whatever the precision of a matrix, and for features of lower rank than they are wide."""
    rank = shape[1]
    for seed in range(60):
        features = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype or torch.float64)
        wide = features @ torch.randn(rank, 2 * rank, generator=torch.Generator().manual_seed(seed + 1)).to(features)
        for kernel in (dpp.Dense(features @ features.T), dpp.LowRank(features if dtype else wide)):
            assert len(set(dpp.greedy(kernel, k=rank).tolist())) == rank
            with pytest.raises(InputError, match=f"after {rank} items"):
                dpp.greedy(kernel, k=rank + 1)


@pytest.mark.parametrize("scale", [1e-170, 1e160])
def test_features_whose_squares_are_no_numbers_are_refused(scale: float) -> None:
    with pytest.raises(InputError, match="scale them"):
        dpp.greedy(dpp.LowRank(scale * torch.eye(3, dtype=torch.float64)), k=2)
