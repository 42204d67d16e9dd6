"""First weights from an explicit generator: nothing is drawn from, or left in, the global random state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def materialise(construct: Callable[[], M], *, generator: torch.Generator) -> M:
    """Construct a module without drawing anything, then give it its first weights from ``generator``.

    The module is made on the meta device (PyTorch's own initialisation, which would use the global generator, then
    does nothing), allocated on the generator's device and initialised there.

    Args:
        construct: makes the module, such as ``lambda: nn.Linear(3, 2)``.
        generator: the only source of randomness; equal states give equal weights.

    Returns:
        The module with its weights and buffers.

    Example:
        >>> first = materialise(lambda: nn.Linear(3, 2), generator=torch.Generator().manual_seed(0))
        >>> again = materialise(lambda: nn.Linear(3, 2), generator=torch.Generator().manual_seed(0))
        >>> torch.equal(first.weight, again.weight)
        True
    """
    with torch.device("meta"):
        module = construct()
    module.to_empty(device=generator.device)
    initialise(module, generator=generator)
    return module


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Let code that draws from torch's global generator draw from this one; the global state is restored afterwards.

    Only the processor's generator is used: ``torch.manual_seed`` would re-seed every accelerator as well.

    Args:
        generator: gives one number, from which the global state is seeded.

    Example:
        >>> before = torch.get_rng_state()
        >>> with drawing_from(torch.Generator().manual_seed(0)):
        ...     first = torch.rand(2)
        >>> with drawing_from(torch.Generator().manual_seed(0)):
        ...     again = torch.rand(2)
        >>> torch.equal(first, again), torch.equal(before, torch.get_rng_state())
        (True, True)
    """
    seed = int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        yield


@torch.no_grad()
def initialise(module: nn.Module, *, generator: torch.Generator) -> None:
    """Draw every weight of ``module`` anew, in place, in the order of ``module.modules()``.

    Convolutions are Kaiming-normal (fan in), linear layers as in PyTorch, uniform within 1 / sqrt(fan in); a norm
    starts with weight 1 and bias 0, at mean 0 and variance 1. A module with weights of its own kind brings a method
    ``reset(generator)``; the heads of this package do.

    Args:
        module: such as the head of a network that is to be trained afresh.
        generator: the only source of randomness, on any device: equal states give equal weights wherever the module is.

    Raises:
        TypeError: a layer with weights for which there is no rule and no ``reset``.

    Example:
        >>> layer = nn.Linear(4, 2)
        >>> initialise(layer, generator=torch.Generator().manual_seed(0))
        >>> first = layer.weight.clone()
        >>> initialise(layer, generator=torch.Generator().manual_seed(0))
        >>> torch.equal(layer.weight, first), bool(first.abs().max() <= 0.5)  # 1 / sqrt(fan in)
        (True, True)

    References:
        He et al., Delving Deep into Rectifiers, ICCV 2015.
    """
    for part in module.modules():
        reset = getattr(part, "reset", None)
        if callable(reset):
            reset(generator)
        elif isinstance(part, nn.Conv2d):
            normal_(part.weight, math.sqrt(2 / part.weight[0].numel()), generator)
            if part.bias is not None:
                uniform_(part.bias, 1 / math.sqrt(part.weight[0].numel()), generator)
        elif isinstance(part, nn.Linear):
            for tensor in part.parameters(recurse=False):
                uniform_(tensor, 1 / math.sqrt(part.in_features), generator)
        elif isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)):
            part.reset_parameters()
        elif (
            next(part.parameters(recurse=False), None) is not None
            or next(part.buffers(recurse=False), None) is not None
        ):
            raise TypeError(
                f"{type(part).__name__} has no rule for its first weights: give it a method reset(generator)"
            )


@torch.no_grad()
def normal_(tensor: torch.Tensor, deviation: float, generator: torch.Generator) -> None:
    """Fills ``tensor`` with normal numbers of mean 0, drawn on the generator's device."""
    tensor.copy_(torch.empty(tensor.shape, device=generator.device).normal_(0.0, deviation, generator=generator))


@torch.no_grad()
def uniform_(tensor: torch.Tensor, bound: float, generator: torch.Generator) -> None:
    """Fills ``tensor`` with uniform numbers in [-bound, bound], drawn on the generator's device."""
    tensor.copy_(torch.empty(tensor.shape, device=generator.device).uniform_(-bound, bound, generator=generator))
