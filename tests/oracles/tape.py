"""A CUDA graph on the CPU: the operations of a function, recorded once and replayed on the same tensors.

A replay repeats what a graph would: every operation that reached the device, on the addresses it had, and no
Python. So a number that was baked in, a tensor that was replaced rather than changed, or a choice that depended on a
value shows as a difference between replays and plain calls; what a graph cannot hold at all is refused while recording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

REFUSED = {
    "aten::_local_scalar_dense": "reads a value on the host",
    "aten::nonzero": "has a shape that depends on values",
    "aten::masked_select": "has a shape that depends on values",
    "aten::lift_fresh": "copies from the host",
    "aten::_unique2": "has a shape that depends on values",
    "aten::unique_dim": "has a shape that depends on values",
}


class RefusedError(RuntimeError):
    """What a CUDA graph cannot hold."""


class Tape(TorchDispatchMode):
    """Records operations with the very tensors they took and gave."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.name().split(".")[0]
        boolean = name in ("aten::index", "aten::index_put_", "aten::_index_put_impl_") and any(
            part is not None and part.dtype in (torch.bool, torch.uint8) for part in args[1]
        )
        if name in REFUSED or boolean:
            reason = "has a shape that depends on values" if boolean else REFUSED[name]
            raise RefusedError(f"operation not permitted when stream is capturing: {name} {reason}")
        result = func(*args, **kwargs)
        if not name.startswith("profiler::"):
            self.calls.append((func, args, kwargs, result))
        return result


def record(function: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], None]:
    """As ``longtail.training.capture.cuda_graph``: records without an effect, returns the replay.

    Recording runs the function here, so every tensor and generator that it changes is put back.
    """
    tape = Tape()
    states = [generator.get_state() for generator in generators]
    kept: dict[int, tuple[Tensor, Tensor]] = {}

    class Keeper(TorchDispatchMode):
        """Copies what an operation is about to change in place."""

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            for i, argument in enumerate(func._schema.arguments):
                written = argument.alias_info is not None and argument.alias_info.is_write
                # The schema of batch normalisation does not own up to what it does to the running statistics.
                if written or argument.name in ("running_mean", "running_var"):
                    value = args[i] if i < len(args) else kwargs.get(argument.name)
                    for tensor in value if isinstance(value, (list, tuple)) else [value]:
                        if isinstance(tensor, Tensor) and id(tensor) not in kept:
                            kept[id(tensor)] = (tensor, tensor.clone())
            return func(*args, **kwargs)

    try:
        with Keeper(), tape:
            function()
    finally:
        with torch.no_grad():
            for tensor, before in kept.values():
                if tensor.shape == before.shape:  # else a tensor of the function's own, whose shape it changed
                    tensor.copy_(before)
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)

    def replay() -> None:
        made: dict[int, Tensor] = {}
        with torch.no_grad():
            for func, args, kwargs, result in tape.calls:
                now = tree_map_only(Tensor, lambda tensor: made.get(id(tensor), tensor), (args, kwargs))
                again = func(*now[0], **now[1])
                _pair(result, again, made)

    return replay


def _pair(result: Any, again: Any, made: dict[int, Tensor]) -> None:
    """The tensor that stands for a recorded one from here on."""
    if isinstance(result, Tensor):
        made[id(result)] = again
    elif isinstance(result, (list, tuple)):
        for one, two in zip(result, again, strict=True):
            _pair(one, two, made)
