"""Many groups at once: each is one exact draw, of its own size, whatever its shape."""

from __future__ import annotations

import pytest
import torch

from longtail import dpp
from longtail.dpp import groups, spectral
from longtail.errors import InputError
from oracles import law
from oracles.dpp import p_value

TIMES = 3000


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


SHAPES = {
    "tall": normal(7, 3),
    "wide": normal(5, 8) + 1.0,
    "square": normal(5, 5),
    "twins, wide": torch.cat([normal(3, 8), normal(3, 8)]),
    "a dead feature": normal(7, 4) * torch.tensor([1.0, 0.0, 1.0, 1.0]),
    "graded": normal(7, 3) * torch.tensor([1.0, 1e-3, 1e-6]),
    "twins": torch.cat([normal(4, 3), normal(4, 3)]),
}


@pytest.mark.parametrize("k", [1, 2, 3, None])
@pytest.mark.parametrize("name", SHAPES)
def test_every_group_follows_its_law(name: str, k: int | None, generator: torch.Generator) -> None:
    features = SHAPES[name]
    count, times = len(features), 500 if name == "graded" else TIMES
    sizes = None if k is None else torch.full((times,), k)
    mask = dpp.sample_groups(features.repeat(times, 1), torch.full((times,), count), k=sizes, generator=generator)
    expected = law.enumeration(dpp.LowRank(features), k=k)
    assert p_value(mask.view(times, count), *expected) > 1e-5
    # The mutant: quality without diversity.
    norms = features.norm(dim=1)
    diagonal = dpp.DiagonalPlusRankOne(norms.square(), torch.zeros(count))
    if k != 1:
        assert p_value(mask.view(times, count), *law.enumeration(diagonal, k=k)) < 1e-6


def test_groups_of_many_shapes_give_their_sizes(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "_ALONE", 400)
    lengths = torch.tensor([3, 0, 120, 40, 9, 9, 1, 41, 8, 44])
    features = torch.randn(int(lengths.sum()), 8, generator=generator)
    k = torch.tensor([2, 0, 8, 5, 0, 8, 1, 3, 8, 8])
    for dtype in (torch.float32, torch.float64):
        mask = dpp.sample_groups(features.to(dtype), lengths, k=k, generator=generator)
        assert [int(part.sum()) for part in torch.split(mask, lengths.tolist())] == k.tolist()
    anything = dpp.sample_groups(features, lengths.tolist(), generator=generator)
    assert 0 < int(anything.sum()) <= sum(min(8, n) for n in lengths.tolist())


def test_the_spectra_are_those_of_one_by_one(generator: torch.Generator) -> None:
    for features in SHAPES.values():
        rows = features[None]
        values, vectors = groups._spectra(rows, torch.tensor([len(features)]))
        alone = spectral.spectrum(dpp.LowRank(features))
        kept = values[0] > 0
        torch.testing.assert_close(values[0, kept].sort().values, alone.values.sort().values, rtol=1e-9, atol=0.0)
        found = vectors[0][:, kept]
        projection = found @ found.T
        torch.testing.assert_close(projection, alone.vectors() @ alone.vectors().T, rtol=0.0, atol=1e-9)


def test_the_generator_alone_decides(generator: torch.Generator) -> None:
    features, lengths = torch.randn(60, 4, generator=generator), [20, 10, 30]
    draws = [
        dpp.sample_groups(features, lengths, k=[3, 3, 3], generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_what_does_not_fit_is_named() -> None:
    features = torch.eye(3).repeat(2, 1)
    for lengths, k, message in (
        ([3, 2], None, "lengths add up to 5, and features have 6 rows"),
        ([3, 3], [1], "k must hold 2 sizes"),
        ([3, 3], [1, -1], "0 or more"),
        ([7, -1], [1, 0], "lengths has the entry -1: give .* 0 or more for each group"),
        ([3.0, 3.0], None, "lengths has the shape .* and torch.float32: give whole numbers"),
        ([[3, 3]], None, r"lengths has the shape \(1, 2\)"),
        ([3, 3], [1.0, 1.0], "k has the shape .* give whole numbers"),
        ([2, 4], [1, 4], "no set of 4 items of group 1 has positive probability: its rank is 3"),
    ):
        with pytest.raises(InputError, match=message):
            dpp.sample_groups(features, lengths, k=k)
