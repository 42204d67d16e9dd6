from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from longtail.augment.erase import Cutout, cutout
from longtail.errors import InputError
from oracles import augment as oracle

LEVEL = 1e-5


def check_cutout(function: Callable[..., Tensor]) -> None:
    images = torch.from_numpy(oracle.pictures(6, 3, 12, 9))
    row = torch.tensor([0, 5, 11, 6, 3, 11])
    column = torch.tensor([0, 4, 8, 0, 8, 2])
    for size, fill in ((1, 0), (4, 0), (5, 200), (16, 0), (40, 3)):
        result = function(images, row, column, size=size, fill=fill)
        for image, i, j, ours in zip(images, row.tolist(), column.tolist(), result, strict=True):
            assert np.array_equal(ours.numpy(), oracle.cutout(image.numpy(), i, j, size, fill))


def test_cutout_erases_a_square_cut_off_at_the_border() -> None:
    check_cutout(cutout)


def test_cutout_mutants_are_rejected() -> None:
    mutants: list[Callable[..., Tensor]] = [
        lambda x, i, j, size, fill: cutout(x, j, i, size=size, fill=fill),
        lambda x, i, j, size, fill: cutout(x, i + 1, j, size=size, fill=fill),
        lambda x, i, j, size, fill: cutout(x, i, j, size=size + 1, fill=fill),
        lambda x, i, j, size, fill: cutout(x, i, j, size=size, fill=0),
        # The square pushed inside, as a crop would be.
        lambda x, i, j, size, fill: cutout(x, i.clamp(size // 2, 12 - size // 2), j, size=size, fill=fill),
    ]
    for mutant in mutants:
        with pytest.raises((AssertionError, RuntimeError)):
            check_cutout(mutant)


def test_centres_are_uniform_over_the_pixels(generator: torch.Generator) -> None:
    row, column = Cutout().parameters(torch.rand(2, 40_000, generator=generator), 6, 9)
    counts = torch.bincount(9 * row + column, minlength=54).numpy()
    assert len(counts) == 54
    assert stats.chisquare(counts).pvalue > LEVEL
    # A square always wholly inside would have centres in the middle only.
    inside = torch.bincount(9 * row.clamp(1, 4) + column, minlength=54).numpy()
    assert stats.chisquare(inside).pvalue < LEVEL


def test_share_erased_is_the_expected_one(generator: torch.Generator) -> None:
    images = torch.ones(2000, 1, 32, 32, dtype=torch.uint8)
    share = (Cutout(size=16)(images, generator=generator) == 0).float().mean().item()
    # Per axis 16 of 32 less what falls off: 8 + 7 + ... on one side, 7 + 6 + ... on the other.
    covered = np.mean([min(32, c + 8) - max(0, c - 8) for c in range(32)]) / 32
    assert share == pytest.approx(covered**2, abs=0.01)


def test_bad_fields_are_errors() -> None:
    with pytest.raises(InputError, match="at least 1 pixel"):
        Cutout(size=0)
    with pytest.raises(InputError, match="fill must be between"):
        Cutout(fill=-3)
