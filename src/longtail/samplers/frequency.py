"""Samplers that set how often each class is seen: as it is, by a square root, evenly, reversed, or in between.

Each is a ``torch.utils.data.Sampler``, so any ``DataLoader`` takes it as ``sampler=``; ``draw()`` gives a whole epoch
at once as a tensor. In several processes give every one the same generator state or seed and its own ``rank``.
"""

from __future__ import annotations

import abc
import math
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from longtail.counts import effective_number
from longtail.errors import InputError
from longtail.samplers.epochs import EpochSampler, check_arguments
from longtail.shapes import Float, Int, Labels


class InstanceBalanced(EpochSampler):
    """Every image once, in random order: the classes are seen as often as they are frequent.

    Use it as the natural baseline, and for training a representation.

    Args:
        target: (N,) class numbers from 0; a list, an array or a tensor.
        num_samples: indices in an epoch of all ranks, N by default; a longer one goes on with another permutation.
        generator: draws one epoch after another; on the device of ``target``.
        seed: seed of the random stream, in place of a generator; 0 when neither is given.
        rank: number of this process, from 0.
        world_size: number of processes that share an epoch.

    Raises:
        InputError: targets that are no row of class numbers from 0, or another argument out of range.

    Example:
        >>> sampler = InstanceBalanced([0, 0, 0, 1], generator=torch.Generator().manual_seed(0))
        >>> sorted(sampler)
        [0, 1, 2, 3]
    """

    def __init__(
        self,
        target: Labels,
        *,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        classes = check_arguments(target, num_samples, generator)
        self._size = len(classes)
        number = self._size if num_samples is None else num_samples
        super().__init__(classes, number=number, generator=generator, seed=seed, rank=rank, world_size=world_size)

    def _draw(self, generator: torch.Generator, number: int) -> Int[Tensor, " n"]:
        passes = -(-number // self._size)
        device = generator.device
        rounds = [torch.randperm(self._size, generator=generator, device=device) for _ in range(passes)]
        return torch.cat(rounds)[:number]


class ByClass(EpochSampler):
    """Draw a class by its weight and then one of its images, both with replacement: what the samplers below share.

    Args:
        target: (N,) class numbers from 0; a list, an array or a tensor.
        num_samples: indices in an epoch of all ranks, N by default.
        unit: indices that stay together on a rank, such as a batch.
        generator: draws one epoch after another; on the device of ``target``.
        seed: seed of the random stream, in place of a generator; 0 when neither is given.
        rank: number of this process, from 0.
        world_size: number of processes that share an epoch.

    Raises:
        InputError: targets that are no row of class numbers from 0, or another argument out of range.
    """

    def __init__(
        self,
        target: Labels,
        *,
        num_samples: int | None = None,
        unit: int = 1,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        classes = check_arguments(target, num_samples, generator)
        self.counts = torch.bincount(classes)
        self._order = torch.argsort(classes, stable=True)
        self._start = self.counts.cumsum(0) - self.counts
        number = len(classes) if num_samples is None else num_samples
        super().__init__(
            classes, number=number, unit=unit, generator=generator, seed=seed, rank=rank, world_size=world_size
        )

    @abc.abstractmethod
    def weights(self) -> Float[Tensor, " K"]:
        """Return what the classes are drawn by, up to a factor: 0 for a class without images.

        Returns:
            (K,) float64.
        """

    def _draw(self, generator: torch.Generator, number: int) -> Int[Tensor, " n"]:
        weights = self.weights()
        shape, device = (2, number), self._order.device
        # Double precision, so that even among millions of images each is hit with its own probability.
        which, within = torch.rand(shape, generator=generator, device=device, dtype=torch.float64).unbind()
        heights = weights.cumsum(0)
        # Right of equal heights: a class of weight 0 has no interval of its own, and a draw of exactly 0 must miss it.
        classes = torch.searchsorted(heights, which * heights[-1], right=True).clamp(max=len(weights) - 1)
        return self._order[self._start[classes] + (within * self.counts[classes]).long()]


class SquareRoot(ByClass):
    r"""Draw classes by the square root of their frequency, images with replacement.

    .. math:: p_c \propto n_c^{1/2}

    Use it when class-balanced sampling repeats the few images of the tail too often.

    Args:
        target: (N,) class numbers from 0; a list, an array or a tensor.
        num_samples: indices in an epoch of all ranks, N by default.
        generator: draws one epoch after another; on the device of ``target``.
        seed: seed of the random stream, in place of a generator; 0 when neither is given.
        rank: number of this process, from 0.
        world_size: number of processes that share an epoch.

    Raises:
        InputError: targets that are no row of class numbers from 0, or another argument out of range.

    Example:
        >>> target = torch.tensor([0] * 90 + [1] * 10)
        >>> index = SquareRoot(target, num_samples=4000, generator=torch.Generator().manual_seed(0)).draw()
        >>> round(float((target[index] == 1).float().mean()), 2)  # sqrt(10) / (sqrt(90) + sqrt(10))
        0.25

    References:
        Mahajan et al., Exploring the Limits of Weakly Supervised Pretraining, ECCV 2018;
        Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020, Eq. 1 (q = 1/2).
    """

    def weights(self) -> Float[Tensor, " K"]:
        """Return the square roots of the counts.

        Returns:
            (K,) float64.
        """
        return self.counts.double().sqrt()


class ClassBalanced(ByClass):
    """Draw every class that has images equally often, images with replacement.

    Use it for the second stage of two-stage training, and wherever all classes should be seen alike.

    Args:
        target: (N,) class numbers from 0; a list, an array or a tensor.
        num_samples: indices in an epoch of all ranks, N by default.
        generator: draws one epoch after another; on the device of ``target``.
        seed: seed of the random stream, in place of a generator; 0 when neither is given.
        rank: number of this process, from 0.
        world_size: number of processes that share an epoch.

    Raises:
        InputError: targets that are no row of class numbers from 0, or another argument out of range.

    Example:
        >>> target = torch.tensor([0] * 90 + [1] * 10)
        >>> index = ClassBalanced(target, num_samples=4000, generator=torch.Generator().manual_seed(0)).draw()
        >>> round(float((target[index] == 1).float().mean()), 1)
        0.5

    References:
        Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020, Eq. 1 (q = 0).
    """

    def weights(self) -> Float[Tensor, " K"]:
        """Return 1 for every class that has images.

        Returns:
            (K,) float64.
        """
        return (self.counts > 0).double()


class EffectiveNumber(ByClass):
    r"""Draw images by the inverse effective number of their class, with replacement.

    .. math:: p_c \propto n_c / E_c, \quad E_c = (1 - \beta^{n_c}) / (1 - \beta)

    The sampling counterpart of class-balanced re-weighting: natural frequencies at ``beta = 0``, class-balanced as
    ``beta`` tends to 1. Use it for a strength between the two that depends on how many images overlap.

    Args:
        target: (N,) class numbers from 0; a list, an array or a tensor.
        beta: base of the effective number, in [0, 1).
        num_samples: indices in an epoch of all ranks, N by default.
        generator: draws one epoch after another; on the device of ``target``.
        seed: seed of the random stream, in place of a generator; 0 when neither is given.
        rank: number of this process, from 0.
        world_size: number of processes that share an epoch.

    Raises:
        InputError: beta outside [0, 1), targets that are no row of class numbers from 0, or another argument out of
            range.

    Example:
        >>> target = torch.tensor([0] * 90 + [1] * 10)
        >>> sampler = EffectiveNumber(target, beta=0.9, num_samples=4000, generator=torch.Generator().manual_seed(0))
        >>> weights = sampler.weights()
        >>> round(float(weights[1] / weights.sum()), 3)  # between 0.1 and 0.5
        0.146

    References:
        Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019, Eq. 2.
    """

    def __init__(
        self,
        target: Labels,
        *,
        beta: float = 0.9999,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(
            target, num_samples=num_samples, generator=generator, seed=seed, rank=rank, world_size=world_size
        )
        number = effective_number(self.counts, beta).double()
        self._weights = torch.where(self.counts > 0, self.counts / number, 0.0)

    def weights(self) -> Float[Tensor, " K"]:
        """Return the counts over the effective numbers.

        Returns:
            (K,) float64.
        """
        return self._weights


class Reversed(ByClass):
    r"""Draw classes by the inverse of their frequency, images with replacement: the tail becomes the head.

    .. math:: p_c \propto 1 / n_c

    Use it for the re-balancing branch of a two-branch network, not alone: it sees the largest class hardly at all.

    Args:
        target: (N,) class numbers from 0; a list, an array or a tensor.
        num_samples: indices in an epoch of all ranks, N by default.
        generator: draws one epoch after another; on the device of ``target``.
        seed: seed of the random stream, in place of a generator; 0 when neither is given.
        rank: number of this process, from 0.
        world_size: number of processes that share an epoch.

    Raises:
        InputError: targets that are no row of class numbers from 0, or another argument out of range.

    Example:
        >>> target = torch.tensor([0] * 90 + [1] * 10)
        >>> index = Reversed(target, num_samples=4000, generator=torch.Generator().manual_seed(0)).draw()
        >>> round(float((target[index] == 1).float().mean()), 1)
        0.9

    References:
        Zhou et al., BBN: Bilateral-Branch Network with Cumulative Learning for Long-Tailed Visual Recognition, CVPR
        2020, section 4.2 (reversed sampling).
    """

    def weights(self) -> Float[Tensor, " K"]:
        """Return the inverse counts.

        Returns:
            (K,) float64.
        """
        return torch.where(self.counts > 0, 1.0 / self.counts.double(), 0.0)


@runtime_checkable
class Epoch(Protocol):
    """Where a run stands: ``epoch`` counts from 0, ``epochs`` is how many there will be."""

    @property
    def epoch(self) -> int:
        """The epoch that begins, from 0."""

    @property
    def epochs(self) -> int:
        """How many epochs there will be."""


class ProgressivelyBalanced(ByClass):
    r"""Go from natural to class-balanced frequencies in the course of a run, images with replacement.

    .. math:: p_c(t) = (1 - t/T) \, n_c / N + (t/T) / K

    at epoch t (from 0) of T. Without ``epochs`` and without ``start_epoch`` it stays at t = 0. Use it to train
    representation and classifier in one stage.

    Args:
        target: (N,) class numbers from 0; K counts the classes that have any. A list, an array or a tensor.
        num_samples: indices in an epoch of all ranks, N by default.
        generator: draws one epoch after another; on the device of ``target``.
        seed: seed of the random stream, in place of a generator; 0 when neither is given.
        rank: number of this process, from 0.
        world_size: number of processes that share an epoch.
        epochs: T, the epochs of the run; the training loop of this library tells it instead.

    Raises:
        InputError: targets that are no row of class numbers from 0, or another argument out of range.

    Example:
        >>> target = torch.tensor([0] * 90 + [1] * 10)
        >>> sampler = ProgressivelyBalanced(target, num_samples=4000, epochs=10, seed=0)
        >>> sampler.set_epoch(5)
        >>> round(float((target[sampler.draw()] == 1).float().mean()), 1)  # half of 0.1 and half of 0.5
        0.3

    References:
        Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020, Eq. 2.
    """

    def __init__(
        self,
        target: Labels,
        *,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        epochs: int | None = None,
    ) -> None:
        super().__init__(
            target, num_samples=num_samples, generator=generator, seed=seed, rank=rank, world_size=world_size
        )
        if epochs is not None and epochs < 1:
            raise InputError(f"epochs must be at least 1, not {epochs}")
        self._epochs = epochs

    def start_epoch(self, context: Epoch) -> None:
        """Take t and T from a training run.

        Args:
            context: what holds ``epoch``, from 0, and ``epochs``.
        """
        self._epochs = context.epochs
        super().set_epoch(context.epoch)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next.

        Args:
            epoch: t, from 0.

        Raises:
            InputError: an epoch below 0, or a sampler that does not know how many there will be.
        """
        if self._epochs is None:
            raise InputError("a progressive sampler must know how many epochs there will be: give it epochs=")
        super().set_epoch(epoch)

    def state_dict(self, *, position: int | None = None) -> dict[str, Any]:
        """Return what is needed to go on exactly here, in the middle of an epoch too.

        Args:
            position: indices of the epoch that this process has trained on; by default all that were handed out.

        Returns:
            Epoch, epochs, position and, with a generator, its state at the beginning of the epoch.
        """
        return {**super().state_dict(position=position), "epochs": self._epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was called; the next iteration is the rest of that epoch.

        Args:
            state: what ``state_dict`` returned for a sampler of the same arguments.
        """
        super().load_state_dict(state)
        self._epochs = state["epochs"]

    def weights(self) -> Float[Tensor, " K"]:
        """Return the mixture of natural and equal frequencies at the epoch that comes next.

        Returns:
            (K,) float64.
        """
        balanced = 0.0 if self._epochs is None else min(self.epoch / self._epochs, 1.0)
        natural = self.counts.double()
        even = (natural > 0).double()
        return (1 - balanced) * natural / natural.sum() + balanced * even / even.sum()


class RepeatFactor(EpochSampler):
    r"""Repeat the images of rare classes, and leave the others as they are.

    .. math:: r_c = \max(1, \sqrt{t / f_c}), \quad f_c = n_c / N

    An image of class c comes r_c times in an epoch on average: the whole part of it always, one more with the
    probability of the rest. Use it where class-balanced sampling is too strong, as with many classes in a long tail.

    Args:
        target: (N,) class numbers from 0; a list, an array or a tensor.
        threshold: t, the share of the images below which a class is repeated, above 0.
        num_samples: indices in an epoch of all ranks, by default the sum of the factors rounded up; another number
            changes all factors in proportion.
        generator: draws one epoch after another; on the device of ``target``.
        seed: seed of the random stream, in place of a generator; 0 when neither is given.
        rank: number of this process, from 0.
        world_size: number of processes that share an epoch.

    Raises:
        InputError: a threshold that is not above 0, targets that are no row of class numbers from 0, or another
            argument out of range.

    Example:
        >>> target = torch.tensor([0] * 96 + [1] * 4)
        >>> sampler = RepeatFactor(target, threshold=0.16, seed=0)  # r = sqrt(0.16 / 0.04) = 2 for the rare class
        >>> torch.bincount(target[sampler.draw()]).tolist()
        [96, 8]

    References:
        Gupta et al., LVIS: A Dataset for Large Vocabulary Instance Segmentation, CVPR 2019, section 5 (repeat factor
        sampling); Mahajan et al., Exploring the Limits of Weakly Supervised Pretraining, ECCV 2018.
    """

    def __init__(
        self,
        target: Labels,
        *,
        threshold: float = 1e-3,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        classes = check_arguments(target, num_samples, generator)
        if not threshold > 0:
            raise InputError(f"threshold is a share of the images and must be above 0, not {threshold}")
        share = torch.bincount(classes).double() / len(classes)
        self._factor = (threshold / share).sqrt().clamp(min=1.0).index_select(0, classes)
        # A sum that is whole but for rounding is whole.
        number = math.ceil(float(self._factor.sum()) * (1 - 1e-12)) if num_samples is None else num_samples
        super().__init__(classes, number=number, generator=generator, seed=seed, rank=rank, world_size=world_size)

    def _draw(self, generator: torch.Generator, number: int) -> Int[Tensor, " n"]:
        # Systematic sampling: the images lie in random order on a line, each as long as its factor; one random offset
        # sets marks one unit apart. Every image has its own expected number of marks, and there are exactly `number`.
        device = self._factor.device
        order = torch.randperm(len(self._factor), generator=generator, device=device)
        ends = self._factor[order].cumsum(0)
        ends = ends * (number / ends[-1])
        offset = torch.rand(1, generator=generator, device=device, dtype=torch.float64)
        marks = (ends + offset).floor().long().clamp(max=number)
        marks[-1] = number
        index = order.repeat_interleave(torch.diff(marks, prepend=torch.zeros_like(marks[:1])))
        return index[torch.randperm(number, generator=generator, device=device)]
