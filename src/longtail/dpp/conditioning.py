"""What is left of a determinantal point process when some items are known to be in the set and others to be out of it.

P(Y) given A in Y and Y without B is again determinantal over the other items R, with the Schur complement
L_R - L_RA L_A^-1 L_AR as its kernel, since det(L_{A + Y'}) = det(L_A) det((L / L_A)_{Y'}). It has the form of L:

* diagonal plus rank one: the diagonal stays, and the factor shrinks by the square root of 1 + sum over A of u^2 / d;
* low rank: the features, without their part in the span of those of A.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from longtail.dpp.kernels import Array, Dense, DiagonalPlusRankOne, LowRank, conditioned, floor, indices, rounding
from longtail.dpp.spectral import ROWS, check_features
from longtail.errors import InputError
from longtail.shapes import Float, Int

__all__ = ["condition"]

Form = TypeVar("Form", DiagonalPlusRankOne, LowRank, Dense)


def condition(kernel: Form, include: Array = (), exclude: Array = ()) -> Form:
    """The process over the other items, given that some are in the set and some are not.

    Use it to complete a set that is partly chosen, or to leave items out. ``sample(condition(kernel, include=A), k=m)``
    draws the other m items of a set of len(A) + m.

    Args:
        kernel: L.
        include: items that are in the set.
        exclude: items that are not.

    Returns:
        A kernel of the same class over the items that are left, in their order; its ``items`` are their numbers in the
        kernel that was given first, also where that was conditioned before.

    Raises:
        InputError: an item is out of range, named twice or both in and out, no set has all the items to include, or the
            squares of features are out of the range of float64.

    Example:
        >>> kernel = LowRank([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 1.0]])
        >>> rest = condition(kernel, include=[0], exclude=[3])
        >>> rest.items.tolist(), rest.features.tolist()  # of the twin of item 0 little is left
        ([1, 2], [[0.0, 0.1...], [0.0, 1.0]])
    """
    count = len(kernel)
    device = kernel.features.device if isinstance(kernel, LowRank) else None
    device = kernel.matrix.device if isinstance(kernel, Dense) else device
    device = kernel.diagonal.device if isinstance(kernel, DiagonalPlusRankOne) else device
    inside, outside = _items(include, "include", count, device), _items(exclude, "exclude", count, device)
    left = torch.ones(count, dtype=torch.bool, device=device)
    left[inside] = False
    if not bool(left[outside].all()):
        both = outside[~left[outside]][0]
        raise InputError(f"item {int(both)} is both to be included and to be excluded")
    left[outside] = False
    rest = left.nonzero().squeeze(1)
    found: DiagonalPlusRankOne | LowRank | Dense
    if isinstance(kernel, DiagonalPlusRankOne):
        found = _diagonal(kernel, inside, rest)
    elif isinstance(kernel, LowRank):
        found = _low_rank(kernel, inside, rest)
    else:
        found = _dense(kernel, inside, rest)
    conditioned(found, kernel, rest)
    return found  # type: ignore[return-value]


def _diagonal(kernel: DiagonalPlusRankOne, inside: Int[Tensor, " a"], rest: Int[Tensor, " n"]) -> DiagonalPlusRankOne:
    d, u = kernel.diagonal[inside], kernel.factor[inside]
    zero = d == 0
    if int(zero.sum()) > 1 or not bool(u[zero].all()):
        raise _impossible()
    # An item without d can only be the one that is not a coin's; then no other one is.
    share = d.new_zeros(()) if bool(zero.any()) else 1.0 / (1.0 + (u * u / d).sum())
    return DiagonalPlusRankOne(kernel.diagonal[rest], kernel.factor[rest] * share.sqrt())


def _low_rank(kernel: LowRank, inside: Int[Tensor, " a"], rest: Int[Tensor, " n"]) -> LowRank:
    known, rows = kernel.features[inside].to(torch.float64), kernel.features[rest]
    if len(inside) == 0:
        return LowRank(rows)
    if known.shape[0] > known.shape[1]:
        raise _impossible()
    check_features(kernel.features)
    basis, triangle = torch.linalg.qr(known.T)
    nothing = rounding(known.shape[1])
    if bool((triangle.diagonal().abs() <= nothing * known.norm(dim=1)).any()):
        raise _impossible()
    parts = []
    for part in torch.split(rows, ROWS):
        whole = part.to(torch.float64)
        left = whole
        for _ in range(2):  # the second time for what rounding left of the first
            left = left - left @ basis @ basis.T
        # What is in the span but for rounding has no distance from it.
        near = left.norm(dim=1) <= nothing * whole.norm(dim=1)
        parts.append(torch.where(near[:, None], 0.0, left))
    return LowRank(torch.cat(parts))


def _dense(kernel: Dense, inside: Int[Tensor, " a"], rest: Int[Tensor, " n"]) -> Dense:
    L = kernel.matrix
    among = L[rest][:, rest]
    if len(inside) == 0:
        found = Dense(among)
        tolerance = kernel.tolerance
    else:
        factor, failed = torch.linalg.cholesky_ex(L[inside][:, inside])
        nothing = floor(kernel)
        if int(failed) or bool((factor.diagonal().square() <= nothing[inside]).any()):
            raise _impossible()
        part = torch.linalg.solve_triangular(factor, L[inside][:, rest], upper=False)
        left = among - part.T @ part
        near = left.diagonal() <= nothing[rest]
        left = torch.where(near[:, None] | near, 0.0, 0.5 * (left + left.T))
        found = Dense(left)
        # Rounding is what it was, and the numbers may be smaller.
        before, after = _largest(among), _largest(left)
        tolerance = kernel.tolerance * max(1.0, before / after) if after else kernel.tolerance
    object.__setattr__(found, "tolerance", tolerance)
    object.__setattr__(found, "noise", kernel.noise[rest])
    return found


def _largest(matrix: Float[Tensor, "n n"]) -> float:
    return float(matrix.detach().diagonal().max()) if len(matrix) else 0.0


def _items(given: Array, name: str, count: int, device: torch.device | None) -> Int[Tensor, " a"]:
    items = indices(given, name, "(a,), the numbers of items", device)
    if items.ndim != 1:
        raise InputError(f"{name} has the shape {tuple(items.shape)}: give (a,), the numbers of items")
    wrong = items[(items < 0) | (items >= count)]
    if len(wrong):
        raise InputError(f"{name} has the entry {int(wrong[0])}: the kernel has items 0 to {count - 1}")
    if bool((items.sort().values.diff() == 0).any()):
        raise InputError(f"{name} has an item twice: a set has every item at most once")
    return items


def _impossible() -> InputError:
    return InputError("no set has all the items to include: their determinant is 0, as that of two equal items is")
