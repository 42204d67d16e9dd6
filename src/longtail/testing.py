"""The contract in executable form: named checks of a loss, sampler, data set, objective, model and recipe.

A check is one promise. ``loss_checks(my_loss)`` and its kin yield them one by one, so that a test suite shows which
promise is broken::

    @parametrize_with_checks(loss_checks(my_loss))
    def test_my_loss(check):
        check()

``check_loss(my_loss)`` and its kin run them all. A broken promise raises a ``ContractError``, an ``AssertionError`` of
one line that says what is wrong, on what input, and what would be right.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader, TensorDataset


class ContractError(AssertionError):
    """A part that does not keep its contract; the message is one line.

    Example:
        >>> raise ContractError("my_loss: returned a scalar for 12 samples")
        Traceback (most recent call last):
        longtail.testing.ContractError: my_loss: returned a scalar for 12 samples
    """


@dataclasses.dataclass(frozen=True)
class Check:
    """One promise of one part; call it to have it checked.

    Args:
        subject: name of the part that is checked.
        promise: what it should do, in a few words.
        run: raises a ``ContractError`` if it does not.

    Example:
        >>> check = Check("my_loss", "is finite", lambda: None)
        >>> print(check)
        my_loss is finite
        >>> check()
    """

    subject: str
    promise: str
    run: Callable[[], None] = dataclasses.field(repr=False)

    def __call__(self) -> None:
        """Check the promise."""
        self.run()

    def __str__(self) -> str:
        return f"{self.subject} {self.promise}"


def parametrize_with_checks(*checks: Iterable[Check]) -> Any:
    """Make one test of every check, with the promise as its id: decorates a pytest test with an argument ``check``.

    Args:
        checks: what ``loss_checks`` and its kin yield, of one part or several.

    Returns:
        A ``pytest.mark.parametrize``.

    Example:
        >>> import torch
        >>> loss = functools.partial(torch.nn.functional.cross_entropy, reduction="none")
        >>> @parametrize_with_checks(loss_checks(loss), sampler_checks(torch.utils.data.RandomSampler))
        ... def test_my_parts(check):
        ...     check()
    """
    import pytest

    every = [check for group in checks for check in group]
    return pytest.mark.parametrize("check", [pytest.param(check, id=str(check)) for check in every])


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


# --- losses -----------------------------------------------------------------------------------------------------------


def check_loss(
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    num_classes: int = 5,
    width: int | None = None,
    per_sample: bool = True,
) -> None:
    """Check a loss ``(logits (N, K), target (N,)) -> (N,)``: run all of :func:`loss_checks`.

    Args:
        loss: bind further arguments first, as in ``functools.partial(balanced_softmax, counts=counts)``.
        num_classes: number of classes, K, of the logits and the targets.
        width: D, for a loss on features (N, D) instead of logits.
        per_sample: whether the value of a sample depends on that sample alone; False for contrastive losses.

    Raises:
        ContractError: naming the first thing that is wrong.

    Example:
        >>> import functools
        >>> check_loss(functools.partial(torch.nn.functional.cross_entropy, reduction="none"))
        >>> check_loss(torch.nn.functional.cross_entropy)
        Traceback (most recent call last):
        longtail.testing.ContractError: cross_entropy: returned a scalar for 12 samples; ...
    """
    for check in loss_checks(loss, num_classes=num_classes, width=width, per_sample=per_sample):
        check()


def loss_checks(
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    num_classes: int = 5,
    width: int | None = None,
    per_sample: bool = True,
) -> Iterator[Check]:
    """Yield the promises of a loss ``(logits (N, K), target (N,)) -> (N,)``.

    It returns one value per sample in the type of the logits, unreduced; is finite, also for logits in the thousands
    and for a batch of one, and so is its gradient, which is not zero everywhere; does the same whatever the order of
    the batch and whenever it is called; leaves its input and the global random state alone; works on shapes alone
    (device ``meta``), which shows that it never waits for the values on an accelerator; and refuses targets that do
    not fit the logits, and counts of another number of classes where ``counts`` is bound with ``functools.partial``.

    Args:
        loss: bind further arguments first, as in ``functools.partial(balanced_softmax, counts=counts)``.
        num_classes: number of classes, K, of the logits and the targets.
        width: D, for a loss on features (N, D) instead of logits.
        per_sample: whether the value of a sample depends on that sample alone; False for contrastive losses.

    Yields:
        Checks, to be called in any order.

    Example:
        >>> loss = functools.partial(torch.nn.functional.cross_entropy, reduction="none")
        >>> print(next(loss_checks(loss)))
        cross_entropy returns one finite value for each sample
    """
    probe = _LossProbe(loss, num_classes=num_classes, width=width)
    promises: dict[str, Callable[[], None]] = {
        "returns one finite value for each sample": probe.values,
        "draws nothing from the global generator": probe.global_generator,
        "leaves its input alone": probe.input,
        "gives the same values at every call": probe.repeated,
        "keeps the type of the logits": probe.types,
        "is finite for a batch of one class or one sample": probe.small_batches,
        "has a finite gradient that is not zero everywhere": probe.gradient,
        "is finite for logits in the thousands": probe.large_logits,
        "follows the order of the batch": probe.order,
    }
    if per_sample:
        promises["values each sample alone"] = probe.alone
    promises["works on shapes alone"] = probe.shapes_alone
    promises["refuses targets that do not fit"] = probe.wrong_targets
    if width is None and isinstance(loss, functools.partial) and "counts" in loss.keywords:
        promises["refuses counts of another number of classes"] = probe.wrong_counts
    for promise, run in promises.items():
        yield Check(probe.name, promise, run)


class _LossProbe:
    """The batch that a loss is checked on, and a method for each promise."""

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], *, num_classes: int, width: int | None) -> None:
        self.loss, self.name = loss, _name(loss)
        generator = torch.Generator().manual_seed(20210407)
        self.number = 12
        self._logits = torch.randn(self.number, width or num_classes, generator=generator)
        self._target = torch.randint(num_classes, (self.number,), generator=generator)
        self._order = torch.randperm(self.number, generator=generator)

    @property
    def batch(self) -> tuple[Tensor, Tensor]:
        """The plain batch, anew each time, so that one promise does not spoil the next."""
        return self._logits.clone(), self._target.clone()

    def call(self, what: str, logits: Tensor, target: Tensor) -> Tensor:
        with _failing(f"{self.name}: on {what}", "a loss takes logits (N, K) and target (N,) and returns (N,)"):
            value = self.loss(logits, target)
        _check_values(self.name, what, value, logits)
        return value

    def values(self) -> None:
        self.call("a plain batch", *self.batch)

    def global_generator(self) -> None:
        with _global_generator_untouched(self.name):
            self.call("a plain batch", *self.batch)

    def input(self) -> None:
        logits, target = self.batch
        self.call("a plain batch", logits, target)
        if not (torch.equal(self._logits, logits) and torch.equal(self._target, target)):
            raise ContractError(f"{self.name}: changes its input in place; work on a copy")

    def repeated(self) -> None:
        first = self.call("a plain batch", *self.batch)
        if not torch.equal(self.call("the same batch again", *self.batch), first):
            raise ContractError(
                f"{self.name}: two calls on one batch differ; a loss keeps no state (randomness: a generator)"
            )

    def types(self) -> None:
        logits, target = self.batch
        self.call("float64 logits", logits.double(), target)
        self.call("bfloat16 logits", logits.bfloat16(), target)

    def small_batches(self) -> None:
        logits, target = self.batch
        self.call("a batch of one class", logits, torch.zeros_like(target))
        self.call("a batch of one sample", logits[:1], target[:1])

    def gradient(self) -> None:
        self._gradient("a plain batch", self.batch[0], zero_is_wrong=True)

    def large_logits(self) -> None:
        self._gradient("logits in the thousands", 3e3 * self.batch[0], zero_is_wrong=False)

    def _gradient(self, what: str, logits: Tensor, *, zero_is_wrong: bool) -> None:
        leaf = logits.requires_grad_()
        value = self.call(what, leaf, self.batch[1])
        if not value.requires_grad:
            raise ContractError(f"{self.name}: on {what}, no gradient flows to the logits; do not detach or round them")
        (gradient,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
        if gradient is None or (zero_is_wrong and not bool(gradient.any())):
            raise ContractError(
                f"{self.name}: on {what}, the gradient is zero everywhere; the loss does not use the logits"
            )
        if not bool(torch.isfinite(gradient).all()):
            raise ContractError(
                f"{self.name}: on {what}, the gradient is not finite; use log_softmax, logsumexp or softplus, and "
                f"clamp under a square root"
            )

    def order(self) -> None:
        logits, target = self.batch
        exact = logits.double()
        value = self.call("float64 logits", exact, target)
        shuffled = self.call("a shuffled batch", exact[self._order], target[self._order])
        if not torch.allclose(shuffled, value[self._order], rtol=1e-9, atol=1e-9):
            raise ContractError(
                f"{self.name}: shuffling the batch changes the values of its samples by up to "
                f"{float((shuffled - value[self._order]).detach().abs().max()):.2g}; each must follow its sample"
            )

    def alone(self) -> None:
        logits, target = self.batch
        exact = logits.double()
        value = self.call("float64 logits", exact, target)
        for i in range(self.number):
            single = self.call("a batch of one sample", exact[i : i + 1], target[i : i + 1])
            if not torch.allclose(single, value[i : i + 1], rtol=1e-9, atol=1e-9):
                raise ContractError(
                    f"{self.name}: sample {i} has the loss {float(value[i].detach()):.6g} in a batch and "
                    f"{float(single.detach()):.6g} alone; if that is meant, check it with per_sample=False"
                )

    def shapes_alone(self) -> None:
        where = f"{self.name}: on shapes alone (device meta)"
        logits, target = self.batch
        with (
            _ConstantsOnMeta(),
            _failing(where, "no .item(), no if on a tensor, no boolean indexing: use torch.where"),
        ):
            shape = self.loss(logits.to("meta"), target.to("meta")).shape
        if tuple(shape) != (self.number,):
            raise ContractError(f"{where}, returned shape {tuple(shape)}, not ({self.number},)")

    def wrong_targets(self) -> None:
        logits, target = self.batch
        for what, wrong in (
            ("13 targets", torch.cat([target, target[:1]])),
            ("11 targets", target[:-1]),
            ("targets of shape (12, 1)", target[:, None]),
            ("targets of shape (1,)", target[:1]),
        ):
            if not _raises(self.loss, logits, wrong):
                raise ContractError(f"{self.name}: accepts {what} for 12 samples; compare shapes and raise an error")

    def wrong_counts(self) -> None:
        assert isinstance(self.loss, functools.partial)  # the check is yielded for nothing else
        classes = self._logits.shape[1]
        for number in (1, classes - 1, classes + 1):
            other = functools.partial(self.loss, counts=torch.full((number,), 10))
            if not _raises(other, *self.batch):
                raise ContractError(
                    f"{self.name}: accepts counts of {number} classes for logits of {classes}; compare lengths and "
                    f"raise an error (longtail.counts.as_counts does)"
                )


# --- samplers ---------------------------------------------------------------------------------------------------------


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
        self.factory, self.name, self.epochs = factory, _name(factory), epochs
        if target is None:
            counts = torch.tensor([60, 25, 11, 0, 5, 2, 1])
            mixed = torch.randperm(int(counts.sum()), generator=torch.Generator().manual_seed(0))
            target = torch.arange(7).repeat_interleave(counts)[mixed]
        self._target = target

    def make(self, seed: int, target: Tensor | None = None, **options: int) -> tuple[Any, torch.Generator]:
        target = self._target.clone() if target is None else target
        generator = torch.Generator(device=target.device).manual_seed(seed)
        with _failing(f"{self.name}: construction", "a factory is called as factory(target, generator=generator)"):
            return self.factory(target, generator=generator, **options), generator

    def epoch(self, sampler: Sampler) -> list[Any]:
        with _failing(f"{self.name}: iteration", "a sampler is iterated once for each epoch"):
            return list(sampler)

    def indices(self) -> None:
        sampler, _ = self.make(0)
        for _ in range(self.epochs):
            _check_indices(self.name, self.epoch(sampler), sampler, len(self._target))

    def global_generator(self) -> None:
        with _global_generator_untouched(self.name):
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
        with _failing(
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


# --- data sets --------------------------------------------------------------------------------------------------------


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


# --- objectives and models --------------------------------------------------------------------------------------------


def check_objective(
    objective: Callable[[Any, Any], Tensor], *, num_classes: int = 5, views: int = 1, model: nn.Module | None = None
) -> None:
    """Check an objective ``(model, batch) -> (N,)``: run all of :func:`objective_checks`.

    Args:
        objective: built for ``num_classes`` classes and for features as wide as those of ``model``.
        num_classes: K of the small network that stands in for the model, and of the targets.
        views: how many views of each image the batch holds: 2 for a contrastive objective.
        model: a network to use instead of the small one, which has features (N, 6); it takes images of 3 x 8 x 8.

    Raises:
        ContractError: naming the first thing that is wrong.

    Example:
        >>> def objective(model, batch):
        ...     return torch.nn.functional.cross_entropy(model(batch.images).logits, batch.target, reduction="none")
        >>> check_objective(objective)
    """
    for check in objective_checks(objective, num_classes=num_classes, views=views, model=model):
        check()


def objective_checks(
    objective: Callable[[Any, Any], Tensor], *, num_classes: int = 5, views: int = 1, model: nn.Module | None = None
) -> Iterator[Check]:
    """Yield the promises of an objective ``(model, batch) -> (N,)``.

    It returns one finite float value for each image; sends a gradient into the model; and leaves the batch and the
    global random state alone. ``model(images)`` returns ``.features`` and ``.logits``; ``model.features(images)`` and
    ``model.levels(images)`` are there as well. ``batch`` has ``images`` (N, C, H, W), or (V, N, C, H, W) with several
    views, ``target`` (N,) and ``index`` (N,).

    Args:
        objective: built for ``num_classes`` classes and for features as wide as those of ``model``.
        num_classes: K of the small network that stands in for the model, and of the targets.
        views: how many views of each image the batch holds: 2 for a contrastive objective.
        model: a network to use instead of the small one, which has features (N, 6); it takes images of 3 x 8 x 8.

    Yields:
        Checks, to be called in any order.

    Example:
        >>> def objective(model, batch):
        ...     return torch.nn.functional.cross_entropy(model(batch.images).logits, batch.target, reduction="none")
        >>> print(next(objective_checks(objective)))
        objective returns one finite value for each image
    """
    probe = _ObjectiveProbe(objective, num_classes, views, model)
    promises = {
        "returns one finite value for each image": probe.values,
        "sends a gradient into the model": probe.gradient,
        "leaves the batch alone": probe.batch_alone,
        "draws nothing from the global generator": probe.global_generator,
    }
    for promise, run in promises.items():
        yield Check(probe.name, promise, run)


@dataclasses.dataclass
class _Batch:
    images: Tensor
    target: Tensor
    index: Tensor

    def whole(self) -> Tensor:
        return self.images

    def own(self, images: Tensor) -> Tensor:
        return images


@dataclasses.dataclass
class _Output:
    features: Tensor
    logits: Tensor


class _SmallNetwork(nn.Module):
    """Features (N, 6) of images of three channels, with a linear head."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.first = nn.Parameter(torch.randn(6, 3, 3, 3, generator=generator) / 5)
        self.head = nn.Parameter(torch.randn(num_classes, 6, generator=generator))

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        return (nn.functional.conv2d(images, self.first).relu().mean(dim=(2, 3)),)

    def features(self, images: Tensor) -> Tensor:
        return self.levels(images)[-1]

    def forward(self, images: Tensor) -> _Output:
        features = self.features(images)
        return _Output(features, features @ self.head.T)


class _ObjectiveProbe:
    """The model and batch that an objective is checked on, and a method for each promise."""

    def __init__(
        self, objective: Callable[[Any, Any], Tensor], num_classes: int, views: int, model: nn.Module | None
    ) -> None:
        self.objective, self.name = objective, _name(objective)
        self.model = _SmallNetwork(num_classes) if model is None else model
        generator = torch.Generator().manual_seed(20210407)
        self.number = 12
        shape = (self.number, 3, 8, 8) if views == 1 else (views, self.number, 3, 8, 8)
        self._images = torch.randn(shape, generator=generator)
        self._target = torch.arange(self.number) % num_classes

    def batch(self) -> _Batch:
        return _Batch(self._images.clone(), self._target.clone(), torch.arange(self.number))

    def call(self, batch: _Batch) -> Tensor:
        with _failing(f"{self.name}: on {self.number} images", "an objective is called as objective(model, batch)"):
            value = self.objective(self.model, batch)
        if not isinstance(value, Tensor) or tuple(value.shape) != (self.number,):
            found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ContractError(
                f"{self.name}: returned {found} for {self.number} images; return one value for each, ({self.number},), "
                f"and leave the mean to the caller"
            )
        return value

    def values(self) -> None:
        value = self.call(self.batch())
        if not value.is_floating_point() or not bool(torch.isfinite(value.detach()).all()):
            raise ContractError(f"{self.name}: a value of {value.detach().tolist()[:3]} ... is not a finite number")

    def gradient(self) -> None:
        value = self.call(self.batch())
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        found: tuple[Tensor | None, ...] = ()
        if value.requires_grad:
            found = torch.autograd.grad(value.sum(), parameters, allow_unused=True)
        if not any(gradient is not None and bool(gradient.any()) for gradient in found):
            raise ContractError(f"{self.name}: no gradient reaches the model; use what model(batch.images) returns")
        if not all(gradient is None or bool(torch.isfinite(gradient).all()) for gradient in found):
            raise ContractError(f"{self.name}: the gradient in the model is not finite")

    def batch_alone(self) -> None:
        batch = self.batch()
        self.call(batch)
        if not (torch.equal(batch.images, self._images) and torch.equal(batch.target, self._target)):
            raise ContractError(f"{self.name}: changes the batch in place; work on a copy")

    def global_generator(self) -> None:
        with _global_generator_untouched(self.name):
            self.call(self.batch())


def check_model(model: nn.Module, *, num_classes: int, image: tuple[int, int, int] = (3, 32, 32)) -> None:
    """Check a network that returns ``.features`` and ``.logits``: run all of :func:`model_checks`.

    Args:
        model: the network.
        num_classes: number of classes, K.
        image: (C, H, W) of the images it takes.

    Raises:
        ContractError: naming the first thing that is wrong.

    Example:
        >>> check_model(_SmallNetwork(4), num_classes=4)  # any network with features and logits
    """
    for check in model_checks(model, num_classes=num_classes, image=image):
        check()


def model_checks(model: nn.Module, *, num_classes: int, image: tuple[int, int, int] = (3, 32, 32)) -> Iterator[Check]:
    """Yield the promises of a network: a ``torch.nn.Module`` that maps images to ``.features`` and ``.logits``.

    Features are (N, D) and logits (N, K), finite float32; in eval mode an image has the same logits alone as in a
    batch, at every call, and after ``load_state_dict`` of its own state; every parameter gets a gradient; the images
    and the global random state are left alone.

    Args:
        model: the network; its mode, training or eval, is as before afterwards.
        num_classes: number of classes, K.
        image: (C, H, W) of the images it takes.

    Yields:
        Checks, to be called in any order.

    Example:
        >>> print(next(model_checks(_SmallNetwork(4), num_classes=4)))
        _SmallNetwork returns features and logits
    """
    probe = _ModelProbe(model, num_classes, image)
    promises = {
        "returns features and logits": probe.outputs,
        "leaves the images alone": probe.images_alone,
        "judges each image alone": probe.alone,
        "gives the same logits at every call": probe.repeated,
        "is its stored state": probe.state,
        "trains every parameter": probe.gradient,
        "draws nothing from the global generator": probe.global_generator,
    }
    for promise, run in promises.items():
        yield Check(probe.name, promise, run)


class _ModelProbe:
    """The images that a network is checked on, and a method for each promise."""

    def __init__(self, model: nn.Module, num_classes: int, image: tuple[int, int, int]) -> None:
        self.model, self.name, self.num_classes = model, _name(model), num_classes
        self._images = torch.randn(4, *image, generator=torch.Generator().manual_seed(20210407))

    def call(self, images: Tensor, *, training: bool = False, model: nn.Module | None = None) -> Any:
        model = self.model if model is None else model
        before = model.training
        model.train(training)
        try:
            with _failing(f"{self.name}: on images {tuple(images.shape)}", "a model is called as model(images)"):
                output = model(images)
                features, logits = output.features, output.logits
        finally:
            model.train(before)
        number = len(images)
        if features.ndim != 2 or len(features) != number or tuple(logits.shape) != (number, self.num_classes):
            raise ContractError(
                f"{self.name}: features {tuple(features.shape)} and logits {tuple(logits.shape)} for {number} images; "
                f"they are ({number}, D) and ({number}, {self.num_classes})"
            )
        return output

    def outputs(self) -> None:
        output = self.call(self._images.clone())
        for what, values in (("features", output.features), ("logits", output.logits)):
            if values.dtype != torch.float32 or not bool(torch.isfinite(values.detach()).all()):
                raise ContractError(f"{self.name}: {what} are {values.dtype} and not all finite float32 numbers")

    def alone(self) -> None:
        together = self.call(self._images.clone()).logits
        for i in range(len(self._images)):
            single = self.call(self._images[i : i + 1].clone()).logits
            if not torch.allclose(single[0], together[i], rtol=1e-3, atol=1e-4):
                raise ContractError(
                    f"{self.name}: in eval mode, image {i} has other logits alone than in a batch, by up to "
                    f"{float((single[0] - together[i]).detach().abs().max()):.2g}; use stored statistics"
                )

    def repeated(self) -> None:
        first, second = (self.call(self._images.clone()).logits for _ in range(2))
        if not torch.equal(first, second):
            raise ContractError(f"{self.name}: in eval mode, two calls on the same images differ")

    def state(self) -> None:
        expected = self.call(self._images.clone()).logits
        other = copy.deepcopy(self.model)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        with _failing(f"{self.name}: load_state_dict", "a network loads what its state_dict holds"):
            other.load_state_dict(self.model.state_dict())
        if not torch.equal(self.call(self._images.clone(), model=other).logits, expected):
            raise ContractError(
                f"{self.name}: has other logits once its state_dict is loaded; register what it keeps as parameter or "
                f"buffer"
            )

    def gradient(self) -> None:
        model = copy.deepcopy(self.model)
        logits = self.call(self._images.clone(), training=True, model=model).logits
        with _failing(f"{self.name}: backward", "the logits need a graph from the parameters"):
            logits.square().sum().backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and parameter.grad is None:
                raise ContractError(
                    f"{self.name}: parameter {name} gets no gradient from the logits; leave it out or freeze it"
                )

    def images_alone(self) -> None:
        images = self._images.clone()
        self.call(images)
        if not torch.equal(images, self._images):
            raise ContractError(f"{self.name}: changes the images in place; work on a copy")

    def global_generator(self) -> None:
        with _global_generator_untouched(self.name):
            self.call(self._images.clone())


# --- what the checks share --------------------------------------------------------------------------------------------


def check_recipe(recipe: Any, data: Any = None, **options: Any) -> None:
    """Check a recipe or a method of your own before you compare it.

    Args:
        recipe: what ``longtail.recipe`` takes: a name, a function from a protocol to a recipe, a loss, or a recipe.
        data: a data set; scikit-learn's digits if None.
        options: options of ``longtail.recipe``; one epoch if they name none.

    Raises:
        ContractError: a promise of ``recipe_checks`` that it does not keep.

    Example:
        >>> check_recipe("ce")
    """
    for check in recipe_checks(recipe, data, **options):
        check()


def recipe_checks(recipe: Any, data: Any = None, **options: Any) -> Iterator[Check]:
    """Yield the promises of a recipe: it is what its record says, and the same numbers come out of the same seed.

    Args:
        recipe: what ``longtail.recipe`` takes.
        data: a data set; scikit-learn's digits if None.
        options: options of ``longtail.recipe``; one epoch if they name none.

    Yields:
        Checks, to be called in any order.

    Example:
        >>> [check.promise for check in recipe_checks("ce")][:2]
        ['is the same every time', 'survives its own record']
    """
    probe = _RecipeProbe(recipe, data, {"epochs": 1, **options})
    promises = {
        "is the same every time": probe.repeated,
        "survives its own record": probe.stored,
        "holds parts that are known by name or source": probe.known,
        "trains to a record that re-scores": probe.trained,
        "gives the same numbers from the same seed": probe.reproduced,
    }
    for promise, run in promises.items():
        yield Check(probe.name, promise, run)


class _RecipeProbe:
    """The recipe that is checked, and a method for each promise."""

    def __init__(self, recipe: Any, data: Any, options: dict[str, Any]) -> None:
        self._asked, self._data, self._options = recipe, data, options
        self.name = recipe if isinstance(recipe, str) else getattr(recipe, "name", _name(recipe))

    @functools.cached_property
    def data(self) -> Any:
        from longtail.data import load

        return load("digits-lt", imbalance=20) if self._data is None else self._data

    def made(self) -> Any:
        from longtail.methods import recipe

        return recipe(self._asked, self.data, **self._options)

    def repeated(self) -> None:
        if self.made() != self.made():
            raise ContractError(f"{self.name}: two calls gave different recipes; let it depend on its arguments alone")

    def stored(self) -> None:
        from longtail.recipes.part import plain
        from longtail.recipes.stages import stored_recipe

        made = self.made()
        if stored_recipe(json.loads(json.dumps(plain(made)))) != made:
            raise ContractError(
                f"{self.name}: what its record says is another recipe; hold numbers, texts and parts only"
            )

    def known(self) -> None:
        from longtail.recipes import sources
        from longtail.recipes.part import parts_in

        for held in parts_in(self.made()):
            if not held.foreign:
                sources.ours(held.name)

    def numbers(self) -> tuple[Any, Any]:
        from longtail.training.audit import rescore
        from longtail.training.compute import Compute
        from longtail.training.run import train

        compute = Compute("cpu", "float32", compiled=False)
        with tempfile.TemporaryDirectory() as folder:
            record = train(self.made(), self.data, seed=0, out=folder, compute=compute)
            report = rescore(folder, self.data)
        losses = [row["loss"] for row in record.history]
        if not all(map(math.isfinite, losses)):
            raise ContractError(f"{self.name}: its losses are {losses}; they must be finite")
        return losses, report.to_json()

    def trained(self) -> None:
        self.numbers()

    def reproduced(self) -> None:
        first, again = self.numbers(), self.numbers()
        if first != again:
            raise ContractError(
                f"{self.name}: the same seed gave other numbers; draw from the generator that training hands over"
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
    with _failing(f"{name}: draw()", "draw() takes no argument and returns the next epoch"):
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


def _raises(function: Callable[..., Any], *arguments: Any) -> bool:
    try:
        function(*arguments)
    except Exception:
        return True
    return False


def _parameters(function: Any) -> tuple[str, ...]:
    """Names of the arguments that can still be given."""
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # written in C
        return ()


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


@contextlib.contextmanager
def _failing(where: str, right: str) -> Iterator[None]:
    """Turns any error of the code under test into a line that says where it was and what would be right."""
    try:
        yield
    except ContractError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ContractError(f"{where}: raised {type(error).__name__} ({reason[:200]}); {right}") from error


@contextlib.contextmanager
def _global_generator_untouched(name: str) -> Iterator[None]:
    before = torch.get_rng_state()
    yield
    if not torch.equal(torch.get_rng_state(), before):
        raise ContractError(f"{name}: draws from the global generator; take a torch.Generator and draw from that")


def _check_values(name: str, what: str, value: Any, logits: Tensor) -> None:
    """One finite value per sample, in the type of the logits; float32 is allowed for those of half precision."""
    number = len(logits)
    if not isinstance(value, Tensor):
        raise ContractError(f"{name}: on {what}, returned {type(value).__name__}, not a tensor ({number},)")
    if value.ndim == 0:
        raise ContractError(
            f"{name}: returned a scalar for {number} samples; return one value for each, ({number},), and leave the "
            f"mean to the caller"
        )
    if tuple(value.shape) != (number,):
        raise ContractError(f"{name}: on {what}, returned shape {tuple(value.shape)}, not ({number},)")
    allowed = {logits.dtype, torch.float32} if logits.dtype == torch.bfloat16 else {logits.dtype}
    if value.dtype not in allowed:
        raise ContractError(f"{name}: on {what}, returned {value.dtype}; keep the type of the logits, {logits.dtype}")
    bad = (~torch.isfinite(value.detach())).nonzero()
    if len(bad):
        raise ContractError(f"{name}: on {what}, the loss of sample {int(bad[0])} is {float(value[bad[0]].detach())}")


class _ConstantsOnMeta(TorchFunctionMode):
    """Moves every tensor that meets one on the meta device there: counts that a loss holds are on the processor."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return func(*_on_meta(args), **_on_meta(kwargs or {}))


def _on_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to("meta")
    if isinstance(value, dict):
        return {key: _on_meta(item) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_on_meta(item) for item in value)
    return value
