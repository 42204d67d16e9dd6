"""The promises of a data set: its splits, counts and channels, and no image in two splits."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from longtail.testing.contract import Check, ContractError


def check_dataset(data: Any) -> None:
    """Check a data set as ``longtail.data.load`` returns them: run all of :func:`dataset_checks`.

    Args:
        data: the data set.

    Raises:
        ContractError: naming the first thing that is wrong.

    Example:
        >>> from longtail.data import load
        >>> check_dataset(load("digits-lt"))
    """
    for check in dataset_checks(data):
        check()


def dataset_checks(data: Any) -> Iterator[Check]:
    """Yield the promises of a data set as ``longtail.data.load`` returns them.

    ``train``, ``test`` and ``validation`` (or None) hold equally many uint8 images (N, C, H, W), int64 targets and
    int64 ids; images are alike in channels and size; targets are classes that have names; ``counts`` are those of the
    training targets and every class has images; no image is in two of the splits; ``mean`` and ``std`` are of the
    channels and usable; the fingerprint is there.

    Args:
        data: the data set.

    Yields:
        Checks, to be called in any order.

    Example:
        >>> from longtail.data import load
        >>> print(next(dataset_checks(load("digits-lt"))))
        digits-lt has the fields of a data set
    """
    name = str(getattr(data, "name", type(data).__name__))
    promises: dict[str, Callable[[str, Any], None]] = {
        "has the fields of a data set": _check_fields,
        "names its classes": _check_names,
        "holds images, targets and ids": _check_splits,
        "counts its training targets": _check_counts,
        "shows no image in two splits": _check_no_leak,
        "has the mean and spread of its channels": _check_channels,
        "says what it is": _check_facts,
    }
    for promise, run in promises.items():
        yield Check(name, promise, functools.partial(run, name, data))


FIELDS = "name train test validation counts class_names fingerprint imbalance split_seed many few mean std num_classes"


def _check_fields(name: str, data: Any) -> None:
    for field in FIELDS.split():
        if not hasattr(data, field):
            raise ContractError(f"{name}: has no field {field!r}; a data set has {FIELDS}")


def _splits(data: Any) -> dict[str, Any]:
    splits = {part: getattr(data, part) for part in ("train", "test", "validation")}
    return {part: split for part, split in splits.items() if split is not None or part != "validation"}


def _check_names(name: str, data: Any) -> None:
    classes = len(data.class_names)
    if data.num_classes != classes or len(set(data.class_names)) != classes:
        raise ContractError(
            f"{name}: {data.num_classes} classes but {len(set(data.class_names))} different names; they must agree"
        )


def _check_splits(name: str, data: Any) -> None:
    for part, split in _splits(data).items():
        _check_split(f"{name}: {part}", split, len(data.class_names), data.train)


def _check_counts(name: str, data: Any) -> None:
    counts, found = data.counts, torch.bincount(data.train.target, minlength=len(data.class_names))
    if not isinstance(counts, Tensor) or counts.dtype != torch.int64 or not torch.equal(counts.cpu(), found.cpu()):
        shown = counts.tolist() if isinstance(counts, Tensor) else counts
        raise ContractError(
            f"{name}: counts are {shown}, the int64 counts of the training targets are {found.tolist()}"
        )
    if int(found.min()) == 0:
        empty = data.class_names[int(found.argmin())]
        raise ContractError(f"{name}: class {empty!r} has no training image; leave it out or give it one")


def _check_no_leak(name: str, data: Any) -> None:
    splits = _splits(data)
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if one in splits and other in splits:
            _check_apart(name, one, splits[one], other, splits[other])


def _check_channels(name: str, data: Any) -> None:
    channels = data.train.images.shape[1]
    for field in ("mean", "std"):
        numbers = getattr(data, field)
        within = len(numbers) == channels and all(math.isfinite(number) and 0 <= number <= 1 for number in numbers)
        if not within or (field == "std" and min(numbers) <= 0):
            raise ContractError(f"{name}: {field} is {numbers}; one number in [0, 1] for each of {channels} channels")


def _check_facts(name: str, data: Any) -> None:
    if not isinstance(data.fingerprint, str) or not data.fingerprint:
        raise ContractError(f"{name}: the fingerprint is {data.fingerprint!r}, not a text that identifies the data")
    if not data.imbalance >= 1:
        raise ContractError(f"{name}: imbalance is {data.imbalance}; largest over smallest class is at least 1")
    if not data.many >= data.few >= 0:
        raise ContractError(
            f"{name}: the thresholds are many > {data.many} and few < {data.few}; many is not below few"
        )


def _check_split(where: str, split: Any, classes: int, train: Any) -> None:
    for field, dtype in (("images", torch.uint8), ("target", torch.int64), ("index", torch.int64)):
        tensor = getattr(split, field, None)
        if not isinstance(tensor, Tensor) or tensor.dtype != dtype:
            found = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ContractError(f"{where}.{field} is {found}, not a tensor of {dtype}")
    images, target, index = split.images, split.target, split.index
    if images.ndim != 4 or images.shape[1:] != train.images.shape[1:]:
        raise ContractError(
            f"{where}.images has shape {tuple(images.shape)}, not (N, C, H, W), alike in all splits but for N"
        )
    number = len(images)
    if number == 0 or target.shape != (number,) or index.shape != (number,) or len(split) != number:
        raise ContractError(
            f"{where} has {number} images, targets {tuple(target.shape)}, ids {tuple(index.shape)} and length "
            f"{len(split)}; these are N, (N,), (N,) and N, above 0"
        )
    wrong = ((target < 0) | (target >= classes)).nonzero()
    if len(wrong):
        first = int(wrong[0])
        raise ContractError(f"{where}.target[{first}] is {int(target[first])}, not a class from 0 to {classes - 1}")
    ids, times = index.unique(return_counts=True)
    if len(ids) < number:
        twice = int(ids[int(times.argmax())])
        raise ContractError(
            f"{where}.index holds the id {twice} {int(times.max())} times; each image has an id of its own"
        )


def _check_apart(name: str, one: str, first: Any, other: str, second: Any) -> None:
    """No id with the same image in both: test images may be numbered anew, but then they are other images."""
    places = {int(number): place for place, number in enumerate(first.index.tolist())}
    pairs = [(places[number], place) for place, number in enumerate(second.index.tolist()) if number in places]
    if not pairs:
        return
    left, right = torch.tensor(pairs).unbind(1)
    same = (first.images[left] == second.images[right]).flatten(1).all(1)
    if bool(same.any()):
        shared = int(first.index[left[same]][0])
        raise ContractError(f"{name}: {int(same.sum())} images are in {one} and in {other}, the first with id {shared}")
