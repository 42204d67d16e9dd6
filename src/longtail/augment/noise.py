"""Where chance enters: one block of uniform numbers per batch, and what is made of them.

An operation never draws. It says how many numbers it needs for an image, and is a pure function of the images and of
those numbers. So one generator serves a whole pipeline with one draw, the same numbers give the same images on every
device, and everything but the draw itself can be captured in a graph (``torch.compile`` cannot trace a generator).
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.shapes import Float, Int, Shaped


def uniform(shape: tuple[int, ...], *, generator: torch.Generator, device: torch.device) -> Float[Tensor, " ..."]:
    """Numbers in [0, 1), drawn from ``generator`` on ``device``.

    No generator exists on the meta device: there the numbers have a shape only, and the generator is left alone.

    Args:
        shape: shape of the result.
        generator: random generator on ``device``.
        device: where the numbers are made.

    Raises:
        InputError: the generator lives on another device.

    Example:
        >>> uniform((2, 3), generator=torch.Generator().manual_seed(0), device=torch.device("cpu")).shape
        torch.Size([2, 3])
    """
    if device.type == "meta":
        return torch.empty(shape, device=device)
    if generator.device.type != device.type:
        raise InputError(f"the images are on {device.type}, the generator on {generator.device.type}: make both alike")
    return torch.rand(shape, generator=generator, device=device)


def integer(noise: Float[Tensor, "*shape"], count: int | Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Integers from 0 to ``count`` - 1, equally likely, from uniform numbers.

    Args:
        noise: numbers in [0, 1), any shape; of 2^24 equally likely values, so probabilities are right to 2^-24.
        count: number of possible values, at least 1; one for all or one for each.

    Example:
        >>> integer(torch.tensor([0.0, 0.49, 0.5, 0.99]), 2)
        tensor([0, 0, 1, 1])
    """
    # The product can round up to count itself.
    return (noise * count).long().clamp(max=count - 1)


def between(noise: Float[Tensor, " N"], low: float, high: float) -> Float[Tensor, " N"]:
    """Numbers in [low, high] from uniform ones.

    Example:
        >>> between(torch.tensor([0.0, 0.5]), 2.0, 4.0)
        tensor([2., 3.])
    """
    return low + (high - low) * noise


# A trace takes the tensor that the cache holds for what it is: it must not make a new one in every step.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def constant(values: tuple[object, ...], device: torch.device) -> Shaped[Tensor, " ..."]:
    """A small table on a device, copied there once: a copy in every step would make the host wait for the device.

    Args:
        values: numbers, or tuples of numbers of one length.
        device: where the table is kept.
    """
    return _kept(values, device)


@functools.cache
def _kept(values: tuple[object, ...], device: torch.device) -> Shaped[Tensor, " ..."]:
    # The first caller may be an evaluation; a tensor born in inference mode could not take part in training.
    with torch.inference_mode(False):
        return torch.tensor(values, device=device)
