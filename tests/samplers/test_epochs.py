"""What all samplers share: seeds, epochs, states from the middle of an epoch, and shares of several processes."""

from __future__ import annotations

import collections
import functools
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, TensorDataset

from longtail import samplers
from longtail.errors import InputError

COUNTS = torch.tensor([200, 60, 18, 0, 5, 1])
TARGET = torch.arange(6).repeat_interleave(COUNTS)[torch.randperm(284, generator=torch.Generator().manual_seed(0))]
SIGNIFICANCE = 1e-5

ALL: dict[str, Callable[..., Any]] = {
    "instance": samplers.InstanceBalanced,
    "square root": samplers.SquareRoot,
    "balanced": samplers.ClassBalanced,
    "effective number": functools.partial(samplers.EffectiveNumber, beta=0.9),
    "reversed": samplers.Reversed,
    "progressive": functools.partial(samplers.ProgressivelyBalanced, epochs=4),
    "repeat factor": functools.partial(samplers.RepeatFactor, threshold=0.2),
    "quota": functools.partial(samplers.ClassQuota, classes=3, images=4, steps=25),
    "minimum": functools.partial(samplers.MinimumPerClass, minimum=2),
}
everyone = pytest.mark.parametrize("name", ALL)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@everyone
def test_it_is_a_sampler_of_pytorch_and_takes_labels_in_any_form(name: str) -> None:
    expected = list(ALL[name](TARGET, seed=3))
    for labels in (TARGET.tolist(), tuple(TARGET.tolist()), TARGET.numpy(), TARGET.numpy().astype(np.uint8)):
        sampler = ALL[name](labels, seed=3)
        assert isinstance(sampler, Sampler)
        assert list(sampler) == expected


@everyone
def test_an_epoch_is_set_by_seed_and_epoch(name: str) -> None:
    epochs = [list(sampler) for sampler in [ALL[name](TARGET, seed=5)] for _ in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    other = ALL[name](TARGET, seed=5)
    for number in (2, 0, 2, 1):
        other.set_epoch(number)
        assert list(other) == epochs[number]
    assert list(ALL[name](TARGET, seed=6)) != epochs[0]
    assert list(ALL[name](TARGET)) == list(ALL[name](TARGET, seed=0))


def resumed(sampler: Any, handed_out: int, stored: dict[str, Any], fresh: Callable[[], Any]) -> list[int]:
    """The rest of an epoch and the next two, after the state went through a file."""
    file = io.BytesIO()
    torch.save(stored, file)
    file.seek(0)
    again = fresh()
    list(again)  # whatever it did before must not matter
    again.load_state_dict(torch.load(file, weights_only=True))
    return [item for _ in range(3) for item in again]


@everyone
@pytest.mark.parametrize("drawn_from", ["seed", "generator"])
@pytest.mark.parametrize("taken", [0, 1, 24, 100])
def test_it_goes_on_exactly_in_the_middle_of_an_epoch(name: str, drawn_from: str, taken: int) -> None:
    def fresh(seed: int = 9) -> Any:
        return ALL[name](TARGET, **({"seed": 4} if drawn_from == "seed" else {"generator": seeded(seed)}))

    sampler = fresh(0)
    list(sampler)  # an epoch before
    iterator = iter(sampler)
    for _ in range(taken):
        next(iterator)
    stored = sampler.state_dict()
    assert stored["position"] == taken
    rest = [*iterator, *sampler, *sampler]
    assert resumed(sampler, taken, stored, fresh) == rest
    # A loader that reads ahead: the state is of what was trained on.
    ahead = fresh(0)
    list(ahead)
    iterator = iter(ahead)
    for _ in range(taken + 30):
        next(iterator)
    assert resumed(ahead, taken, ahead.state_dict(position=taken), fresh) == rest
    collections.deque(iterator, maxlen=0)  # the loader has read to the end of the epoch
    assert resumed(ahead, taken, ahead.state_dict(position=taken), fresh) == rest


@everyone
def test_the_end_of_an_epoch_is_the_beginning_of_the_next(name: str) -> None:
    sampler = ALL[name](TARGET, generator=seeded())
    first = list(sampler)
    for stored in (sampler.state_dict(), sampler.state_dict(position=len(first))):
        assert stored["position"] == 0
        assert stored["epoch"] == 1
    second = list(sampler)
    again = ALL[name](TARGET, generator=seeded())
    iterator = iter(again)
    for _ in range(10):
        next(iterator)
    # An epoch that is broken off is over; the next one begins anew.
    assert list(again) == second
    assert first != second


@everyone
def test_setting_the_epoch_that_was_resumed_keeps_the_place(name: str) -> None:
    """A trainer loads the state and then says which epoch it is in; another epoch begins at its beginning."""
    sampler = ALL[name](TARGET, seed=1)
    iterator = iter(sampler)
    for _ in range(12):
        next(iterator)
    stored, rest = sampler.state_dict(), list(iterator)
    again = ALL[name](TARGET, seed=1)
    again.load_state_dict(stored)
    again.set_epoch(0)
    assert list(again) == rest
    again.load_state_dict(stored)
    assert torch.equal(again.draw(), torch.tensor(rest))
    again.load_state_dict(stored)
    again.set_epoch(1)
    whole = ALL[name](TARGET, seed=1)
    whole.set_epoch(1)
    assert list(again) == list(whole)


def shares(name: str, world_size: int, **options: Any) -> list[Tensor]:
    ranks = [ALL[name](TARGET, rank=rank, world_size=world_size, **options) for rank in range(world_size)]
    assert len({len(sampler) for sampler in ranks}) == 1
    drawn = [sampler.draw() for sampler in ranks]
    assert {len(index) for index in drawn} == {len(ranks[0])}
    return drawn


@everyone
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_ranks_together_are_one_epoch(name: str, world_size: int) -> None:
    """The same indices as one process that draws as many: nothing is drawn twice because there are several."""
    parts = shares(name, world_size, seed=2)
    together = torch.cat(parts)
    option = {"steps": len(together) // 12} if name == "quota" else {"num_samples": len(together)}
    alone = ALL[name](TARGET, seed=2, **option).draw()
    assert torch.equal(together.sort().values, alone.sort().values)
    assert len(together) - len(ALL[name](TARGET, seed=2)) < world_size * 12


LAWS = {
    "instance": COUNTS.double(),
    "square root": COUNTS.double().sqrt(),
    "balanced": (COUNTS > 0).double(),
    "reversed": torch.where(COUNTS > 0, 1 / COUNTS.double(), 0.0),
    "progressive": COUNTS.double(),
}


@pytest.mark.parametrize("name", LAWS)
def test_ranks_follow_the_law_of_the_sampler(name: str) -> None:
    """Each rank on its own and both together; a law of another sampler is rejected."""
    first, second = shares(name, 2, seed=0, num_samples=40_000)
    both = torch.cat([first, second])
    for index in (first, second, both):
        seen = torch.bincount(TARGET[index], minlength=6).double()
        for other, weights in LAWS.items():
            kept = weights > 0
            expected = weights[kept] / weights.sum() * len(index)
            if float(expected.min()) < 5:
                continue
            p = scipy.stats.chisquare(seen[kept].numpy(), expected.numpy()).pvalue
            assert (p > SIGNIFICANCE) == torch.equal(weights, LAWS[name]), other
    # What one rank draws says nothing of what the other draws.
    if name == "balanced":
        table = torch.zeros(6, 6)
        table.index_put_((TARGET[first], TARGET[second]), torch.tensor(1.0), accumulate=True)
        kept = COUNTS > 0
        assert scipy.stats.chi2_contingency(table[kept][:, kept].numpy()).pvalue > SIGNIFICANCE


@pytest.mark.parametrize("world_size", [2, 3])
def test_quota_batches_stay_whole_on_a_rank(world_size: int) -> None:
    def parted(index: Tensor) -> bool:
        batches = TARGET[index].view(-1, 3, 4)
        classes = batches[..., 0]
        return bool((batches != batches[..., :1]).any()) or any(len(row.unique()) < 3 for row in classes)

    for index in shares("quota", world_size, seed=0):
        assert not parted(index)
    # The mutant that deals single indices out to the ranks.
    alone = ALL["quota"](TARGET, seed=0).draw()
    assert parted(alone[::world_size][: len(alone) // world_size // 12 * 12])


def test_groups_of_a_minimum_stay_whole_on_a_rank() -> None:
    for index in shares("minimum", 2, seed=0):
        pairs = TARGET[index].view(-1, 2)
        assert bool((pairs[:, 0] == pairs[:, 1]).all())


def test_a_loader_of_two_processes_resumes_in_the_middle() -> None:
    """A loader of one of two processes, stopped after three batches and taken up by a new one."""
    data = TensorDataset(TARGET, torch.arange(len(TARGET)))
    sampler = samplers.ClassQuota(TARGET, classes=3, images=4, steps=20, seed=0, rank=1, world_size=2)
    loader = DataLoader(data, batch_size=sampler.batch_size, sampler=sampler, generator=seeded())
    batches = [index for _, index in loader]
    assert len(batches) == 10
    fresh = samplers.ClassQuota(TARGET, classes=3, images=4, steps=20, seed=0, rank=1, world_size=2)
    fresh.load_state_dict({"epoch": 0, "position": 3 * 12, "generator": None})
    rest = [index for _, index in DataLoader(data, batch_size=12, sampler=fresh, generator=seeded())]
    assert torch.equal(torch.stack(rest), torch.stack(batches[3:]))


@everyone
@pytest.mark.parametrize(("options", "message"), [
    ({"seed": 0, "generator": seeded()}, "a generator or by a seed: give one of them"),
    ({"rank": 2, "world_size": 2}, "rank is 2 of 2: ranks count from 0"),
    ({"rank": -1, "world_size": 2}, "rank is -1 of 2"),
])  # fmt: skip
def test_what_cannot_be_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ALL[name](TARGET, **options)


def test_states_and_epochs_that_cannot_be_are_refused() -> None:
    sampler = samplers.ClassBalanced(TARGET, seed=0)
    with pytest.raises(InputError, match="epochs count from 0, not -1"):
        sampler.set_epoch(-1)
    with pytest.raises(InputError, match="position is 285: an epoch of this rank has 284 indices"):
        sampler.state_dict(position=285)
    with pytest.raises(InputError, match="a sampler with a seed and not a generator, or the reverse"):
        sampler.load_state_dict(samplers.ClassBalanced(TARGET, generator=seeded()).state_dict())
    with pytest.raises(InputError, match="give it epochs="):
        samplers.ProgressivelyBalanced(TARGET, seed=0).set_epoch(1)
    with pytest.raises(InputError, match="epochs must be at least 1, not 0"):
        samplers.ProgressivelyBalanced(TARGET, seed=0, epochs=0)
