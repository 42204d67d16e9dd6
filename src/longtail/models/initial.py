"""First weights from an explicit generator: nothing is drawn from, or left in, the global random state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def materialise(construct: Callable[[], M], *, generator: torch.Generator) -> M:
    """Constructs a module without drawing anything, then gives it its first weights from ``generator``.

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


@torch.no_grad()
def initialise(module: nn.Module, *, generator: torch.Generator) -> None:
    """Draws every weight of ``module`` anew, in place, in the order of ``module.modules()``.

    Convolutions are Kaiming-normal (fan in), linear layers as in PyTorch, uniform within 1 / sqrt(fan in); batch norm
    starts at mean 0 and variance 1 with weight 1 and bias 0. A module with weights of its own kind brings a method
    ``reset(generator)``; the heads of this package do.

    Args:
        module: such as the head of a network that is to be trained afresh.
        generator: on the module's device.

    Raises:
        TypeError: a layer with weights for which there is no rule and no ``reset``.

    References:
        He et al., Delving Deep into Rectifiers, ICCV 2015.
    """
    for part in module.modules():
        reset = getattr(part, "reset", None)
        if callable(reset):
            reset(generator)
        elif isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu", generator=generator)
            _uniform_bias(part.bias, part.weight, generator)
        elif isinstance(part, nn.Linear):
            part.weight.uniform_(-1, 1, generator=generator).div_(math.sqrt(part.in_features))
            _uniform_bias(part.bias, part.weight, generator)
        elif isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            part.reset_parameters()
        elif (
            next(part.parameters(recurse=False), None) is not None
            or next(part.buffers(recurse=False), None) is not None
        ):
            raise TypeError(
                f"{type(part).__name__} has no rule for its first weights: give it a method reset(generator)"
            )


def _uniform_bias(bias: torch.Tensor | None, weight: torch.Tensor, generator: torch.Generator) -> None:
    if bias is not None:
        bias.uniform_(-1, 1, generator=generator).div_(math.sqrt(weight[0].numel()))
