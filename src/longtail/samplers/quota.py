"""Batches with a fixed number of images of each of their classes.

Classes and images are dealt like cards: a shuffled deck gives hands of equal size, and where it cannot give another
full hand it is shuffled anew. So no hand holds a card twice unless the deck is smaller than the hand, and the cards
come equally often in the long run. Nothing is kept between epochs: all randomness is in the generator.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.samplers.frequency import check_arguments
from longtail.shapes import Int


class ClassQuota:
    """Batches of ``classes`` x ``images``: that many different classes, that many images of each.

    The indices of a batch follow one another, class by class, so ``batch_size`` of them, unshuffled, are one batch. The
    classes of a batch are different; the images of a class are different as far as it has enough of them, and one
    that has fewer is repeated as evenly as possible.

    Args:
        target: (N,) classes of the images.
        classes: classes in a batch; all that have images where those are fewer.
        images: images of each.
        num_samples: length of an epoch, rounded up to whole batches. By default K * max(counts) images, so that an
            epoch sees the largest class once when all classes are drawn alike: 391 batches of 128 on CIFAR-100-LT.
        steps: batches in an epoch, in place of ``num_samples``.
        generator: on the device of ``target``.

    Raises:
        InputError: ``classes``, ``images`` or ``steps`` below 1, both ``steps`` and ``num_samples``, and see
            ``check_arguments``.

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
        target: Tensor,
        *,
        classes: int = 32,
        images: int = 4,
        num_samples: int | None = None,
        steps: int | None = None,
        generator: torch.Generator,
    ) -> None:
        check_arguments(target, num_samples, generator)
        if classes < 1:
            raise InputError(f"a batch needs at least 1 class, not {classes}")
        if images < 1:
            raise InputError(f"a batch needs at least 1 image of each of its classes, not {images}")
        if steps is not None and (steps < 1 or num_samples is not None):
            raise InputError(
                f"an epoch needs at least 1 batch, not {steps}"
                if steps < 1
                else f"num_samples is {num_samples} and steps is {steps}: give the length of an epoch by one of them"
            )
        self._decks = _Decks(target, generator)
        present = len(self._decks.counts)
        self._classes, self._images = min(classes, present), images
        self.batch_size = self._classes * images
        if steps is None:
            wanted = present * int(self._decks.counts.max()) if num_samples is None else num_samples
            steps = -(-wanted // self.batch_size)
        self._batches = steps

    def draw(self) -> Int[Tensor, " n"]:
        """The indices of the next epoch, batch after batch."""
        counts = self._decks.counts
        device = counts.device
        classes = deal(
            torch.tensor([len(counts)], device=device),
            torch.tensor([self._batches], device=device),
            size=self._classes,
            generator=self._decks.generator,
        ).flatten()
        hands = self._decks.deal(torch.bincount(classes, minlength=len(counts)), self._images)
        # The hands come class by class; the j-th of a class goes where the class is drawn for the j-th time.
        index = torch.empty_like(hands)
        index[torch.argsort(classes, stable=True)] = hands
        return index.flatten()

    def __iter__(self) -> Iterator[int]:
        return iter(self.draw().tolist())

    def __len__(self) -> int:
        return self._batches * self.batch_size


class MinimumPerClass:
    """Natural frequencies, but no class comes into a batch with fewer than ``minimum`` images.

    For contrastive training, where a lone tail image would have no partner of its class. The images of every class are
    shuffled and cut into hands of ``minimum``; the hands of all classes are shuffled. An epoch has every image at least
    once: the only ones that come again fill the last hand of their class, different from the others in the hand as far
    as the class has enough images. A batch size that is a multiple of ``minimum`` keeps the hands whole.

    Args:
        target: (N,) classes of the images.
        minimum: g, the images of a class that come together; 1 is the natural sampler.
        num_samples: length of an epoch, rounded up to whole hands; by default all hands once, that is the sum over
            classes of n_c rounded up to a multiple of g.
        batch_size: images in a step, a multiple of ``minimum``; if given, refused when it is not.
        generator: on the device of ``target``.

    Raises:
        InputError: ``minimum`` below 1, a batch size that parts the images of a class, and see ``check_arguments``.

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
        target: Tensor,
        *,
        minimum: int,
        num_samples: int | None = None,
        batch_size: int | None = None,
        generator: torch.Generator,
    ) -> None:
        check_arguments(target, num_samples, generator)
        if minimum < 1:
            raise InputError(f"minimum counts the images of a class that come together: at least 1, not {minimum}")
        if batch_size is not None and (batch_size < 1 or batch_size % minimum):
            raise InputError(
                f"batches of {batch_size} would part the {minimum} images of a class that come together: "
                "batch_size must be a multiple of minimum"
            )
        self._decks = _Decks(target, generator)
        self._minimum = minimum
        self._hands = (self._decks.counts + minimum - 1) // minimum
        total = int(self._hands.sum())
        self._wanted = total if num_samples is None else -(-num_samples // minimum)
        self._passes = -(-self._wanted // total)

    def draw(self) -> Int[Tensor, " n"]:
        """The indices of the next epoch, ``minimum`` of one class at a time."""
        rounds = []
        for _ in range(self._passes):
            hands = self._decks.cut(self._hands, self._minimum)
            shuffled = torch.randperm(len(hands), generator=self._decks.generator, device=hands.device)
            rounds.append(hands[shuffled])
        return torch.cat(rounds)[: self._wanted].flatten()

    def __iter__(self) -> Iterator[int]:
        return iter(self.draw().tolist())

    def __len__(self) -> int:
        return self._wanted * self._minimum


class _Decks:
    """One deck of images for each class that has any; ``counts`` are their sizes, in the order of the classes."""

    def __init__(self, target: Tensor, generator: torch.Generator) -> None:
        counts = torch.bincount(target)
        self.counts = counts[counts > 0]
        self.generator = generator
        self._order = torch.argsort(target, stable=True)
        self._start = self.counts.cumsum(0) - self.counts

    def deal(self, hands: Int[Tensor, " G"], size: int) -> Int[Tensor, "hands size"]:
        """``hands[g]`` hands of ``size`` images for every class g, class by class."""
        cards = deal(self.counts, hands, size=size, generator=self.generator)
        return self._order[cards + self._start.repeat_interleave(hands)[:, None]]

    def cut(self, hands: Int[Tensor, " G"], size: int) -> Int[Tensor, "hands size"]:
        """Every class shuffled once and cut into hands of ``size``; the last goes round to the class's first images."""
        # Hands of the whole class are permutations; positions past the end go round to the beginning.
        position = _ranks(hands)[:, None] * size + torch.arange(size, device=hands.device)
        owner = torch.arange(len(hands), device=hands.device).repeat_interleave(hands)
        shuffled = _shuffle(self.counts, self.generator)
        return self._order[shuffled[self._start[owner][:, None] + position % self.counts[owner][:, None]]]


def deal(
    counts: Int[Tensor, " G"], hands: Int[Tensor, " G"], *, size: int, generator: torch.Generator
) -> Int[Tensor, "hands size"]:
    """Deals ``hands[g]`` hands of ``size`` cards from a deck of ``counts[g]`` cards, for every group g at once.

    A deck of at least ``size`` cards gives as many full hands as it can and is then shuffled anew; a smaller one is
    gone through, shuffled anew each time, until the hand is full.

    Args:
        counts: (G,) cards in each deck, at least 1.
        hands: (G,) hands wanted of each.
        size: cards in a hand.
        generator: on the device of ``counts``.

    Returns:
        One row for each hand, group by group; cards of a group are numbered from 0.

    Example:
        >>> hands = deal(torch.tensor([4, 1]), torch.tensor([2, 1]), size=2, generator=torch.Generator().manual_seed(0))
        >>> sorted(hands[:2].flatten().tolist()), hands[2].tolist()
        ([0, 1, 2, 3], [0, 0])
    """
    per_deck = (counts // size).clamp(min=1)
    decks_per_hand = (size + counts - 1) // counts
    decks = (hands + per_deck - 1) // per_deck * decks_per_hand
    # One row of cards for every shuffled deck, the decks of a group in a row.
    group = torch.arange(len(counts), device=counts.device).repeat_interleave(decks)
    sizes = counts[group]
    card = _shuffle(sizes, generator) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    deck = _ranks(decks).repeat_interleave(sizes)
    group = group.repeat_interleave(sizes)
    position = _ranks(sizes)
    # Where each card lies in its group's sequence of hands, `size` places to a hand. Of a large deck only full hands
    # count; a small deck continues the hand that the one before it began.
    usable = torch.where(decks_per_hand == 1, per_deck * size, counts)[group]
    hand = torch.where(
        decks_per_hand[group] == 1, deck * per_deck[group] + position // size, deck // decks_per_hand[group]
    )
    place = torch.where(
        decks_per_hand[group] == 1, position % size, deck % decks_per_hand[group] * counts[group] + position
    )
    kept = (position < usable) & (hand < hands[group]) & (place < size)
    first = hands.cumsum(0) - hands
    dealt = torch.empty((int(hands.sum()), size), dtype=torch.int64, device=counts.device)
    dealt[(first[group] + hand)[kept], place[kept]] = card[kept]
    return dealt


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
