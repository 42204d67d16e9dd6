"""What all samplers share: an epoch drawn at once, its share for each rank, and a state from which it goes on exactly.

The whole epoch is drawn alike on every rank and divided, so that the ranks together follow the law of the sampler and
have equally many indices. Whatever a sampler draws comes from its generator or its seed; the global random state has no
part in it.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from longtail.counts import as_labels
from longtail.errors import InputError
from longtail.shapes import Int, Labels


class EpochSampler(Sampler[int], abc.ABC):
    """A sampler that draws an epoch at a time: what the samplers of this package have in common.

    A sampler of your own needs none of this: any iterable of indices with a length is one.

    Args:
        target: (N,) int64 class numbers.
        number: indices in an epoch of all ranks together; rounded up to equal shares.
        unit: indices that stay together on a rank, such as a batch.
        generator: draws one epoch after another; on the device of ``target``.
        seed: seed in place of a generator: every epoch has a random stream of its own, set by ``seed`` and the epoch.
        rank: number of this process, from 0.
        world_size: number of processes that share an epoch.

    Raises:
        InputError: both a generator and a seed, or a rank that does not exist.
    """

    def __init__(
        self,
        target: Int[Tensor, " N"],
        *,
        number: int,
        unit: int = 1,
        generator: torch.Generator | None,
        seed: int | None,
        rank: int,
        world_size: int,
    ) -> None:
        if generator is not None and seed is not None:
            raise InputError("a sampler draws from a generator or by a seed: give one of them")
        if not 0 <= rank < world_size:
            raise InputError(f"rank is {rank} of {world_size}: ranks count from 0 to world_size - 1")
        self.epoch = 0
        self._device = target.device
        self._generator = generator
        self._seed = (0 if seed is None else seed) if generator is None else None
        self._rank, self._world_size, self._unit = rank, world_size, unit
        self._share = -(-number // (unit * world_size)) * unit
        self._skip = 0
        # Of the epoch that was begun last: its number, the state of the generator before it, and how many of its
        # indices have been handed out; None when it has been handed out whole.
        self._begun: tuple[int, Tensor | None] | None = None
        self._position: int | None = None

    @abc.abstractmethod
    def _draw(self, generator: torch.Generator, number: int) -> Int[Tensor, " n"]:
        """Draw ``number`` indices, an epoch of all ranks together."""

    def draw(self) -> Int[Tensor, " n"]:
        """Draw the next epoch at once, or what is left of one whose state was loaded.

        Returns:
            (n,) int64 indices of this rank, on the device of the targets.
        """
        index = self._begin()
        self._position = None
        return index

    def __iter__(self) -> Iterator[int]:
        done = self._skip
        return self._hand_out(self._begin().tolist(), done)

    def __len__(self) -> int:
        return self._share

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next, as ``torch.utils.data.DistributedSampler`` wants to be told.

        Without it the epochs count on by themselves. With a seed, the epoch decides what is drawn.

        Args:
            epoch: number of the epoch, from 0.

        Raises:
            InputError: an epoch below 0.
        """
        if epoch < 0:
            raise InputError(f"epochs count from 0, not {epoch}")
        if epoch != self.epoch:
            self.epoch, self._skip = epoch, 0

    def state_dict(self, *, position: int | None = None) -> dict[str, Any]:
        """Return what is needed to go on exactly here, in the middle of an epoch too.

        Args:
            position: indices of the epoch that this process has trained on. Give it when a ``DataLoader`` with workers
                reads ahead; by default all that were handed out.

        Returns:
            Epoch, position and, with a generator, its state at the beginning of the epoch.

        Raises:
            InputError: a position outside the epoch.
        """
        if position is not None and not 0 <= position <= len(self):
            raise InputError(f"position is {position}: an epoch of this rank has {len(self)} indices")
        if position is None:
            position = self._position
        if position is None or position == len(self) or self._begun is None:
            current = None if self._generator is None else self._generator.get_state()
            return {"epoch": self.epoch, "position": self._skip, "generator": current}
        epoch, state = self._begun
        return {"epoch": epoch, "position": position, "generator": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was called; the next iteration is the rest of that epoch.

        Args:
            state: what ``state_dict`` returned for a sampler of the same arguments.

        Raises:
            InputError: a state of a sampler with a seed for one with a generator, or the reverse.
        """
        if (state["generator"] is None) != (self._generator is None):
            raise InputError("this state is of a sampler with a seed and not a generator, or the reverse")
        if self._generator is not None:
            self._generator.set_state(state["generator"].cpu())
        self.epoch, self._skip, self._position = state["epoch"], state["position"], None

    def _begin(self) -> Int[Tensor, " n"]:
        generator = self._generator
        if generator is None:
            entropy = np.random.SeedSequence((self._seed or 0, self.epoch)).generate_state(1, np.uint64)
            generator = torch.Generator(device=self._device).manual_seed(int(entropy[0]))
        self._begun = (self.epoch, None if self._generator is None else generator.get_state())
        index = self._draw(generator, self._share * self._world_size)
        if self._world_size > 1:
            index = index.view(-1, self._unit)[self._rank :: self._world_size].flatten()
        self.epoch, self._position, self._skip, done = self.epoch + 1, self._skip, 0, self._skip
        return index[done:]

    def _hand_out(self, index: list[int], done: int) -> Iterator[int]:
        for place, item in enumerate(index, start=done + 1):
            self._position = place
            yield item
        self._position = None


def check_arguments(target: Labels, num_samples: int | None, generator: torch.Generator | None) -> Int[Tensor, " N"]:
    """Read the targets, and refuse what no sampler can draw from.

    Args:
        target: (N,) class numbers from 0; a list, an array or a tensor.
        num_samples: indices in an epoch, or None.
        generator: what is drawn from, or None.

    Returns:
        (N,) int64.

    Raises:
        InputError: targets that are not one row of class numbers from 0, an epoch without samples, or a generator on
            another device than the targets.

    Example:
        >>> check_arguments([0, 0, 1], None, None)
        tensor([0, 0, 1])
    """
    found = as_labels(target)
    if len(found) == 0:
        raise InputError("a sampler needs a row of class numbers as target, and this one is empty")
    if generator is not None and generator.device.type != found.device.type:
        raise InputError(f"the generator is on {generator.device}, the targets are on {found.device}: use one device")
    if int(found.min()) < 0:
        raise InputError(f"a sampler needs class numbers from 0, but target holds {int(found.min())}")
    if num_samples is not None and num_samples < 1:
        raise InputError(f"num_samples must be at least 1, not {num_samples}")
    return found
