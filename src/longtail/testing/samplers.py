"""The promises of a sampler: its indices, its randomness, and going on where it was."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from longtail.testing.contract import Check, ContractError, failing, global_generator_untouched, name_of


@runtime_checkable
class Sampler(Protocol):
    """What ``check_sampler`` needs of a sampler."""

    def __iter__(self) -> Iterator[int]:
        """The indices of the next epoch."""

    def __len__(self) -> int:
        """How many there will be."""


@runtime_checkable
class SamplerFactory(Protocol):
    """What makes a sampler, such as its class."""

    def __call__(self, target: Tensor, *, generator: torch.Generator) -> Sampler:
        """The sampler over ``target`` (N,)."""


def check_sampler(factory: SamplerFactory, *, target: Tensor | None = None, epochs: int = 3) -> None:
    """Check a sampler, an iterable of indices with a length: run all of :func:`sampler_checks`.

    Args:
        factory: called as ``factory(target, generator=generator)``: a class of this package, or with more arguments
            bound, as in ``functools.partial(ClassQuota, classes=4, images=2)``.
        target: (N,) int64 classes to sample from; by default a tail with a class of one image and one of none.
        epochs: how many epochs are looked at, at least 2.

    Raises:
        ContractError: naming the first thing that is wrong.

    Example:
        >>> from longtail.samplers import SquareRoot
        >>> check_sampler(SquareRoot)
    """
    for check in sampler_checks(factory, target=target, epochs=epochs):
        check()


def sampler_checks(factory: SamplerFactory, *, target: Tensor | None = None, epochs: int = 3) -> Iterator[Check]:
    """Yield the promises of a sampler: an iterable of indices with a length, whose randomness is its generator.

    It yields as many Python ints as its length says, each the position of a target; ``draw()``, if it has one, gives
    the same epoch as a tensor on the device of the targets; equal generators give equal epochs, other generators and
    later epochs others; and the stored state of the generator (with ``state_dict`` where the sampler has one) is enough
    to go on as if nothing had happened, in the middle of an epoch too where the state names a ``position``. Ranks, if
    it knows them, have equally many indices and not the same ones. The global random state has no part in it, and a
    ``DataLoader`` takes it.

    Args:
        factory: called as ``factory(target, generator=generator)``: a class of this package, or with more arguments
            bound, as in ``functools.partial(ClassQuota, classes=4, images=2)``.
        target: (N,) int64 classes to sample from; by default a tail with a class of one image and one of none.
        epochs: how many epochs are looked at, at least 2.

    Yields:
        Checks, to be called in any order.

    Example:
        >>> from longtail.samplers import SquareRoot
        >>> print(next(sampler_checks(SquareRoot)))
        SquareRoot yields as many indices as its length says
    """
    probe = _SamplerProbe(factory, target, epochs)
    promises: dict[str, Callable[[], None]] = {
        "yields as many indices as its length says": probe.indices,
        "draws nothing from the global generator": probe.global_generator,
        "leaves the targets alone": probe.targets,
        "draws the epoch that it iterates over": probe.drawn,
        "draws equal epochs from equal generators": probe.equal_generators,
        "draws other epochs from other generators": probe.other_generators,
        "draws every epoch anew": probe.later_epochs,
        "goes on from its stored state": probe.stored_state,
        "goes on in the middle of an epoch": probe.middle,
        "is taken by a DataLoader": probe.loader,
    }
    if {"rank", "world_size"} <= set(_parameters(factory)):
        promises["shares an epoch among ranks"] = probe.ranks
    for promise, run in promises.items():
        yield Check(probe.name, promise, run)


class _SamplerProbe:
    """The targets that a sampler is checked on, and a method for each promise."""

    def __init__(self, factory: Any, target: Tensor | None, epochs: int) -> None:
        self.factory, self.name, self.epochs = factory, name_of(factory), epochs
        if target is None:
            counts = torch.tensor([60, 25, 11, 0, 5, 2, 1])
            mixed = torch.randperm(int(counts.sum()), generator=torch.Generator().manual_seed(0))
            target = torch.arange(7).repeat_interleave(counts)[mixed]
        self._target = target

    def make(self, seed: int, target: Tensor | None = None, **options: int) -> tuple[Any, torch.Generator]:
        target = self._target.clone() if target is None else target
        generator = torch.Generator(device=target.device).manual_seed(seed)
        with failing(f"{self.name}: construction", "a factory is called as factory(target, generator=generator)"):
            return self.factory(target, generator=generator, **options), generator

    def epoch(self, sampler: Sampler) -> list[Any]:
        with failing(f"{self.name}: iteration", "a sampler is iterated once for each epoch"):
            return list(sampler)

    def indices(self) -> None:
        sampler, _ = self.make(0)
        for _ in range(self.epochs):
            _check_indices(self.name, self.epoch(sampler), sampler, len(self._target))

    def global_generator(self) -> None:
        with global_generator_untouched(self.name):
            sampler, _ = self.make(0)
            for _ in range(self.epochs):
                self.epoch(sampler)

    def targets(self) -> None:
        target = self._target.clone()
        self.epoch(self.make(0, target)[0])
        if not torch.equal(target, self._target):
            raise ContractError(f"{self.name}: changes the targets in place; work on a copy")

    def drawn(self) -> None:
        _check_draw(self.name, self.make, self.epoch(self.make(0)[0]), self._target)

    def equal_generators(self) -> None:
        first = self.epoch(self.make(0)[0])
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            again = self.epoch(self.make(0)[0])
        if again != first:
            raise ContractError(
                f"{self.name}: equal generators give different epochs; draw everything from the generator"
            )

    def other_generators(self) -> None:
        first = self.epoch(self.make(0)[0])
        if any(self.epoch(self.make(seed)[0]) == first for seed in (1, 2)):
            raise ContractError(
                f"{self.name}: another seed gives the same epoch; draw from the generator that it is given"
            )

    def later_epochs(self) -> None:
        sampler, _ = self.make(0)
        first = self.epoch(sampler)
        if any(self.epoch(sampler) == first for _ in range(self.epochs - 1)):
            raise ContractError(f"{self.name}: a later epoch repeats the first; draw anew at every __iter__")

    def stored_state(self) -> None:
        sampler, generator = self.make(0)
        self.epoch(sampler)
        state, stored = generator.get_state(), _state_of(sampler)
        following = [self.epoch(sampler) for _ in range(self.epochs - 1)]
        resumed, generator = self.make(3)
        self.epoch(resumed)  # whatever it has left over from an epoch of its own must not matter
        generator.set_state(state)
        if stored is not None:
            resumed.load_state_dict(stored)
        if [self.epoch(resumed) for _ in following] != following:
            raise ContractError(
                f"{self.name}: does not go on where it was once the state of its generator is restored; keep nothing "
                f"between epochs, or give it state_dict() and load_state_dict()"
            )

    def middle(self) -> None:
        sampler, generator = self.make(0)
        self.epoch(sampler)
        iterator = iter(sampler)
        for _ in range(min(3, len(sampler) - 1)):
            next(iterator)
        state, stored = generator.get_state(), _state_of(sampler)
        if not isinstance(stored, dict) or "position" not in stored:
            return  # it makes no promise for the middle of an epoch
        expected = [*iterator, *self.epoch(sampler)]
        resumed, generator = self.make(3)
        generator.set_state(state)
        resumed.load_state_dict(stored)
        if [*self.epoch(resumed), *self.epoch(resumed)] != expected:
            raise ContractError(
                f"{self.name}: does not go on in the middle of an epoch although its state names a position; store "
                f"the state of the generator from the beginning of the epoch, and skip what was handed out"
            )

    def loader(self) -> None:
        size = getattr(self.make(0)[0], "batch_size", 4)
        if type(size) is not int or size < 1:
            raise ContractError(f"{self.name}: batch_size is {size!r}, not a whole number of at least 1")
        with failing(
            f"{self.name}: in a DataLoader", "torch.utils.data.DataLoader(dataset, batch_size, sampler=sampler)"
        ):
            loader: DataLoader[Any] = DataLoader(
                TensorDataset(torch.arange(len(self._target))),
                batch_size=size,
                sampler=self.make(0)[0],
                generator=torch.Generator(),
            )
            loaded = torch.cat([batch for (batch,) in loader]).tolist()
        if loaded != self.epoch(self.make(0)[0]):
            raise ContractError(f"{self.name}: a DataLoader sees other indices than list(sampler)")

    def ranks(self) -> None:
        parts = [self.epoch(self.make(0, rank=rank, world_size=2)[0]) for rank in range(2)]
        if len(parts[0]) != len(parts[1]):
            raise ContractError(
                f"{self.name}: two ranks have {len(parts[0])} and {len(parts[1])} indices; a rank with fewer would "
                f"leave the other waiting, so round up to equal shares"
            )
        if parts[0] == parts[1]:
            raise ContractError(f"{self.name}: two ranks draw the same indices; give each its share of one epoch")
        sampler, _ = self.make(0)
        alone = len(sampler)
        if len(parts[0]) >= alone > getattr(sampler, "batch_size", 1):
            raise ContractError(
                f"{self.name}: a rank of two has {len(parts[0])} indices and a process alone {alone}; divide the epoch"
            )


def _check_indices(name: str, index: list[Any], sampler: Sampler, number: int) -> None:
    if len(index) != len(sampler):
        raise ContractError(f"{name}: yields {len(index)} indices, but its length is {len(sampler)}")
    for place, item in enumerate(index):
        if type(item) is not int:
            raise ContractError(
                f"{name}: index {place} is a {type(item).__name__}, not an int (a tensor has .tolist())"
            )
        if not 0 <= item < number:
            raise ContractError(f"{name}: index {place} is {item}, not a position from 0 to {number - 1}")


def _check_draw(
    name: str, make: Callable[[int], tuple[Any, torch.Generator]], first: list[int], target: Tensor
) -> None:
    sampler, _ = make(0)
    draw = getattr(sampler, "draw", None)
    if draw is None:
        return
    with failing(f"{name}: draw()", "draw() takes no argument and returns the next epoch"):
        index = draw()
    if not isinstance(index, Tensor) or index.dtype != torch.int64 or index.ndim != 1 or index.device != target.device:
        shown = (
            f"{index.dtype} {tuple(index.shape)} on {index.device}"
            if isinstance(index, Tensor)
            else type(index).__name__
        )
        raise ContractError(f"{name}: draw() returned {shown}, not int64 (n,) on {target.device}, as the targets are")
    if index.tolist() != first:
        raise ContractError(
            f"{name}: draw() and iteration give different epochs; let __iter__ be iter(draw().tolist())"
        )


def _state_of(sampler: Sampler) -> Any:
    state = getattr(sampler, "state_dict", None)
    return None if state is None else copy.deepcopy(state())


def _parameters(function: Any) -> tuple[str, ...]:
    """Names of the arguments that can still be given."""
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # written in C
        return ()
