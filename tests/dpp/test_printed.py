"""What the paper prints and the release does, each shown not to be the k-DPP."""

from __future__ import annotations

import pytest
import torch

from longtail import dpp
from longtail.dpp import printed
from longtail.errors import InputError


def shares(p: torch.Tensor, order: torch.Tensor | None, generator: torch.Generator) -> tuple[float, float]:
    """How often the hardest and the easiest fifth are drawn, over how often they would be if all were alike."""
    kernel, k = dpp.information_kernel(p), len(p) // 10
    counts = torch.zeros(len(p))
    for _ in range(20):
        counts[printed.algorithm_1(kernel, k=k, order=order, generator=generator)] += 1.0
    fifth = len(p) // 5
    by_hardness = counts[p.argsort()]
    return float(by_hardness[:fifth].mean() / counts.mean()), float(by_hardness[-fifth:].mean() / counts.mean())


def test_algorithm_1_picks_the_easiest_when_eigenvalues_ascend(generator: torch.Generator) -> None:
    p = torch.rand(100, generator=generator, dtype=torch.float64)
    hardest, easiest = shares(p, None, generator)
    assert hardest == 0.0
    assert easiest > 2.0
    kernel = dpp.information_kernel(p)
    exact = dpp.inclusion_probabilities(kernel, k=10)[p.argsort()]
    assert float(exact[:20].mean() / 0.1) > 1.1  # the k-DPP prefers the hardest


def test_algorithm_1_depends_on_the_order_of_the_eigenvalues(generator: torch.Generator) -> None:
    p = torch.rand(100, generator=generator, dtype=torch.float64)
    hardest, easiest = shares(p, torch.arange(100).flip(0), generator)
    assert hardest > 2.0
    assert easiest == 0.0


def test_algorithm_1_can_return_fewer_than_k(generator: torch.Generator) -> None:
    kernel = dpp.information_kernel(torch.full((50,), 0.99))
    sizes = [len(printed.algorithm_1(kernel, k=20, generator=generator)) for _ in range(20)]
    assert max(sizes) < 20
    assert len(dpp.sample(kernel, k=20, generator=generator)) == 20


def test_algorithm_1_draws_no_item_twice(generator: torch.Generator) -> None:
    items = printed.algorithm_1(dpp.information_kernel(torch.zeros(30)), k=12, generator=generator)
    assert len(set(items.tolist())) == len(items)


def test_an_order_is_a_permutation() -> None:
    with pytest.raises(InputError, match="not a permutation of 0 to 2"):
        printed.algorithm_1(dpp.information_kernel(torch.zeros(3)), k=1, order=torch.tensor([0, 0, 1]))


def test_the_released_subset_is_one_uniform_subset() -> None:
    first = printed.released(100, k=10)
    assert torch.equal(first, printed.released(100, k=10))
    counts = torch.zeros(20)
    for seed in range(3000):
        counts[printed.released(20, k=5, seed=seed)] += 1
    deviation = (3000 * 0.25 * 0.75) ** 0.5
    assert float((counts - 750).abs().max()) < 5.0 * deviation


def test_the_papers_expected_size_is_that_of_no_kernel_in_general() -> None:
    assert printed.paper_expected_size(100) == pytest.approx(30.685, abs=1e-3)
    for p in (0.0, 0.5, 0.9):
        expected = float(dpp.expected_size(dpp.information_kernel(torch.full((100,), p))))
        assert abs(expected - printed.paper_expected_size(100)) > 3.0


def test_sizes_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match="k is -1: give 0 or more"):
        printed.algorithm_1(dpp.information_kernel(torch.zeros(3)), k=-1)
    with pytest.raises(InputError, match="k is 4, and count is 3"):
        printed.released(3, k=4)
