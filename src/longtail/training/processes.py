"""One run in several processes, as ``torchrun`` starts them: they divide every batch, and together are one run.

Each process runs the network on its own part of a batch. The features are then gathered, so that in every process
classifier and loss see the whole batch: whatever a loss compares, counts or averages over, it is what it is in one
process. A gathered feature has a gradient from the loss of every process; these are summed, and the gradients of the
weights averaged, so that each weight gets the gradient of the one loss.

Orders and subsets are drawn by the first process and handed to the others. Only the first process writes files.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import datetime
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from longtail.errors import InputError
from longtail.recipes.contract import Share

Result = TypeVar("Result")

PATIENCE = datetime.timedelta(days=1)
"""How long a process waits for the others, such as for the first one while that waits for a lock. One that has ended
is noticed at once."""
LAST_SECONDS = 20.0
"""How long the first process stays for the others, once a run has ended with an error and it keeps their count."""
ENDED = "longtail/ended"
"""Name of the count of processes that have ended."""
FEWEST = 2
"""Images that each process must have of a batch, as batch norm needs two; a smaller batch every process takes whole."""


class ProcessError(InputError):
    """An error of one of several processes; ``aloud`` where this is the process that says it."""

    def __init__(self, message: str, *, aloud: bool) -> None:
        super().__init__(message)
        self.aloud = aloud


@dataclasses.dataclass(frozen=True)
class Ranks:
    """The processes of a run, as one of them sees them. Every method but ``leads`` must be called by all of them.

    Args:
        rank: number of this process, from 0.
        size: how many there are.

    Example:
        >>> ALONE.leads, ALONE.first(lambda: 3)
        (True, 3)
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the first process, the one that writes files."""
        return self.rank == 0

    def first(self, function: Callable[[], Result]) -> Result:
        """Return what a function gives in the first process, where alone it is called; an ``InputError`` of it, too."""
        if self.size == 1:
            return function()
        found: list[Any] = [None, None]
        if self.leads:
            try:
                found[0] = function()
            except InputError as error:
                found[1] = str(error)
        _collective("broadcast_object_list", found)
        if found[1] is not None:
            raise InputError(found[1])
        result: Result = found[0]
        return result

    def each(self, value: Result) -> list[Result]:
        """Return what every process gives, in their order."""
        found: list[Any] = [None] * self.size
        _collective("all_gather_object", found, value)
        return found

    def copy(self, tensors: Iterable[Tensor]) -> None:
        """Give the tensors the values that they have in the first process, in place."""
        if self.size > 1:
            for tensor in tensors:
                _collective("broadcast", tensor.detach(), src=0)

    def gather(self, rows: Tensor, sizes: Sequence[int]) -> Tensor:
        """Return the rows (n, ...) of all processes in their order, of which there are as many as ``sizes`` says."""
        most, kind = max(sizes), rows.dtype
        half = kind in (torch.float16, torch.bfloat16)  # which not every backend sends
        padded = rows.new_zeros((most, *rows.shape[1:]), dtype=torch.float32 if half else kind)
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in range(self.size)]
        _collective("all_gather", found, padded)
        return torch.cat([held[:size] for held, size in zip(found, sizes, strict=True)]).to(kind)

    def average(self, weights: Iterable[Tensor]) -> None:
        """Average the gradients of weights over the processes, in one message."""
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if self.size == 1 or not gradients:
            return
        flat = torch.cat([held.reshape(-1) for held in gradients])
        _collective("all_reduce", flat)
        flat /= self.size
        parts = torch.split(flat, [held.numel() for held in gradients])
        for held, mean in zip(gradients, parts, strict=True):
            held.copy_(mean.view(held.shape))


ALONE = Ranks()
"""One process."""


def _collective(name: str, *arguments: Any, **options: Any) -> None:
    """Call a function of ``torch.distributed``; that another process has ended is an ``InputError``."""
    import torch.distributed

    try:
        getattr(torch.distributed, name)(*arguments, **options)
    except (RuntimeError, ConnectionError) as error:
        raise InputError(lost(error)) from error


def lost(reason: object = "") -> str:
    """Return what is to be said when a process has ended before the run has."""
    told = " ".join(str(reason).split())[:120]
    return (
        f"a process of this run ended or cannot be reached{f' ({told})' if told else ''}; what was trained is kept, "
        "and the same command goes on from the last checkpoint"
    )


def started() -> int:
    """Return how many processes were started for this run: 1 without ``torchrun``."""
    return max(1, _number("WORLD_SIZE", 1))


def beside() -> int:
    """Return how many of them run on this machine."""
    return max(1, _number("LOCAL_WORLD_SIZE", 1)) if started() > 1 else 1


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name) or str(otherwise)
    if not text.isdigit():
        raise InputError(f"the environment has {name}={text!r}: torchrun sets it to a whole number")
    return int(text)


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started, for as long as the context lasts; alone without it.

    Use it around ``longtail.train`` in a program that ``torchrun`` starts, and give what it yields as ``ranks``.

    Yields:
        The processes as this one sees them.

    Raises:
        InputError: no meeting point in the environment, or fewer GPUs than processes on this machine.
        ProcessError: in place of an ``InputError`` within; one of the processes says it aloud.

    Example:
        >>> with joined() as ranks:
        ...     ranks.size
        1
    """
    if started() == 1:
        yield ALONE
        return
    import torch.distributed

    backend = "gloo"
    if torch.cuda.is_available():
        place, devices = _number("LOCAL_RANK", 0), torch.cuda.device_count()
        if place >= devices:
            raise InputError(f"torchrun started more processes than this machine has GPUs ({devices})")
        torch.cuda.set_device(place)
        backend = "cpu:gloo,cuda:nccl"
    try:
        meeting: Any = getattr(torch.distributed, "rendezvous")  # noqa: B009 - public, and not in its list of names
        store, rank, size = next(meeting("env://", timeout=PATIENCE))
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"the processes did not find each other: {error}; start them with torchrun") from error
    ranks = Ranks(rank, size)
    try:
        with _told_to_end():
            yield ranks
            _collective("barrier")
    except InputError as error:
        raise ProcessError(str(error), aloud=_is_first_to_speak(store, ranks)) from error
    torch.distributed.destroy_process_group()


def _is_first_to_speak(store: Any, ranks: Ranks) -> bool:
    """Whether no other process has said why the run ends."""
    try:
        place = int(store.add(ENDED, 1))
    except RuntimeError:  # it was kept by a process that was killed
        return True
    if ranks.leads and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        # Without torchrun's agent the first process keeps the count, and the others must still be able to ask.
        atexit.register(_stay, store, ranks.size)
    return place == 1


def _stay(store: Any, size: int) -> None:
    until = time.monotonic() + LAST_SECONDS
    with contextlib.suppress(RuntimeError):
        while int(store.add(ENDED, 0)) < size and time.monotonic() < until:
            time.sleep(0.05)


@contextlib.contextmanager
def _told_to_end() -> Iterator[None]:
    """Meanwhile SIGTERM, which torchrun sends to the rest when a process has ended, is an error like others."""

    def end(number: int, frame: FrameType | None) -> None:
        raise InputError(lost())

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# A batch among the processes.


@dataclasses.dataclass(frozen=True)
class Division:
    """How a batch is divided: into pieces that follow one another, and each piece among the processes.

    Args:
        ranks: the processes.
        sizes: for each piece the images of each process; of one number where every process takes the piece whole.

    Example:
        >>> divided(9, 2, Ranks(1, 2)).sizes  # two pieces in two processes
        ((2, 2), (2, 3))
    """

    ranks: Ranks
    sizes: tuple[tuple[int, ...], ...]

    @property
    def own(self) -> list[slice]:
        """The places in the batch of this process's images, piece by piece."""
        found, start = [], 0
        for piece in self.sizes:
            before = 0 if len(piece) == 1 else sum(piece[: self.ranks.rank])
            size = piece[0] if len(piece) == 1 else piece[self.ranks.rank]
            found.append(slice(start + before, start + before + size))
            start += sum(piece)
        return found

    def taken(self, rows: Tensor) -> Tensor:
        """This process's rows of those (N, ...) of the batch."""
        return torch.cat([rows[place] for place in self.own])

    def share(self, piece: int) -> Share | None:
        """This process's part of a piece; None where it takes the piece whole."""
        sizes = self.sizes[piece]
        if len(sizes) == 1:
            return None
        return Share(self.ranks.rank, sizes, lambda rows: gathered(self.ranks, rows, sizes))

    def kept(self, own: Tensor) -> tuple[Division, Tensor, bool]:
        """What is left where some images could not be read.

        Args:
            own: (n,) bool, which of this process's images could be read.

        Returns:
            The division of the rest, which images of the batch those are (N,), and whether every process has as many of
            them as it needs.
        """
        everywhere = self.ranks.each(own.tolist())
        starts, sizes, left = [0] * self.ranks.size, [], list[bool]()
        for piece in self.sizes:
            now = []
            for rank, size in enumerate(piece):
                found = everywhere[rank][starts[rank] : starts[rank] + size]
                now.append(sum(found))
                left += found
            sizes.append(tuple(now))
            starts = [start + piece[rank if len(piece) > 1 else 0] for rank, start in enumerate(starts)]
        enough = all(min(piece) >= FEWEST for piece in sizes)
        return Division(self.ranks, tuple(sizes)), torch.tensor(left, dtype=torch.bool), enough


def divided(number: int, pieces: int, ranks: Ranks, *, whole: bool = False) -> Division:
    """Divide a batch by position, so that the pieces of a batch are as in one process.

    Args:
        number: images of the batch.
        pieces: in which it passes through the network, ``accumulate`` of its stage.
        ranks: the processes.
        whole: whether its images belong together, so that every process takes all of it.
    """
    if whole:
        return Division(ranks, ((number,),))
    sizes = []
    for first, last in ends(number, pieces):
        piece = last - first
        shares = [end - start for start, end in ends(piece, ranks.size)]
        sizes.append(tuple(shares) if min(shares) >= FEWEST and len(shares) == ranks.size else (piece,))
    return Division(ranks, tuple(sizes))


def ends(number: int, pieces: int) -> list[tuple[int, int]]:
    """Return beginning and end of each of so many pieces, as equal as can be; fewer where one would be below two.

    Example:
        >>> ends(7, 2), ends(3, 2), ends(1, 2)
        ([(0, 3), (3, 7)], [(0, 3)], [(0, 1)])
    """
    pieces = max(1, min(pieces, number // FEWEST))
    places = [number * place // pieces for place in range(pieces + 1)]
    return list(itertools.pairwise(places))


def gathered(ranks: Ranks, rows: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Return the rows (n, ...) of all processes in their order, with a gradient for each process's own."""
    found: Tensor = _Gathered.apply(rows, ranks, sizes)
    return found


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor, ranks: Ranks, sizes: tuple[int, ...]) -> Tensor:
        context.place = slice(sum(sizes[: ranks.rank]), sum(sizes[: ranks.rank + 1]))
        return ranks.gather(rows, sizes)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # Every process has a loss of the rows of all: their gradients add up. The average over processes comes later.
        (gradient,) = gradients
        return _total(gradient)[context.place], None, None


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        return _total(value)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        return _total(gradient)


def _total(value: Tensor) -> Tensor:
    """The sum over processes, in float32 at least."""
    wide = value.detach().to(torch.promote_types(value.dtype, torch.float32)).contiguous().clone()
    _collective("all_reduce", wide)
    return wide.to(value.dtype)


# What in a network looks at the whole batch, or draws at random.


def normalising(network: nn.Module) -> list[_BatchNorm]:
    """Return the layers of batch normalisation of a module."""
    return [held for held in network.modules() if isinstance(held, _BatchNorm)]


def draws(network: nn.Module) -> bool:
    """Return whether a layer draws at random in training: dropout, or the stochastic depth of timm."""
    for held in network.modules():
        if isinstance(held, nn.modules.dropout._DropoutNd) and held.p > 0:
            return True
        if type(held).__name__ == "DropPath" and float(getattr(held, "drop_prob", 0.0) or 0.0) > 0:
            return True
    return False


@dataclasses.dataclass
class Together:
    """Whether synchronised layers work together now: not where every process takes a batch whole."""

    on: bool = True


def synchronise(network: nn.Module) -> Together:
    """Replace batch normalisation by layers that normalise over all processes, with the same weights and names.

    PyTorch's own ``SyncBatchNorm`` works on GPUs alone.

    Args:
        network: changed in place.

    Returns:
        The switch of all the layers.
    """
    together = Together()
    for module in list(network.modules()):
        for name, held in list(module.named_children()):
            if isinstance(held, _BatchNorm):
                setattr(module, name, Synchronised(held, together))
    return together


class Synchronised(_BatchNorm):
    """Batch normalisation over the images of all processes."""

    def __init__(self, plain: _BatchNorm, together: Together) -> None:
        super().__init__(plain.num_features, plain.eps, plain.momentum, plain.affine, plain.track_running_stats)
        self.weight, self.bias = plain.weight, plain.bias
        for name, held in plain.named_buffers(recurse=False):
            setattr(self, name, held)
        self.train(plain.training)
        self.together = together

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of positions after (N, C)."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, ...) over the images of all processes, and their positions."""
        if not (self.training and self.together.on) or input.device.type == "meta":  # where a network is measured
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            wide = input.to(torch.promote_types(input.dtype, torch.float32))
            over = [axis for axis in range(input.ndim) if axis != 1]
            shape = [1, -1, *[1] * (input.ndim - 2)]
            rows = wide.new_full((1,), input.numel() // input.shape[1])
            sums: Tensor = _Summed.apply(torch.cat([wide.sum(over), rows]))
            number = sums[-1].detach()
            mean = sums[:-1] / number
            centred = wide - mean.view(shape)
            squares: Tensor = _Summed.apply(centred.square().sum(over))
            variance = squares / number
            with torch.no_grad():
                self._move(mean, variance * number / (number - 1))
            normal = centred * torch.rsqrt(variance + self.eps).view(shape)
            if self.affine:
                normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)

    def _move(self, mean: Tensor, variance: Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None  # it comes with the others
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


class Statistics:
    """The running statistics of layers that each process normalises for itself, kept alike in all processes.

    They move as in one process that takes the parts one after the other, as with ``accumulate``.

    Args:
        layers: of batch normalisation, in a network that is alike in all processes.
        ranks: the processes.
    """

    def __init__(self, layers: Sequence[_BatchNorm], ranks: Ranks) -> None:
        self._ranks = ranks
        self._layers = [held for held in layers if held.running_mean is not None and held.momentum is not None]
        self._before: Tensor | None = None

    def _all(self) -> list[Tensor]:
        return [held for layer in self._layers for held in (layer.running_mean, layer.running_var) if held is not None]

    def remember(self) -> None:
        """Keep the statistics as they are before a batch."""
        moving = self._layers and self._layers[0].training
        self._before = torch.cat([held.reshape(-1) for held in self._all()]) if moving else None

    def merge(self) -> None:
        """Let the statistics move by the batches of all processes, after each has moved its own."""
        before = self._before
        if before is None:
            return
        own = self._all()
        share = torch.cat(
            [
                torch.full_like(held, float(layer.momentum or 0.0))
                for layer in self._layers
                for held in (layer.running_mean, layer.running_var)
                if held is not None
            ]
        )
        moved = torch.cat([held.reshape(-1) for held in own])
        merged = before
        for other in self._ranks.gather(moved[None], [1] * self._ranks.size):
            merged = (1 - share) * merged + (other - (1 - share) * before)
        for held, value in zip(own, torch.split(merged, [held.numel() for held in own]), strict=True):
            held.copy_(value)
