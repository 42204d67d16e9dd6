"""A data set in memory: what a loader reads, what is drawn from it, and what training gets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from longtail.counts import class_counts
from longtail.counts import imbalance as imbalance_of
from longtail.data import profiles
from longtail.data.copies import groups
from longtail.data.fingerprint import fingerprint
from longtail.data.images import Split
from longtail.data.splits import NAMED, held_out_with_copies, long_tailed_index
from longtail.errors import InputError
from longtail.shapes import Int, UInt8
from longtail.wording import counted


@dataclasses.dataclass(frozen=True)
class Drawn:
    """How a subset was drawn that a file holds in the place of the whole set.

    Args:
        imbalance: largest over smallest class.
        profile: how its counts fall.
        split_seed: seed of the subset.
        validation_share: share of each class that was held out, and stands in the file as validation.
    """

    imbalance: float | int
    profile: str = "exponential"
    split_seed: int = 0
    validation_share: float | int = 0.0


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set as a loader reads it, before anything is drawn from it.

    Args:
        name: what records call it; without the folders of a path, so that two machines agree.
        train: everything there is to train on.
        test: images to test on; left as they are, whatever is drawn.
        class_names: K names, in the order of the class numbers.
        imbalance: largest over smallest class of the subset that is drawn when none is asked for; None: the set keeps
            its own images.
        largest: images of the largest class of a drawn subset; None: as many as the classes allow.
        many: many-shot classes have more training images than this.
        few: few-shot classes have fewer than this.
        mean: C means, one for each channel, of pixels scaled to [0, 1], or of the D features, empty where they are used
            as they are; None: computed from the training images.
        std: C standard deviations, likewise.
        drawn: how ``train`` was drawn already, from which then nothing more is drawn; None: it is the whole set.
        notes: what was done to the images that a reader of the numbers should know.
        validation: the set's own validation images; None: carved from train if some are asked for.
        rule: name of the rule by which ``test`` was held out of one pool, if keeping copies of an image on one side
            changed it; else empty.
        flips: whether mirrored images show the same; a mirrored digit does not.

    Example:
        >>> images, target = torch.zeros(40, 1, 8, 8, dtype=torch.uint8), torch.arange(2).repeat(20)
        >>> whole = Split(images, target, torch.arange(40))
        >>> source = Source(
        ...     "mine",
        ...     train=whole.at(torch.arange(32)),
        ...     test=whole.at(torch.arange(32, 40)),
        ...     class_names=("cat", "dog"),
        ... )
        >>> len(source.train), len(source.test)
        (32, 8)
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    imbalance: float | int | None = None
    largest: int | None = None
    many: int = 100
    few: int = 20
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    drawn: Drawn | None = None
    notes: tuple[str, ...] = ()
    validation: Split | None = None
    rule: str = ""
    flips: bool = True


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set with an identity, ready to train on.

    Args:
        name: what records call the data set, without folders.
        train: the training images.
        test: the test images; nothing is ever carved from them.
        validation: carved from train per class, or the set's own; None if there is none.
        counts: (K,) training images per class, after validation was carved off.
        class_names: K names.
        fingerprint: equal exactly when index list, labels, pixels and rule are (``longtail.data.fingerprint``).
        imbalance: the factor that was asked for, or the set's own largest over smallest class if nothing was drawn.
        profile: how a drawn subset's counts fall; None for a set that keeps its own images.
        split_seed: seed from which the subset was drawn; None for a set that keeps its own images.
        validation_share: share carved from each training class, 0 if nothing was.
        many: many-shot classes have more training images than this.
        few: few-shot classes have fewer than this.
        mean: C means, one for each channel, of pixels scaled to [0, 1]; for features D means, or none where they are
            used as they are.
        std: C standard deviations, likewise.
        notes: what was done to the images that a reader of the numbers should know.
        rule: name of the rule by which a held-out split kept copies of an image on one side; empty where that changed
            nothing.
        flips: whether mirrored images show the same; if not, no recipe mirrors them.
        interpolation: by which pictures that are read while training are scaled for evaluation, as Pillow calls it.
        crop: share of the shorter side of such a picture that evaluation sees, around the centre, in (0, 1].

    Example:
        >>> from longtail.data import load
        >>> data = load("digits-lt", imbalance=100)
        >>> data.num_classes, int(data.counts.sum()), len(data.train), len(data.test)
        (10, 242, 242, 740)
    """

    name: str
    train: Split
    test: Split
    validation: Split | None
    counts: Int[Tensor, " K"]
    class_names: tuple[str, ...]
    fingerprint: str
    imbalance: float
    profile: str | None
    split_seed: int | None
    validation_share: float
    many: int
    few: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...] = ()
    rule: str = ""
    flips: bool = True
    interpolation: str = "bicubic"
    crop: float = 1.0

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return len(self.class_names)

    @property
    def image_size(self) -> int:
        """Height of the images in pixels; the width, too, where they are squares."""
        return int(self.train.images.shape[-2])

    @property
    def identity(self) -> tuple[Any, ...]:
        """Fingerprint, normalisation and, of pictures in files, scaling: what decides the numbers a network gets."""
        scaling = (self.interpolation, self.crop) if self.train.streamed else ()
        return (self.fingerprint, self.mean, self.std, *scaling)

    @property
    def scaling(self) -> dict[str, Any]:
        """How pictures in files are scaled for evaluation, by field, where that is not the usual way; else empty."""
        names = ("interpolation", "crop") if self.train.streamed else ()
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(Data, name)}

    def renewed(self) -> Data:
        """Return the data with the counts and the fingerprint of the images that it holds.

        Use it after ``dataclasses.replace``: training refuses images under another set's fingerprint.

        Returns:
            The same splits with their own counts and fingerprint.

        Example:
            >>> from longtail.data import load
            >>> data = load("digits-lt")
            >>> changed = dataclasses.replace(data, train=data.train.at(torch.arange(200))).renewed()
            >>> int(changed.counts.sum()), changed.fingerprint == data.fingerprint
            (200, False)
        """
        return dataclasses.replace(
            self,
            counts=class_counts(self.train.target, self.num_classes),
            fingerprint=fingerprint(self.train, self.validation, self.test, self.rule),
        )


def draw(
    source: Source,
    *,
    imbalance: float | int | None,
    profile: str,
    split_seed: int,
    validation: float | int,
    class_sizes: Int[Tensor, " K"] | None = None,
) -> Data:
    """Draw the long-tailed subset and the validation split, and say what came out.

    Use it for a data set that a loader of your own reads; ``load`` does it for the sets that have a name.

    Args:
        source: data set as it was read.
        imbalance: largest over smallest class, from 1; None: what the source says.
        profile: how the sizes fall from the largest class to the smallest: ``exponential``, ``step`` or ``pareto``.
        split_seed: seed of the subset, and of its validation split.
        validation: share of each training class to hold out, in [0, 1). Each class gives the nearest whole number, at
            least one image, but keeps at least one: a class with a single image has none in the validation split.
        class_sizes: (K,) training images to keep of each class, instead of a profile.

    Returns:
        The data set to train on: the drawn images, those held out, the source's test images, and their fingerprint.

    Raises:
        InputError: values out of range, or a class left without images.

    Example:
        >>> pixels = torch.arange(44, dtype=torch.uint8).view(44, 1, 1, 1).expand(-1, 1, 8, 8)
        >>> whole = Split(pixels, torch.arange(2).repeat(22), torch.arange(44))
        >>> train, test = whole.at(torch.arange(40)), whole.at(torch.arange(40, 44))
        >>> source = Source("mine", train, test, class_names=("cat", "dog"))
        >>> data = draw(source, imbalance=5, profile="exponential", split_seed=0, validation=0.25)
        >>> data.counts.tolist(), len(data.validation), len(data.test)
        ([15, 3], 6, 4)
    """
    if not 0 <= validation < 1:
        raise InputError(f"validation {validation:g}: the share of the training images to hold out, from 0 to below 1")
    num_classes = len(source.class_names)
    shape, share = profiles.by_name(profile), 0.0
    if source.drawn is not None:
        _refuse_another(source.name, source.drawn, imbalance, profile, split_seed)
        imbalance, profile, split_seed = source.drawn.imbalance, source.drawn.profile, source.drawn.split_seed
        share = source.drawn.validation_share
        validation = 0 if source.validation is not None and validation == share else validation
    if validation > 0 and source.validation is not None:
        raise InputError(f"{source.name} has validation images of its own; leave --validation out")
    asked = source.imbalance if imbalance is None else imbalance
    train, available, notes = source.train, class_counts(source.train.target, num_classes), source.notes
    empty = [source.class_names[c] for c in torch.nonzero(available < 1).flatten().tolist()]
    if empty:
        others = f" and {len(empty) - NAMED} more" if len(empty) > NAMED else ""
        named = ", ".join(repr(name) for name in empty[:NAMED])
        raise InputError(f"{source.name}: class {named}{others} has no training images")
    if class_sizes is not None:
        if source.drawn is not None:
            raise InputError(f"{source.name} holds a drawn subset already; class sizes need the whole set")
        if imbalance is not None or profile != "exponential":
            raise InputError("class sizes stand for the whole profile; leave imbalance and profile out")
        if len(class_sizes) != len(available):
            raise InputError(f"{len(class_sizes):,} class sizes; {source.name} has {len(available):,} classes")
        train = train.at(long_tailed_index(train.target, class_sizes, seed=split_seed, class_names=source.class_names))
        asked, profile = imbalance_of(class_sizes), profiles.GIVEN
    elif asked is None:
        if split_seed != 0 or profile != "exponential":
            raise InputError(f"{source.name} keeps its own images; give an imbalance to draw a subset from it")
    elif source.drawn is None:
        # Sizes of 0 come out of an imbalance that is too large; the drawing names the class.
        counts, by_size = _sizes(shape, available, asked, source.largest)
        train = train.at(long_tailed_index(train.target, counts, seed=split_seed, class_names=source.class_names))
        if by_size:
            notes = (
                *notes,
                "the sizes fall from the class with the most images to the one with the fewest, not by name",
            )
    held, rule = source.validation, ""
    if validation > 0:
        train, held, rule = hold_out(train, validation, num_classes, seed=(split_seed, 1))
        if not len(held):
            raise InputError(f"{source.name}: no class has an image to spare for validation; leave --validation out")
    counts, rule = class_counts(train.target, num_classes), source.rule or rule
    mean, std = (
        channel_statistics(train.pixels) if source.mean is None or source.std is None else (source.mean, source.std)
    )
    return Data(
        name=source.name,
        train=train,
        test=source.test,
        validation=held,
        counts=counts,
        class_names=source.class_names,
        fingerprint=fingerprint(train, held, source.test, rule),
        imbalance=imbalance_of(available) if asked is None else float(asked),
        profile=None if asked is None else profile,
        split_seed=None if asked is None else split_seed,
        validation_share=float(validation or share),
        many=source.many,
        few=source.few,
        mean=mean,
        std=std,
        notes=notes,
        rule=rule,
        flips=source.flips,
    )


def _refuse_another(name: str, known: Drawn, imbalance: float | int | None, profile: str, split_seed: int) -> None:
    """Refuse to draw another subset than the one that is there; what ``load`` takes for nothing said is let through."""
    same = imbalance in (None, known.imbalance) and split_seed in (0, known.split_seed)
    if not same or profile not in ("exponential", known.profile):
        raise InputError(
            f"{name} was drawn by the {known.profile} profile and holds the subset of imbalance {known.imbalance:g} "
            f"and split seed {known.split_seed}; embed with --whole to draw others from one file"
        )


def hold_out(train: Split, share: float, num_classes: int, *, seed: Sequence[int]) -> tuple[Split, Split, str]:
    """Hold out a share of each class, copies of an image on one side.

    Each class gives the nearest whole number, at least one image, but keeps at least one.

    Args:
        train: the images to divide.
        share: of each class, in (0, 1).
        num_classes: K.
        seed: of an isolated generator.

    Returns:
        What stays, what is held out, and the rule of ``longtail.data.splits.held_out_with_copies``.
    """
    sizes = class_counts(train.target, num_classes)
    wanted = torch.floor(sizes.double() * share + 0.5).long()
    wanted = torch.minimum(wanted.clamp(min=1), sizes - 1)
    (alike,) = groups([train.images])
    stay, out, rule = held_out_with_copies(train.target, wanted, alike, seed=seed)
    return train.at(stay), train.at(out), rule


HELD_OUT = 0.2
"""Share of each training class by which settings are chosen where the data has no validation split."""
CHOOSING = 2
"""Which stream of a split seed draws that share; 1 draws the validation split."""


def without_test(data: Data) -> Data:
    """Return data whose test split are images held out of the training set, so that settings can be chosen.

    Args:
        data: with a validation split, which becomes the test split, or without, and a fifth of each training class
            does; a class with a single image keeps it.

    Returns:
        The data without a validation split, with a fingerprint of its own.

    Raises:
        InputError: no class has an image to spare.

    Example:
        >>> from longtail.data import load
        >>> data = load("digits-lt", imbalance=20)
        >>> smaller = without_test(data)
        >>> len(data.train), len(smaller.train), len(smaller.test)
        (335, 268, 67)
    """
    if data.validation is not None:
        train, held, rule = data.train, data.validation, data.rule
    else:
        train, held, rule = hold_out(data.train, HELD_OUT, data.num_classes, seed=(data.split_seed or 0, CHOOSING))
    if not len(held):
        raise InputError(f"{data.name}: no class has an image to spare for choosing between settings")
    note = "the test split is a held-out part of the training set"
    changed = dataclasses.replace(data, train=train, test=held, validation=None, notes=(*data.notes, note), rule=rule)
    return changed.renewed()


def without_classes(source: Source, gone: Sequence[int], note: str) -> Source:
    """The source without some classes, whose images are left out of all splits.

    Args:
        source: what was read.
        gone: class numbers; those that stay are numbered anew in their order.
        note: note that says so.
    """
    keep = torch.ones(len(source.class_names), dtype=torch.bool)
    keep[list(gone)] = False
    number = torch.cumsum(keep, 0) - 1

    def kept(split: Split) -> Split:
        rest = split.at(torch.nonzero(keep[split.target]).flatten())
        return dataclasses.replace(rest, target=number[rest.target])

    return dataclasses.replace(
        source,
        train=kept(source.train),
        test=kept(source.test),
        validation=None if source.validation is None else kept(source.validation),
        class_names=tuple(name for name, stays in zip(source.class_names, keep.tolist(), strict=True) if stays),
        notes=(*source.notes, note),
    )


def leave_out_small(source: Source, below: int) -> Source:
    """The source without the classes that have fewer training images than ``below``.

    Raises:
        InputError: ``below`` is less than 1, or fewer than two classes would be left.
    """
    if below < 1:
        raise InputError(f"leaving out classes below {below}: the fewest images a class may have, from 1")
    counts = class_counts(source.train.target, len(source.class_names))
    small = torch.nonzero(counts < below).flatten().tolist()
    if not small:
        return source
    if len(small) > len(source.class_names) - 2:
        raise InputError(f"{source.name}: fewer than two classes have {below} training images or more")
    named = ", ".join(f"{source.class_names[c]} ({int(counts[c])})" for c in small[:NAMED])
    more = f" and {len(small) - NAMED:,} more" if len(small) > NAMED else ""
    return without_classes(
        source,
        small,
        f"left out {counted(len(small), 'class')} with fewer than {counted(below, 'training image')}: {named}{more}",
    )


def _sizes(
    profile: profiles.Profile, available: Tensor, imbalance: float | int, largest: int | None
) -> tuple[Tensor, bool]:
    """The sizes of a subset, and whether they fall by the sizes of the classes instead of by their order.

    In the order of the classes if that allows the largest class all its images, as it does where classes are equal.
    """
    in_order = profile(len(available), largest or profiles.largest_that_fits(profile, available, imbalance), imbalance)
    if largest is not None or int(in_order.max()) == int(available.max()):
        return in_order, False
    order = torch.sort(available, descending=True, stable=True)
    falling = profile(len(available), profiles.largest_that_fits(profile, order.values, imbalance), imbalance)
    if int(falling.max()) <= int(in_order.max()):
        return in_order, False
    sizes = torch.empty_like(falling)
    sizes[order.indices] = falling
    return sizes, True


def channel_statistics(images: UInt8[Tensor, "N C H W"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels scaled to [0, 1].

    The sums are of integers, so that two machines agree to the last bit. A channel of one value has a standard
    deviation of 1 here, so that dividing by it leaves the channel as it is.

    Args:
        images: (N, C, H, W) uint8, at least one image.

    Returns:
        C means and C standard deviations.

    Raises:
        ZeroDivisionError: no images.

    Example:
        >>> channel_statistics(torch.tensor([0, 255, 0, 255], dtype=torch.uint8).view(1, 1, 2, 2))
        ((0.5,), (0.5,))
    """
    mean, std, values = [], [], list(range(256))
    for channel in images.unbind(1):
        histogram = torch.bincount(channel.reshape(-1), minlength=256).tolist()
        n = sum(histogram)
        first = sum(times * value for times, value in zip(histogram, values, strict=True))
        second = sum(times * value * value for times, value in zip(histogram, values, strict=True))
        mean.append(first / (255 * n))
        std.append(math.sqrt((n * second - first * first) / (255 * n) ** 2) or 1.0)
    return tuple(mean), tuple(std)
