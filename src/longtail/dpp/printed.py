"""What the IP-DPP paper prints and its release does, so that anyone can see the difference from the exact law.

None of these is the k-DPP. The un-sized process of the paper is: it is ``sample`` without ``k``.
"""

from __future__ import annotations

from typing import SupportsIndex

import torch
from torch import Tensor

from longtail.dpp.kernels import Kernel, indices, matrix, whole
from longtail.dpp.segments import beside
from longtail.errors import InputError
from longtail.shapes import Int

__all__ = ["algorithm_1", "paper_expected_size", "released"]


def algorithm_1(
    kernel: Kernel,
    *,
    k: SupportsIndex,
    order: Int[Tensor, " N"] | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " m"]:
    """Algorithm 1 as printed: eigenvectors first come, first served, then the item of largest projection each time.

    Two steps differ from a k-DPP. Eigenvector n is kept with probability lambda_n / (1 + lambda_n) until k are kept,
    which favours those that come first and may end with fewer than k; a k-DPP conditions on there being k. And each
    item is the arg max of its squared projection onto what is left of the span; a k-DPP draws it in that proportion.

    Args:
        kernel: L.
        k: the most items to return.
        order: the order in which eigenvectors come, as indices into ascending eigenvalues; None for ascending, as
            ``eigh`` returns them.
        generator: None for torch's default.

    Returns:
        At most k items, in the order chosen.

    Raises:
        InputError: k is negative or no whole number, or ``order`` is not a permutation.

    Example:
        >>> from longtail.dpp import information_kernel
        >>> p = torch.linspace(0, 1, 200)
        >>> items = algorithm_1(information_kernel(p), k=20, generator=torch.Generator().manual_seed(0))
        >>> bool(p[items].min() > 0.5)  # it picks the easiest
        True
    """
    most = whole(k)
    if most is None or most < 0:
        raise InputError(f"k is {most}: give 0 or more")
    values, vectors = torch.linalg.eigh(matrix(kernel))
    generator = beside(generator, values.device)
    every = torch.arange(len(values), device=values.device)
    order = every if order is None else indices(order, "order", "(N,)", values.device)
    if not torch.equal(order.sort().values, every):
        raise InputError(f"order is not a permutation of 0 to {len(values) - 1}")
    coin = (values / (1.0 + values))[order]
    kept = order[torch.rand(len(values), dtype=values.dtype, generator=generator) < coin][:most]
    span = vectors[:, kept]
    items = []
    while span.shape[1]:
        item = int(span.square().sum(1).argmax())
        items.append(item)
        # An orthonormal basis of what is left of the span when the item's direction is taken out.
        direction = span[item] / span[item].norm()
        rest = torch.linalg.qr(torch.cat([direction[:, None], torch.eye(len(direction), dtype=span.dtype)], 1)).Q
        span = span @ rest[:, 1:]
    return torch.tensor(items, dtype=torch.int64)


def released(count: SupportsIndex, *, k: SupportsIndex, seed: int = 0) -> Int[Tensor, " k"]:
    """The released sampler in effect: one uniform k-subset, the same at every call, whatever the model thinks.

    It divides the kernel by N^2 instead of N, keeps the first state of a Markov chain, which is where the chain was
    put at random, and seeds the generator anew at every call.

    Args:
        count: N.
        k: the number of items.
        seed: of the subset.

    Returns:
        The items, in ascending order.

    Raises:
        InputError: a size is negative or no whole number, or k is above the other.
    """
    every, most = whole(count, "count"), whole(k)
    if every is None or most is None or not 0 <= most <= every:
        raise InputError(f"k is {most}, and count is {every}: k must be between 0 and that")
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(every, generator=generator)[:most].sort().values


def paper_expected_size(count: int) -> float:
    """The paper's N (1 - ln 2) for E|Y|, which is false in general; ``expected_size`` has the right one.

    Example:
        >>> round(paper_expected_size(1000), 1)
        306.9
    """
    return count * (1.0 - float(torch.tensor(2.0, dtype=torch.float64).log()))
