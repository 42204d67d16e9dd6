"""Many k-DPPs in one pass: each follows its own law, and they are independent."""

from __future__ import annotations

import torch

from longtail import dpp
from longtail.dpp import segments
from oracles import law
from oracles.dpp import p_value, subset_masks

KERNELS = [
    (dpp.information_kernel(torch.tensor([0.0, 1.0, 0.9, 0.5])), 2),
    (dpp.information_kernel(torch.tensor([0.99, 0.98, 0.999, 0.2, 1.0, 0.97])), 3),
    (dpp.DiagonalPlusRankOne(torch.tensor([0.0, 0.0, 1.0, 2.0, 0.5]), torch.tensor([3.0, 1.0, 1.0, 0.0, -1.0])), 2),
    (dpp.DiagonalPlusRankOne(torch.tensor([1e4, 1.0, 1.0, 2.0]), torch.tensor([1.0, 1.0, 0.0, 0.0])), 3),
    (dpp.information_kernel(torch.zeros(2)), 1),
]


def draws(times: int, generator: torch.Generator) -> torch.Tensor:
    d = torch.cat([kernel.diagonal for kernel, _ in KERNELS])
    u = torch.cat([kernel.factor for kernel, _ in KERNELS])
    lengths = torch.tensor([len(kernel) for kernel, _ in KERNELS])
    k = torch.tensor([size for _, size in KERNELS])
    prepared = segments.prepare(d, u * u, lengths, k)
    return segments.draw(prepared.repeat(times), generator).view(times, -1)


def test_every_segment_follows_its_own_law(generator: torch.Generator) -> None:
    masks = draws(20_000, generator).split([len(kernel) for kernel, _ in KERNELS], dim=1)
    for (kernel, k), mask in zip(KERNELS, masks, strict=True):
        assert p_value(mask, *law.enumeration(kernel, k=k)) > 1e-5


def test_segments_are_independent(generator: torch.Generator) -> None:
    masks = draws(20_000, generator)
    (first, a), (second, b) = (law.enumeration(kernel, k=k) for kernel, k in KERNELS[:2])
    pairs = torch.cat([first.repeat_interleave(len(second), 0), second.repeat(len(first), 1)], 1)
    assert p_value(masks[:, :10], pairs, torch.outer(a, b).flatten()) > 1e-5


def test_uniform_is_uniform_in_every_segment(generator: torch.Generator) -> None:
    lengths, k = torch.tensor([5, 0, 3, 4, 2]), torch.tensor([2, 0, 3, 0, 1])
    masks = segments.uniform(lengths.repeat(10_000), k.repeat(10_000), generator).view(10_000, -1)
    for mask, count, size in zip(masks.split(lengths.tolist(), 1), lengths.tolist(), k.tolist(), strict=True):
        subsets = subset_masks(count, size)
        assert p_value(mask, subsets, torch.full((len(subsets),), 1.0 / len(subsets), dtype=torch.float64)) > 1e-5


def test_a_generator_elsewhere_is_continued_not_copied() -> None:
    here = torch.Generator().manual_seed(1)
    assert segments.beside(here, torch.device("cpu")) is here
    assert segments.beside(None, torch.device("cpu")) is None


def test_totals_and_largest() -> None:
    values = torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64)
    assert segments.total(values, torch.tensor([2, 0, 1])).tolist() == [-1.0, 0.0, 5.0]
    assert segments.largest(values, torch.tensor([2, 1])).tolist() == [1.0, 5.0]
