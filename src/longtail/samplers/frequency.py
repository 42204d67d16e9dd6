"""Samplers that set how often each class is seen: as it is, by a square root, evenly, or from one to the other.

A sampler is an iterable of indices with a length, so any ``DataLoader`` takes it as ``sampler=``. ``draw()`` gives a
whole epoch at once as a tensor on the device of ``target``. All randomness comes from ``generator`` and nothing is kept
between epochs: storing the state of the generator is storing the state of the sampler.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.shapes import Float, Int


class InstanceBalanced:
    """Every image once, in random order: the classes are seen as often as they are frequent.

    Args:
        target: (N,) classes of the images.
        num_samples: length of an epoch, N by default; a longer one goes on with another permutation.
        generator: on the device of ``target``.

    Raises:
        InputError: see ``check_arguments``.

    Example:
        >>> target = torch.tensor([0, 0, 0, 1])
        >>> sampler = InstanceBalanced(target, generator=torch.Generator().manual_seed(0))
        >>> sorted(sampler)
        [0, 1, 2, 3]
    """

    def __init__(self, target: Tensor, *, num_samples: int | None = None, generator: torch.Generator) -> None:
        check_arguments(target, num_samples, generator)
        self._size = len(target)
        self._num_samples = self._size if num_samples is None else num_samples
        self._generator = generator

    def draw(self) -> Int[Tensor, " n"]:
        """The indices of the next epoch."""
        passes = -(-self._num_samples // self._size)
        device = self._generator.device
        rounds = [torch.randperm(self._size, generator=self._generator, device=device) for _ in range(passes)]
        return torch.cat(rounds)[: self._num_samples]

    def __iter__(self) -> Iterator[int]:
        return iter(self.draw().tolist())

    def __len__(self) -> int:
        return self._num_samples


class SquareRoot:
    r"""Classes by the square root of their frequency, images with replacement.

    .. math:: p_c \propto n_c^{1/2}

    Args:
        target: (N,) classes of the images.
        num_samples: length of an epoch, N by default.
        generator: on the device of ``target``.

    Raises:
        InputError: see ``check_arguments``.

    Example:
        >>> target = torch.tensor([0] * 90 + [1] * 10)
        >>> index = SquareRoot(target, num_samples=4000, generator=torch.Generator().manual_seed(0)).draw()
        >>> round(float((target[index] == 1).float().mean()), 2)  # sqrt(10) / (sqrt(90) + sqrt(10))
        0.25

    References:
        Mahajan et al., Exploring the Limits of Weakly Supervised Pretraining, ECCV 2018;
        Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020, Eq. 1 (q = 1/2).
    """

    def __init__(self, target: Tensor, *, num_samples: int | None = None, generator: torch.Generator) -> None:
        self._images = _Images(target, num_samples, generator)

    def draw(self) -> Int[Tensor, " n"]:
        """The indices of the next epoch."""
        return self._images.draw(self._images.counts.double().sqrt())

    def __iter__(self) -> Iterator[int]:
        return iter(self.draw().tolist())

    def __len__(self) -> int:
        return self._images.num_samples


class ClassBalanced:
    """Every class that has images equally often, images with replacement.

    Args:
        target: (N,) classes of the images.
        num_samples: length of an epoch, N by default.
        generator: on the device of ``target``.

    Raises:
        InputError: see ``check_arguments``.

    Example:
        >>> target = torch.tensor([0] * 90 + [1] * 10)
        >>> index = ClassBalanced(target, num_samples=4000, generator=torch.Generator().manual_seed(0)).draw()
        >>> round(float((target[index] == 1).float().mean()), 1)
        0.5

    References:
        Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020, Eq. 1 (q = 0).
    """

    def __init__(self, target: Tensor, *, num_samples: int | None = None, generator: torch.Generator) -> None:
        self._images = _Images(target, num_samples, generator)

    def draw(self) -> Int[Tensor, " n"]:
        """The indices of the next epoch."""
        return self._images.draw((self._images.counts > 0).double())

    def __iter__(self) -> Iterator[int]:
        return iter(self.draw().tolist())

    def __len__(self) -> int:
        return self._images.num_samples


@runtime_checkable
class Epoch(Protocol):
    """Where a run stands: ``epoch`` counts from 0, ``epochs`` is how many there will be."""

    @property
    def epoch(self) -> int:
        """The epoch that begins, from 0."""

    @property
    def epochs(self) -> int:
        """How many epochs there will be."""


class ProgressivelyBalanced:
    r"""From natural to class-balanced in the course of a run, images with replacement.

    .. math:: p_c(t) = (1 - t/T) \, n_c / N + (t/T) / K

    at epoch t (from 0) of T. Without ``start_epoch`` it stays at t = 0.

    Args:
        target: (N,) classes of the images; K counts the classes that have any.
        num_samples: length of an epoch, N by default.
        generator: on the device of ``target``.

    Raises:
        InputError: see ``check_arguments``.

    Example:
        >>> import types
        >>> target = torch.tensor([0] * 90 + [1] * 10)
        >>> sampler = ProgressivelyBalanced(target, num_samples=4000, generator=torch.Generator().manual_seed(0))
        >>> sampler.start_epoch(types.SimpleNamespace(epoch=5, epochs=10))
        >>> round(float((target[sampler.draw()] == 1).float().mean()), 1)  # half of 0.1 and half of 0.5
        0.3

    References:
        Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020, Eq. 2.
    """

    def __init__(self, target: Tensor, *, num_samples: int | None = None, generator: torch.Generator) -> None:
        self._images = _Images(target, num_samples, generator)
        self._balanced = 0.0

    def start_epoch(self, context: Epoch) -> None:
        """Takes t and T from ``context.epoch`` and ``context.epochs``."""
        self._balanced = context.epoch / context.epochs

    def draw(self) -> Int[Tensor, " n"]:
        """The indices of the next epoch."""
        natural = self._images.counts.double()
        even = (natural > 0).double()
        return self._images.draw((1 - self._balanced) * natural / natural.sum() + self._balanced * even / even.sum())

    def __iter__(self) -> Iterator[int]:
        return iter(self.draw().tolist())

    def __len__(self) -> int:
        return self._images.num_samples


class _Images:
    """The images in the order of their classes, from which a class and then one of its images are drawn."""

    def __init__(self, target: Tensor, num_samples: int | None, generator: torch.Generator) -> None:
        check_arguments(target, num_samples, generator)
        self.counts = torch.bincount(target)
        self.num_samples = len(target) if num_samples is None else num_samples
        self._order = torch.argsort(target, stable=True)
        self._start = self.counts.cumsum(0) - self.counts
        self._generator = generator

    def draw(self, weights: Float[Tensor, " K"]) -> Int[Tensor, " n"]:
        """Classes by ``weights`` (0 for a class without images), then images of each class uniformly."""
        shape, device = (2, self.num_samples), self._order.device
        # Double precision, so that even among millions of images each is hit with its own probability.
        which, within = torch.rand(shape, generator=self._generator, device=device, dtype=torch.float64).unbind()
        heights = weights.cumsum(0)
        # Right of equal heights: a class of weight 0 has no interval of its own, and a draw of exactly 0 must miss it.
        classes = torch.searchsorted(heights, which * heights[-1], right=True).clamp(max=len(weights) - 1)
        return self._order[self._start[classes] + (within * self.counts[classes]).long()]


def check_arguments(target: Tensor, num_samples: int | None, generator: torch.Generator) -> None:
    """Refuses what no sampler can draw from.

    Raises:
        InputError: targets that are not one row of class numbers from 0, an epoch without samples, or a generator on
            another device than the targets.
    """
    if target.ndim != 1 or target.is_floating_point() or target.dtype == torch.bool or len(target) == 0:
        raise InputError(
            f"a sampler needs a row of class numbers as target, not {target.dtype} of shape {tuple(target.shape)}"
        )
    if generator.device.type != target.device.type:
        raise InputError(f"the generator is on {generator.device}, the targets are on {target.device}: use one device")
    if int(target.min()) < 0:
        raise InputError(f"a sampler needs class numbers from 0, but target holds {int(target.min())}")
    if num_samples is not None and num_samples < 1:
        raise InputError(f"num_samples must be at least 1, not {num_samples}")
