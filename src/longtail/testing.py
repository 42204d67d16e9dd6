"""The contract in executable form: checks of a loss, a sampler and a data set, for this library and for yours.

Each check returns nothing if all is well and otherwise raises a ``ContractError``, an ``AssertionError`` of one line
that says what is wrong, on what input, and what would be right. They fit into any test suite::

    def test_my_loss():
        check_loss(my_loss)
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader, TensorDataset


class ContractError(AssertionError):
    """A loss, a sampler or a data set does not keep the contract; the message is one line."""


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


def check_loss(
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    num_classes: int = 5,
    width: int | None = None,
    per_sample: bool = True,
) -> None:
    """Checks a loss ``(logits (N, K), target (N,)) -> (N,)``.

    It returns one value per sample in the type of the logits, unreduced; is finite, also for logits in the thousands
    and for a batch of one, and so is its gradient, which is not zero everywhere; does the same whatever the order of
    the batch and whenever it is called; leaves its input and the global random state alone; works on shapes alone
    (device ``meta``), which shows that it never waits for the values on an accelerator; and refuses targets that do
    not fit the logits.

    Args:
        loss: bind further arguments first, as in ``functools.partial(balanced_softmax, counts=counts)``.
        num_classes: K, and the classes of the targets.
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
    name = _name(loss)
    generator = torch.Generator().manual_seed(20210407)
    number = 12
    logits = torch.randn(number, width or num_classes, generator=generator)
    target = torch.randint(num_classes, (number,), generator=generator)
    before = logits.clone(), target.clone()

    def call(what: str, logits: Tensor, target: Tensor) -> Tensor:
        with _failing(f"{name}: on {what}", "a loss takes logits (N, K) and target (N,) and returns (N,)"):
            value = loss(logits, target)
        _check_values(name, what, value, logits)
        return value

    with _global_generator_untouched(name):
        value = call("a plain batch", logits, target)
    if not (torch.equal(before[0], logits) and torch.equal(before[1], target)):
        raise ContractError(f"{name}: changes its input in place; work on a copy")
    if not torch.equal(call("the same batch again", logits, target), value):
        raise ContractError(f"{name}: two calls on one batch differ; a loss keeps no state (randomness: a generator)")
    call("float64 logits", logits.double(), target)
    call("bfloat16 logits", logits.bfloat16(), target)
    call("a batch of one class", logits, torch.zeros_like(target))
    call("a batch of one sample", logits[:1], target[:1])

    for what, batch in (("a plain batch", logits), ("logits in the thousands", 3e3 * logits)):
        leaf = batch.clone().requires_grad_()
        value = call(what, leaf, target)
        if not value.requires_grad:
            raise ContractError(f"{name}: on {what}, no gradient flows to the logits; do not detach or round them")
        (gradient,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
        if gradient is None or (batch is logits and not bool(gradient.any())):
            raise ContractError(f"{name}: on {what}, the gradient is zero everywhere; the loss does not use the logits")
        if not bool(torch.isfinite(gradient).all()):
            raise ContractError(
                f"{name}: on {what}, the gradient is not finite; use log_softmax, logsumexp or softplus, and clamp "
                f"under a square root"
            )

    exact = logits.double()
    value = call("float64 logits", exact, target)
    order = torch.randperm(number, generator=generator)
    shuffled = call("a shuffled batch", exact[order], target[order])
    if not torch.allclose(shuffled, value[order], rtol=1e-9, atol=1e-9):
        raise ContractError(
            f"{name}: shuffling the batch changes the values of its samples by up to "
            f"{float((shuffled - value[order]).detach().abs().max()):.2g}; each must follow its sample"
        )
    if per_sample:
        for i in range(number):
            alone = call("a batch of one sample", exact[i : i + 1], target[i : i + 1])
            if not torch.allclose(alone, value[i : i + 1], rtol=1e-9, atol=1e-9):
                raise ContractError(
                    f"{name}: sample {i} has the loss {float(value[i].detach()):.6g} in a batch and "
                    f"{float(alone.detach()):.6g} alone; if that is meant, check it with per_sample=False"
                )

    with (
        _ConstantsOnMeta(),
        _failing(
            f"{name}: on shapes alone (device meta)",
            "no .item(), no if on a tensor, no boolean indexing: use torch.where",
        ),
    ):
        shape = loss(logits.to("meta"), target.to("meta")).shape
    if tuple(shape) != (number,):
        raise ContractError(f"{name}: on shapes alone (device meta), returned shape {tuple(shape)}, not ({number},)")

    for what, batch, wrong in (
        ("13 targets", logits, torch.cat([target, target[:1]])),
        ("11 targets", logits, target[:-1]),
        ("targets of shape (12, 1)", logits, target[:, None]),
        ("targets of shape (1,)", logits, target[:1]),
    ):
        if not _raises(loss, batch, wrong):
            raise ContractError(f"{name}: accepts {what} for 12 samples; compare shapes and raise an error")


def check_sampler(factory: SamplerFactory, *, target: Tensor | None = None, epochs: int = 3) -> None:
    """Checks a sampler: an iterable of indices with a length, whose randomness is its generator.

    It yields as many Python ints as its length says, each the position of a target; ``draw()``, if it has one, gives
    the same epoch as a tensor on the device of the targets; equal generators give equal epochs, other generators and
    later epochs others; and the stored state of the generator (with ``state_dict`` where the sampler has one) is enough
    to go on as if nothing had happened. The global random state has no part in it, and a ``DataLoader`` takes it.

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
    name = _name(factory)
    if target is None:
        counts = torch.tensor([60, 25, 11, 0, 5, 2, 1])
        mixed = torch.randperm(int(counts.sum()), generator=torch.Generator().manual_seed(0))
        target = torch.arange(7).repeat_interleave(counts)[mixed]
    before = target.clone()

    def make(seed: int) -> tuple[Sampler, torch.Generator]:
        generator = torch.Generator(device=target.device).manual_seed(seed)
        with _failing(f"{name}: construction", "a factory is called as factory(target, generator=generator)"):
            return factory(target, generator=generator), generator

    def epoch(sampler: Sampler) -> list[Any]:
        with _failing(f"{name}: iteration", "a sampler is iterated once for each epoch"):
            return list(sampler)

    with _global_generator_untouched(name):
        sampler, generator = make(0)
        first = epoch(sampler)
        state, stored = generator.get_state(), _state_of(sampler)
        following = [epoch(sampler) for _ in range(epochs - 1)]

    for index in (first, *following):
        _check_indices(name, index, sampler, len(target))
    if not torch.equal(target, before):
        raise ContractError(f"{name}: changes the targets in place; work on a copy")
    _check_draw(name, make, first, target)

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        again = epoch(make(0)[0])
    if again != first:
        raise ContractError(f"{name}: equal generators give different epochs; draw everything from the generator")
    if any(epoch(make(seed)[0]) == first for seed in (1, 2)):
        raise ContractError(f"{name}: another seed gives the same epoch; draw from the generator that it is given")
    if first in following:
        raise ContractError(f"{name}: a later epoch repeats the first; draw anew at every __iter__")

    resumed, generator = make(3)
    epoch(resumed)  # whatever it has left over from an epoch of its own must not matter
    generator.set_state(state)
    if stored is not None:
        resumed.load_state_dict(stored)  # type: ignore[attr-defined]
    if [epoch(resumed) for _ in following] != following:
        raise ContractError(
            f"{name}: does not go on where it was once the state of its generator is restored; keep nothing between "
            f"epochs, or give it state_dict() and load_state_dict()"
        )

    size = getattr(make(0)[0], "batch_size", 4)
    if type(size) is not int or size < 1:
        raise ContractError(f"{name}: batch_size is {size!r}, not a whole number of at least 1")
    with _failing(f"{name}: in a DataLoader", "torch.utils.data.DataLoader(dataset, batch_size, sampler=sampler)"):
        loader: DataLoader[Any] = DataLoader(
            TensorDataset(torch.arange(len(target))), batch_size=size, sampler=make(0)[0], generator=torch.Generator()
        )
        loaded = torch.cat([batch for (batch,) in loader]).tolist()
    if loaded != first:
        raise ContractError(f"{name}: a DataLoader sees other indices than list(sampler)")


def check_dataset(data: Any) -> None:
    """Checks a data set as ``longtail.data.load`` returns them.

    ``train``, ``test`` and ``validation`` (or None) hold equally many uint8 images (N, C, H, W), int64 targets and
    int64 ids; images are alike in channels and size; targets are classes that have names; ``counts`` are those of the
    training targets and every class has images; no image is in two of the splits; ``mean`` and ``std`` are of the
    channels and usable; the fingerprint is there.

    Args:
        data: the data set.

    Raises:
        ContractError: naming the first thing that is wrong.
    """
    name = str(getattr(data, "name", type(data).__name__))
    fields = (
        "name train test validation counts class_names fingerprint imbalance split_seed many few mean std num_classes"
    )
    for field in fields.split():
        if not hasattr(data, field):
            raise ContractError(f"{name}: has no field {field!r}; a data set has {fields}")
    splits = {part: getattr(data, part) for part in ("train", "test", "validation")}
    if splits["validation"] is None:
        del splits["validation"]

    classes = len(data.class_names)
    if data.num_classes != classes or len(set(data.class_names)) != classes:
        raise ContractError(
            f"{name}: {data.num_classes} classes but {len(set(data.class_names))} different names; they must agree"
        )
    for part, split in splits.items():
        _check_split(f"{name}: {part}", split, classes, data.train)

    counts, found = data.counts, torch.bincount(data.train.target, minlength=classes)
    if not isinstance(counts, Tensor) or counts.dtype != torch.int64 or not torch.equal(counts.cpu(), found.cpu()):
        shown = counts.tolist() if isinstance(counts, Tensor) else counts
        raise ContractError(
            f"{name}: counts are {shown}, the int64 counts of the training targets are {found.tolist()}"
        )
    if int(found.min()) == 0:
        empty = data.class_names[int(found.argmin())]
        raise ContractError(f"{name}: class {empty!r} has no training image; leave it out or give it one")

    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if one in splits and other in splits:
            _check_apart(name, one, splits[one], other, splits[other])

    channels = data.train.images.shape[1]
    for field in ("mean", "std"):
        numbers = getattr(data, field)
        within = len(numbers) == channels and all(math.isfinite(number) and 0 <= number <= 1 for number in numbers)
        if not within or (field == "std" and min(numbers) <= 0):
            raise ContractError(f"{name}: {field} is {numbers}; one number in [0, 1] for each of {channels} channels")
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
    name: str, make: Callable[[int], tuple[Sampler, torch.Generator]], first: list[int], target: Tensor
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
