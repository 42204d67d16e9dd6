"""Batches with a fixed number of images of each of their classes.

Classes and images are drawn without replacement, in groups of equal size; when fewer than a full group is left, all are
shuffled again. So no group holds an image twice unless there are fewer images than the group needs, and in the long run
all come equally often.
"""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.samplers.epochs import EpochSampler, check_arguments
from longtail.shapes import Int, Labels


class ClassQuota(EpochSampler):
    """Batches of ``classes`` x ``images``: that many different classes, that many images of each.

    The indices of a batch follow one another, class by class, so ``batch_size`` of them, unshuffled, are one batch. The
    classes of a batch are different; the images of a class are different as far as it has enough of them, and one
    that has fewer is repeated as evenly as possible. Use it for losses that compare images within a batch, which need
    several of a class, and for class-aware second stages.

    Args:
        target: (N,) class numbers from 0; a list, an array or a tensor.
        classes: classes in a batch; all that have images where those are fewer.
        images: images of each.
        num_samples: indices in an epoch of all ranks, rounded up to whole batches. By default K * max(counts), so that
            an epoch sees the largest class once when all classes are drawn alike: 391 batches of 128 on CIFAR-100-LT.
        steps: batches in an epoch of all ranks, in place of ``num_samples``.
        generator: draws one epoch after another; on the device of ``target``.
        seed: seed of the random stream, in place of a generator; 0 when neither is given.
        rank: number of this process, from 0; a batch stays whole on a rank.
        world_size: number of processes that share an epoch.

    Attributes:
        batch_size: images in a batch.

    Raises:
        InputError: ``classes``, ``images`` or ``steps`` below 1, both ``steps`` and ``num_samples``, targets that are
            no row of class numbers from 0, or another argument out of range.

    Example:
        >>> target = torch.tensor([0] * 6 + [1] * 2 + [2] * 1)
        >>> sampler = ClassQuota(target, classes=2, images=3, generator=torch.Generator().manual_seed(0))
        >>> len(sampler), sampler.batch_size  # 3 classes of at most 6 images: 18 images, 3 batches
        (18, 6)
        >>> batch = target[sampler.draw()[:6]].view(2, 3)
        >>> bool((batch == batch[:, :1]).all())
        True

    References:
        Samuel and Chechik, Distributional Robustness Loss for Long-Tail Learning, ICCV 2021 (32 classes x 4 images);
        Shen et al., Relay Backpropagation for Effective Learning of Deep CNNs, ECCV 2016 (class-aware sampling).
    """

    def __init__(
        self,
        target: Labels,
        *,
        classes: int = 32,
        images: int = 4,
        num_samples: int | None = None,
        steps: int | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        labels = check_arguments(target, num_samples, generator)
        if classes < 1:
            raise InputError(f"a batch needs at least 1 class, not {classes}")
        if images < 1:
            raise InputError(f"a batch needs at least 1 image of each of its classes, not {images}")
        if steps is not None and steps < 1:
            raise InputError(f"an epoch needs at least 1 batch, not {steps}")
        if steps is not None and num_samples is not None:
            raise InputError(
                f"num_samples is {num_samples} and steps is {steps}: give the length of an epoch by one of them"
            )
        self._groups = _Groups(labels)
        present = len(self._groups.counts)
        self._classes, self._images = min(classes, present), images
        self.batch_size = self._classes * images
        if steps is not None:
            number = steps * self.batch_size
        elif num_samples is not None:
            number = num_samples
        else:
            number = present * int(self._groups.counts.max())
        super().__init__(
            labels,
            number=number,
            unit=self.batch_size,
            generator=generator,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )

    def _draw(self, generator: torch.Generator, number: int) -> Int[Tensor, " n"]:
        counts = self._groups.counts
        device = counts.device
        classes = without_replacement(
            torch.tensor([len(counts)], device=device),
            torch.tensor([number // self.batch_size], device=device),
            size=self._classes,
            generator=generator,
        ).flatten()
        drawn = self._groups.draw(torch.bincount(classes, minlength=len(counts)), self._images, generator)
        # They come class by class; the j-th group of a class goes where the class is drawn for the j-th time.
        index = torch.empty_like(drawn)
        index[torch.argsort(classes, stable=True)] = drawn
        return index.flatten()


class MinimumPerClass(EpochSampler):
    """Natural frequencies, but no class comes into a batch with fewer than ``minimum`` images.

    The images of every class are shuffled and cut into groups of ``minimum``; the groups of all classes are shuffled.
    An epoch has every image at least once: the only ones that come again fill the last group of their class, different
    from the others in the group as far as the class has enough images. A batch size that is a multiple of ``minimum``
    keeps the groups whole. Use it for contrastive training, where a lone tail image has no partner of its class.

    Args:
        target: (N,) class numbers from 0; a list, an array or a tensor.
        minimum: g, the images of a class that come together; 1 is the natural sampler.
        num_samples: indices in an epoch of all ranks, rounded up to whole groups; by default all groups once, that is
            the sum over classes of n_c rounded up to a multiple of g.
        batch_size: images in a step, a multiple of ``minimum``; if given, refused when it is not.
        generator: draws one epoch after another; on the device of ``target``.
        seed: seed of the random stream, in place of a generator; 0 when neither is given.
        rank: number of this process, from 0; a group stays whole on a rank.
        world_size: number of processes that share an epoch.

    Raises:
        InputError: ``minimum`` below 1, a batch size that parts the images of a class, targets that are no row of class
            numbers from 0, or another argument out of range.

    Example:
        >>> target = torch.tensor([0] * 6 + [1] * 3 + [2])
        >>> sampler = MinimumPerClass(target, minimum=2, generator=torch.Generator().manual_seed(0))
        >>> len(sampler)
        12
        >>> pairs = target[sampler.draw()].view(-1, 2)
        >>> bool((pairs[:, 0] == pairs[:, 1]).all())
        True
    """

    def __init__(
        self,
        target: Labels,
        *,
        minimum: int,
        num_samples: int | None = None,
        batch_size: int | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        labels = check_arguments(target, num_samples, generator)
        if minimum < 1:
            raise InputError(f"minimum counts the images of a class that come together: at least 1, not {minimum}")
        if batch_size is not None and (batch_size < 1 or batch_size % minimum):
            raise InputError(
                f"batches of {batch_size} would part the {minimum} images of a class that come together: "
                "batch_size must be a multiple of minimum"
            )
        self._groups = _Groups(labels)
        self._minimum = minimum
        self._numbers = (self._groups.counts + minimum - 1) // minimum
        self._total = int(self._numbers.sum())
        super().__init__(
            labels,
            number=self._total * minimum if num_samples is None else num_samples,
            unit=minimum,
            generator=generator,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )

    def _draw(self, generator: torch.Generator, number: int) -> Int[Tensor, " n"]:
        wanted = number // self._minimum
        rounds = []
        for _ in range(-(-wanted // self._total)):
            groups = self._groups.cut(self._numbers, self._minimum, generator)
            shuffled = torch.randperm(len(groups), generator=generator, device=groups.device)
            rounds.append(groups[shuffled])
        return torch.cat(rounds)[:wanted].flatten()


class _Groups:
    """The images of every class that has any; ``counts`` are how many, in the order of the classes."""

    def __init__(self, target: Int[Tensor, " N"]) -> None:
        counts = torch.bincount(target)
        self.counts = counts[counts > 0]
        self._order = torch.argsort(target, stable=True)
        self._start = self.counts.cumsum(0) - self.counts

    def draw(self, numbers: Int[Tensor, " G"], size: int, generator: torch.Generator) -> Int[Tensor, "groups size"]:
        """Draw ``numbers[g]`` groups of ``size`` images of every class g, class by class."""
        places = without_replacement(self.counts, numbers, size=size, generator=generator)
        return self._order[places + self._start.repeat_interleave(numbers)[:, None]]

    def cut(self, numbers: Int[Tensor, " G"], size: int, generator: torch.Generator) -> Int[Tensor, "groups size"]:
        """Shuffle every class once and cut it into groups of ``size``; the last begins again with the first images."""
        # Groups of the whole class are permutations; positions past the end go round to the beginning.
        position = _ranks(numbers)[:, None] * size + torch.arange(size, device=numbers.device)
        owner = torch.arange(len(numbers), device=numbers.device).repeat_interleave(numbers)
        shuffled = _shuffle(self.counts, generator)
        return self._order[shuffled[self._start[owner][:, None] + position % self.counts[owner][:, None]]]


def without_replacement(
    counts: Int[Tensor, " G"], numbers: Int[Tensor, " G"], *, size: int, generator: torch.Generator
) -> Int[Tensor, "groups size"]:
    """Draw groups without replacement; shuffle again when fewer than a full group is left. For many sets at once.

    A set of at least ``size`` items gives as many full groups as it can before it is shuffled again; a smaller one is
    gone through, shuffled each time, until the group is full.

    Args:
        counts: (G,) items in each set, at least 1.
        numbers: (G,) groups wanted of each set.
        size: items in a group.
        generator: random generator on the device of ``counts``.

    Returns:
        (sum of ``numbers``, size): one row for each group, set by set; the items of a set are numbered from 0.

    Example:
        >>> two, one = torch.tensor([4, 1]), torch.tensor([2, 1])
        >>> groups = without_replacement(two, one, size=2, generator=torch.Generator().manual_seed(0))
        >>> sorted(groups[:2].flatten().tolist()), groups[2].tolist()
        ([0, 1, 2, 3], [0, 0])
    """
    per_pass = (counts // size).clamp(min=1)
    passes_per_group = (size + counts - 1) // counts
    passes = (numbers + per_pass - 1) // per_pass * passes_per_group
    # One row of items for every shuffled pass through a set, the passes of a set in a row.
    owner = torch.arange(len(counts), device=counts.device).repeat_interleave(passes)
    sizes = counts[owner]
    item = _shuffle(sizes, generator) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    which = _ranks(passes).repeat_interleave(sizes)
    owner = owner.repeat_interleave(sizes)
    position = _ranks(sizes)
    # Where each item lies in its set's sequence of groups, `size` places to a group. Of a large set only full groups
    # count; a small one continues the group that the pass before it began.
    large = (passes_per_group == 1)[owner]
    usable = torch.where(passes_per_group == 1, per_pass * size, counts)[owner]
    group = torch.where(large, which * per_pass[owner] + position // size, which // passes_per_group[owner])
    place = torch.where(large, position % size, which % passes_per_group[owner] * counts[owner] + position)
    kept = (position < usable) & (group < numbers[owner]) & (place < size)
    first = numbers.cumsum(0) - numbers
    drawn = torch.empty((int(numbers.sum()), size), dtype=torch.int64, device=counts.device)
    drawn[(first[owner] + group)[kept], place[kept]] = item[kept]
    return drawn


def _shuffle(sizes: Int[Tensor, " G"], generator: torch.Generator) -> Int[Tensor, " total"]:
    """The numbers 0, 1, ... in consecutive rows of the given sizes, each row in random order."""
    total = int(sizes.sum())
    row = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
    shuffled = torch.randperm(total, generator=generator, device=sizes.device)
    return shuffled[torch.argsort(row[shuffled], stable=True)]


def _ranks(sizes: Int[Tensor, " G"]) -> Int[Tensor, " total"]:
    """0, 1, ..., sizes[0] - 1, 0, 1, ..., sizes[1] - 1, and so on."""
    starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return torch.arange(len(starts), device=sizes.device) - starts
