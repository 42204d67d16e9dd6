"""Many k-DPPs in one pass: each follows its own law, and they are independent."""

from __future__ import annotations

import pytest
import torch

from longtail import dpp
from longtail.dpp import segments
from longtail.errors import InputError
from longtail.shapes import Bool, Float, Int
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


def in_one_running_sum(
    weight: Float[torch.Tensor, " M"], lengths: Int[torch.Tensor, " G"], generator: torch.Generator | None
) -> tuple[Int[torch.Tensor, " G"], Bool[torch.Tensor, " G"]]:
    """Mutant: marks by the running sum of the weights of all segments."""
    cumulative, end = weight.cumsum(0), lengths.cumsum(0)
    start = end - lengths
    place = segments._random(lengths, generator) * (1.0 + segments.total(weight, lengths)) - 1.0
    before = torch.where(start > 0, cumulative[(start - 1).clamp(min=0)], 0.0)
    mark = torch.searchsorted(cumulative, before + place.clamp(min=0.0), right=True)
    return torch.minimum(torch.maximum(mark, start), end - 1), place >= 0.0


@pytest.mark.parametrize("log_p", [-1e-15, -1e-17, -1e-300])
def test_a_segment_all_but_certain_leaves_the_digits_of_the_next(log_p: float, generator: torch.Generator) -> None:
    """The special item of the first weighs 1 / (1 - p)."""
    first = dpp.information_kernel(log_probability=torch.full((100,), log_p, dtype=torch.float64))
    second = dpp.information_kernel(torch.full((6,), 0.9, dtype=torch.float64))
    d, u = torch.cat([first.diagonal, second.diagonal]), torch.cat([first.factor, second.factor])
    one = segments.prepare(d, u * u, torch.tensor([100, 6]), torch.tensor([2, 2]))
    masks = segments.draw(one.repeat(2000), generator).view(2000, 106)
    assert masks[:, :100].sum(1).tolist() == [2] * 2000
    assert p_value(masks[:, 100:], *law.enumeration(second, k=2)) > 1e-5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "_marks", in_one_running_sum)
        masks = segments.draw(one.repeat(2000), generator).view(2000, 106)
        assert p_value(masks[:, 100:], *law.enumeration(second, k=2)) < 1e-6


def test_marks_of_ordinary_segments_are_those_of_one_running_sum(generator: torch.Generator) -> None:
    """Draws that were recorded can be repeated."""
    for _ in range(20):
        lengths = torch.randint(1, 200, (500,), generator=generator)
        weight = 10.0 ** (4.0 * torch.rand(int(lengths.sum()), generator=generator, dtype=torch.float64) - 3.0)
        weight[torch.rand(len(weight), generator=generator) < 0.1] = 0.0
        state = generator.get_state()
        found = segments._marks(weight, lengths, generator)
        generator.set_state(state)
        wanted = in_one_running_sum(weight, lengths, generator)
        assert torch.equal(found[1], wanted[1])
        assert torch.equal(found[0][found[1]], wanted[0][wanted[1]])


def test_an_item_that_weighs_nothing_is_no_mark(generator: torch.Generator) -> None:
    """However many segments there are, and whatever rounding makes of their ends."""
    weight = torch.tensor([0.0, 0.1, 0.0, 0.0, 0.7, 0.2, 0.0], dtype=torch.float64).repeat(50_000)
    mark, there = segments._marks(weight * 1e9, torch.tensor([3, 4]).repeat(50_000), generator)
    assert bool((weight[mark[there]] > 0).all())
    nothing = segments._marks(torch.zeros(5, dtype=torch.float64), torch.tensor([2, 3]), generator)
    assert (nothing[0].tolist(), nothing[1].tolist()) == ([0, 2], [False, False])


def test_weights_that_are_no_numbers_are_refused_rather_than_tried_forever() -> None:
    d, u2 = torch.full((6,), 1e-310, dtype=torch.float64), torch.full((6,), 1.0 / 6.0, dtype=torch.float64)
    with pytest.raises(InputError, match="diagonal and squared factor span more orders of magnitude"):
        segments.prepare(d, u2, torch.tensor([6]), torch.tensor([2]))
