"""A step recorded once and replayed: on a GPU, one call launches the whole step.

A small network leaves a GPU waiting for Python: the kernels of a step take less time than their launches. A CUDA graph
holds the launches of augmentation, forward pass, backward pass and update with all their addresses; replaying it costs
one launch. What it cannot hold is Python: whatever depends on a value in Python is what it was when recorded.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from longtail.training.step import Step

Record = Callable[[Callable[[], None], Sequence[torch.Generator]], Callable[[], None]]
"""Takes a function and the generators it draws from; returns a replay of it. Recording does not run the function."""

WARM_UP = 3
"""Steps taken as they are before one is recorded: libraries choose their algorithms, tables reach the device and
momentum comes into being in the first ones."""


def recorder(device: str) -> Record | None:
    """What records on this device; None where nothing does."""
    return cuda_graph if device == "cuda" else None


def cuda_graph(function: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], None]:
    """The kernels that ``function`` launches, as one CUDA graph; its generators go on drawing from replay to replay."""
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        function()
    return graph.replay


class Recorded:
    """A step that is recorded after a few, and replayed from then on; for use in its place.

    Batches of another size are taken as they are. The numbers are those of the plain step.

    Args:
        step: to be recorded.
        generators: random generators that the step draws from.
        record: see ``recorder``.
    """

    def __init__(self, step: Step, generators: Sequence[torch.Generator], record: Record) -> None:
        self._step, self._generators = step, tuple(generators)
        self._record: Record | None = record
        self._index = torch.zeros(step.size, dtype=torch.int64, device=step.data.train.target.device)
        self._taken = 0
        self._replay: Callable[[], None] | None = None

    def forget(self) -> None:
        """Record anew: something that the step reads has been replaced."""
        self._replay = None

    def __call__(self, index: Tensor) -> None:
        """Take one step on the training images at ``index``."""
        if len(index) != self._step.size or self._taken < WARM_UP or self._record is None:
            self._taken += len(index) == self._step.size
            self._step(index)
            return
        self._index.copy_(index)
        if self._replay is None:
            try:
                self._replay = self._record(lambda: self._step(self._index), self._generators)
            except RuntimeError as error:  # such as a loss of the user's own that reads a value
                reason = str(error).strip().split("\n")[0]
                warnings.warn(f"the step cannot be recorded ({reason}); it runs as it is, slower", stacklevel=2)
                self._record = None
                self._step(index)
                return
        self._replay()


@contextlib.contextmanager
def apart(device: str) -> Iterator[None]:
    """A stream of one's own, on which a GPU can record; training runs on it from its first step to its last."""
    if device != "cuda":
        yield
        return
    stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    outside = torch.cuda.current_stream()
    stream.wait_stream(outside)
    with torch.cuda.stream(stream):
        yield
    outside.wait_stream(stream)
