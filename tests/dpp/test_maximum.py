"""The greedy set: item by item the one of largest determinant, found by brute force on small cases."""

from __future__ import annotations

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
