"""The law itself, slow and obvious: what a sampler is compared with."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from longtail.dpp import Dense, DiagonalPlusRankOne, Kernel, LowRank
from longtail.shapes import Bool, Float

__all__ = ["enumeration", "matrix", "rejection", "table", "table_inclusion", "table_sample"]


def matrix(kernel: Kernel) -> Float[Tensor, "N N"]:
    """L, written out."""
    if isinstance(kernel, Dense):
        return kernel.matrix
    if isinstance(kernel, LowRank):
        features = kernel.features.double()
        return features @ features.T
    return torch.diag(kernel.diagonal) + torch.outer(kernel.factor, kernel.factor)


def enumeration(kernel: Kernel, *, k: int | None = None) -> tuple[Bool[Tensor, "S N"], Float[Tensor, " S"]]:
    """Every subset and its probability, by one determinant each.

    Args:
        kernel: L, of at most 12 items.
        k: the number of items; None for all 2^N subsets.

    Returns:
        Masks, one row a subset, and their probabilities.

    Example:
        >>> from longtail.dpp import information_kernel
        >>> subsets, probability = enumeration(information_kernel(torch.tensor([0.9, 0.6, 0.1])), k=2)
        >>> [(row.nonzero().flatten().tolist(), round(float(p), 3)) for row, p in zip(subsets, probability)]
        [([0, 1], 0.284), ([0, 2], 0.355), ([1, 2], 0.36)]
    """
    count = len(kernel)
    assert count <= 12, f"the kernel has {count} items: enumeration stops at 12, with 4096 subsets"
    dense = matrix(kernel)
    sizes = range(count + 1) if k is None else [k]
    subsets = [subset for size in sizes for subset in itertools.combinations(range(count), size)]
    weight = torch.stack([torch.linalg.det(dense[list(s)][:, list(s)]) if s else dense.new_ones(()) for s in subsets])
    masks = torch.zeros(len(subsets), count, dtype=torch.bool)
    for row, subset in zip(masks, subsets, strict=True):
        row[list(subset)] = True
    weight = weight.clamp(min=0.0)
    return masks, weight / weight.sum()


def table(kernel: DiagonalPlusRankOne, k: int) -> tuple[Float[Tensor, "N1 k1"], Float[Tensor, "N1 k1"]]:
    r"""Backward tables A_i[r], B_i[r]: the weight of choosing r of the items i, ..., N - 1, O(N k).

    .. math::
        A_i[r] = (1 - \pi_i) A_{i+1}[r] + \pi_i A_{i+1}[r-1]

        B_i[r] = (1 - \pi_i) B_{i+1}[r] + \pi_i B_{i+1}[r-1] + s_i A_{i+1}[r-1]

    A without and B with the special item among them, under the tilted kernel, pi_i = t d_i / (1 + t d_i) and s_i =
    t u_i^2 / (1 + t d_i). There is no subtraction and no division by d.
    """
    d, u2 = kernel.diagonal, kernel.factor.square()
    t = _bisected_tilt(d, u2, k)
    pi, s = t * d / (1.0 + t * d), t * u2 / (1.0 + t * d)
    A, B = torch.zeros(len(d) + 1, k + 1, dtype=d.dtype), torch.zeros(len(d) + 1, k + 1, dtype=d.dtype)
    A[-1, 0] = 1.0
    for i in reversed(range(len(d))):
        A[i] = (1.0 - pi[i]) * A[i + 1]
        A[i, 1:] += pi[i] * A[i + 1, :-1]
        B[i] = (1.0 - pi[i]) * B[i + 1]
        B[i, 1:] += pi[i] * B[i + 1, :-1] + s[i] * A[i + 1, :-1]
    return A, B


def table_inclusion(kernel: DiagonalPlusRankOne, k: int) -> Float[Tensor, " N"]:
    """Exact inclusion probabilities of the k-DPP, by following ``table_sample``'s states forward, O(N k)."""
    A, B = table(kernel, k)
    pi, s = _steps(kernel, k)
    # The probability of having r items and the special one still to place (or not) when item i is reached.
    without, to_place = torch.zeros(k + 1, dtype=A.dtype), torch.zeros(k + 1, dtype=A.dtype)
    total = A[0, k] + B[0, k]
    without[k], to_place[k] = A[0, k] / total, B[0, k] / total
    inclusion = torch.zeros(len(pi), dtype=A.dtype)
    for i in range(len(pi)):
        take = without[1:] * _ratio(pi[i] * A[i + 1, :-1], A[i, 1:])
        take_plain = to_place[1:] * _ratio(pi[i] * B[i + 1, :-1], B[i, 1:])
        take_special = to_place[1:] * _ratio(s[i] * A[i + 1, :-1], B[i, 1:])
        inclusion[i] = take.sum() + take_plain.sum() + take_special.sum()
        without = without * _ratio((1.0 - pi[i]) * A[i + 1], A[i])
        to_place = to_place * _ratio((1.0 - pi[i]) * B[i + 1], B[i])
        without[:-1] += take + take_special
        to_place[:-1] += take_plain
    return inclusion


def table_sample(
    kernel: DiagonalPlusRankOne, draws: int, k: int, generator: torch.Generator
) -> Bool[Tensor, "draws N"]:
    """Draws of the k-DPP by the tables: item after item, in a time that does not depend on chance."""
    A, B = table(kernel, k)
    pi, s = _steps(kernel, k)
    masks = torch.zeros(draws, len(pi), dtype=torch.bool)
    left = torch.full((draws,), k)
    to_place = _random(draws, generator) * (A[0, k] + B[0, k]) < B[0, k]
    for i in range(len(pi)):
        fewer = (left - 1).clamp(min=0)
        some = left > 0
        place = _random(draws, generator) * torch.where(to_place, B[i, left], A[i, left])
        special = torch.where(to_place & some, s[i] * A[i + 1, fewer], 0.0)
        plain = torch.where(some, pi[i] * torch.where(to_place, B[i + 1, fewer], A[i + 1, fewer]), 0.0)
        masks[:, i] = place < special + plain
        left -= masks[:, i].long()
        to_place &= place >= special
    return masks


def rejection(
    kernel: DiagonalPlusRankOne, draws: int, k: int, generator: torch.Generator, *, tilt: float | None = None
) -> Bool[Tensor, "draws N"]:
    """Draws of the k-DPP by repeating the un-sized DPP with kernel t L until it has k items; exact for every t > 0."""
    d, u2 = kernel.diagonal, kernel.factor.square()
    t = _bisected_tilt(d, u2, k) if tilt is None else tilt
    coin, weight = t * d / (1.0 + t * d), t * u2 / (1.0 + t * d)
    found: list[Tensor] = []
    while sum(len(part) for part in found) < draws:
        masks = torch.rand(draws, len(d), dtype=d.dtype, generator=generator) < coin
        special = _random(draws, generator) * (1.0 + weight.sum()) >= 1.0
        item = torch.searchsorted(weight.cumsum(0), _random(draws, generator) * weight.sum(), right=True)
        masks[special, item[special].clamp(max=len(d) - 1)] = True
        found.append(masks[masks.sum(1) == k])
    return torch.cat(found)[:draws]


def _steps(kernel: DiagonalPlusRankOne, k: int) -> tuple[Tensor, Tensor]:
    d, u2 = kernel.diagonal, kernel.factor.square()
    t = _bisected_tilt(d, u2, k)
    return t * d / (1.0 + t * d), t * u2 / (1.0 + t * d)


def _bisected_tilt(d: Tensor, u2: Tensor, k: int) -> float:
    """The t with E|Y| = k, by bisection: nothing in common with the Newton iteration of the sampler."""
    low, high = -200.0, 200.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        t = math.exp(middle)
        absent = 1.0 / (1.0 + t * d)
        weight = t * u2 * absent
        mean = (t * d * absent).sum() + (weight * absent).sum() / (1.0 + weight.sum())
        low, high = (middle, high) if mean < k else (low, middle)
    return math.exp(0.5 * (low + high))


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / torch.where(whole > 0, whole, 1.0), 0.0)


def _random(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, dtype=torch.float64, generator=generator)
