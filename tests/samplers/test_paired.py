"""Natural batches beside partners drawn by a power of the class size: the law of each half, on counts."""

from __future__ import annotations

import functools

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from longtail.errors import InputError
from longtail.samplers import Paired
from longtail.testing import check_sampler

TARGET = torch.repeat_interleave(torch.arange(4), torch.tensor([60, 25, 10, 5]))


def halves(power: float, *, batch: int = 20, epochs: int = 1) -> tuple[Tensor, Tensor]:
    sampler = Paired(TARGET, batch_size=batch, power=power, generator=torch.Generator().manual_seed(3))
    drawn = torch.cat([sampler.draw() for _ in range(epochs)]).view(-1, 2, batch)
    return drawn[:, 0].flatten(), drawn[:, 1].flatten()


def test_the_first_halves_are_all_images_once() -> None:
    natural, _ = halves(1.0)
    assert sorted(natural.tolist()) == list(range(100))


def law(power: float, drawn: Tensor) -> float:
    """The p-value of the classes of partners under weights of n^-power an image."""
    sizes = torch.bincount(TARGET).double()
    share = sizes ** (1 - power) / (sizes ** (1 - power)).sum()
    return float(chisquare(torch.bincount(TARGET[drawn], minlength=4).numpy(), (share * len(drawn)).numpy()).pvalue)


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5])
def test_partners_follow_their_law_and_no_other(power: float) -> None:
    _, partners = halves(power, epochs=60)
    assert law(power, partners) > 0.01
    assert all(law(other, partners) < 1e-6 for other in (0.0, 0.5, 1.0, 1.5) if other != power)
    within = torch.bincount(partners[TARGET[partners] == 0], minlength=60)
    assert chisquare(within[:60].numpy()).pvalue > 0.01  # images of a class alike


def test_a_last_batch_is_filled_up() -> None:
    natural, partners = halves(1.0, batch=30)
    assert len(natural) == len(partners) == 120
    assert torch.bincount(natural, minlength=100).unique().tolist() == [1, 2]


def test_it_keeps_the_contract_of_samplers() -> None:
    check_sampler(functools.partial(Paired, batch_size=4))


def test_ranks_get_whole_batches_that_follow_the_law_together() -> None:
    parts = [
        Paired(TARGET, batch_size=10, generator=torch.Generator().manual_seed(1), rank=rank, world_size=2).draw()
        for rank in range(2)
    ]
    assert [len(part) for part in parts] == [100, 100]
    natural = torch.cat([part.view(-1, 2, 10)[:, 0].flatten() for part in parts])
    assert sorted(natural.tolist()) == list(range(100))


def test_what_cannot_be_meant_is_refused() -> None:
    for wrong in ({"batch_size": 0}, {"batch_size": 4, "power": -1.0}):
        with pytest.raises(InputError, match="at least"):
            Paired(TARGET, **wrong)
