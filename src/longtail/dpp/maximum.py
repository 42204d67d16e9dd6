"""The greedy approximation to the likeliest set: items one by one, each the one that enlarges det(L_Y) most.

The gain of an item, det(L_{Y + i}) / det(L_Y), never grows as Y does. So the gains of all items are computed once, then
only those of the most promising ones, until the best of these falls below what the others had when they were last
looked at; then all are computed again. The sets are those of computing all the gains every time.
"""

from __future__ import annotations

import heapq
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from longtail.dpp.kernels import DiagonalPlusRankOne, Kernel, LowRank, floor, rounding, whole
from longtail.dpp.spectral import ROWS, check_features
from longtail.errors import InputError
from longtail.shapes import Float, Int

__all__ = ["greedy"]

Floats = npt.NDArray[np.float64]

POOL = 1 << 14  # items of a low-rank kernel that are followed closely
DIGITS = 1e-8  # a difference of squares below this share of them has lost half of its digits


def greedy(kernel: Kernel, *, k: SupportsIndex) -> Int[Tensor, " k"]:
    """K items, one by one, each the one that enlarges the determinant most: a likely set, and always the same.

    The likeliest set is hard to find; this one has a determinant within a factor of (1 / k!)^2 of it, and usually
    close. Use it where one good subset is wanted and no randomness. Low rank: O(N k D). Diagonal plus rank one: O(N k)
    at most, O(N log N) as a rule. Dense: O(N k^2).

    Args:
        kernel: L.
        k: the number of items.

    Returns:
        (k,), in the order in which they were chosen, on the kernel's device; of equal gains the first item's counts.

    Raises:
        InputError: k is out of range, after some items every other one makes the determinant 0, or the squares of
            features are out of the range of float64.

    Example:
        >>> greedy(LowRank([[3.0, 0.0], [2.9, 0.1], [0.0, 1.0]]), k=2).tolist()  # the second resembles the first
        [0, 2]

    References:
        Çivril & Magdon-Ismail, *On selecting a maximum volume sub-matrix of a matrix*, 2009 (the factor).
        Chen, Zhang & Zhou, *Fast greedy MAP inference for determinantal point process*, NeurIPS 2018.
    """
    size = whole(k)
    if size is None or not 0 <= size <= len(kernel):
        raise InputError(f"k is {k}, and the kernel has {len(kernel)} items: k must be between 0 and that")
    with torch.no_grad():
        if isinstance(kernel, DiagonalPlusRankOne):
            items = _diagonal(kernel.diagonal.cpu().numpy(), kernel.factor.cpu().numpy(), size)
            return torch.tensor(items, dtype=torch.int64, device=kernel.diagonal.device)
        if isinstance(kernel, LowRank):
            return _low_rank(kernel.features, size)
        return _dense(kernel.matrix, floor(kernel), size)


def _diagonal(d: Floats, u: Floats, k: int) -> list[int]:
    """Given Y the gain of an item is d_i + u_i^2 / (1 + the sum of u_j^2 / d_j over Y)."""
    u2 = np.square(u)
    out = np.zeros(len(d), dtype=np.bool_)
    items: list[int] = []
    total = 0.0
    while len(items) < k:
        gain = d + u2 / (1.0 + total)
        gain[out] = 0.0
        order = np.argsort(-gain, kind="stable")
        followed = order[: 2 * (k - len(items)) + 64]
        beyond = float(gain[order[len(followed)]]) if len(followed) < len(d) else -1.0
        heap = [(-g, i) for g, i in zip(gain[followed].tolist(), followed.tolist(), strict=True)]
        while heap and len(items) < k:
            item = heap[0][1]
            now = d[item] + u2[item] / (1.0 + total)
            if -now > heap[0][0]:  # it has fallen since
                heapq.heapreplace(heap, (-float(now), item))
                continue
            if now < beyond:
                break
            if now <= 0.0 or out[item]:
                raise _singular(len(items), k)
            heapq.heappop(heap)
            items.append(item)
            out[item] = True
            total = total + float(u2[item]) / float(d[item]) if d[item] > 0.0 else np.inf
    return items


def _low_rank(features: Float[Tensor, "N D"], k: int) -> Int[Tensor, " k"]:
    """The gain of an item is the squared distance of its row from the span of the rows chosen."""
    check_features(features)
    count, width = features.shape
    items = torch.zeros(k, dtype=torch.int64, device=features.device)
    basis = torch.zeros(k, width, dtype=torch.float64, device=features.device)
    norm = _apply(features, None)
    left = torch.where(norm > 0, norm, -1.0)  # -1: chosen, or in the span
    done = seen = 0  # items chosen, and those that ``left`` knows of
    while done < k:
        if done > seen:
            left[items[:done]] = -1.0
            left = _shrunk(left, _apply(features, basis[seen:done]), norm, features, basis[:done])
            seen = done
        pool = left.topk(min(POOL + 1, count)).indices
        beyond = float(left[pool[-1]]) if len(pool) < count else -1.0
        pool = pool[:POOL].sort().values
        rows, now, norms = features[pool].to(torch.float64), left[pool], norm[pool]
        while done < k:
            best = int(now.argmax())
            if float(now[best]) < beyond:
                break
            if float(now[best]) < 0.0:
                raise _singular(done, k)
            direction = rows[best]
            for _ in range(2):
                direction = direction - basis[:done].T @ (basis[:done] @ direction)
            basis[done] = direction / direction.norm()
            now[best] = -1.0
            now = _shrunk(now, (rows @ basis[done]).square_(), norms, rows, basis[: done + 1])
            items[done] = pool[best]
            done += 1
    return items


def _shrunk(
    left: Float[Tensor, " n"],
    squares: Float[Tensor, " n"],
    norm: Float[Tensor, " n"],
    features: Float[Tensor, "n D"],
    basis: Float[Tensor, "s D"],
) -> Float[Tensor, " n"]:
    """The gains less ``squares``; computed anew from the span where that leaves few digits, and -1 in the span."""
    left = torch.where(left < 0.0, left, (left - squares).clamp_(min=0.0))
    for part in torch.split(((left >= 0.0) & (left <= DIGITS * norm)).nonzero().squeeze(1), ROWS):
        rest = features[part].to(torch.float64)
        for _ in range(2):  # the second time for what rounding left of the first
            rest = rest - (rest @ basis.T) @ basis
        distance = rest.norm(dim=1)
        within = distance <= rounding(features.shape[1]) * norm[part].sqrt()
        left[part] = torch.where(within, -1.0, distance.square())
    return left


def _apply(features: Float[Tensor, "N D"], basis: Float[Tensor, "s D"] | None) -> Float[Tensor, " N"]:
    """Squared norms of the rows, or of their projections onto the span of an orthonormal basis."""
    parts = []
    for part in torch.split(features, ROWS):
        rows = part.to(torch.float64)
        parts.append((rows if basis is None else rows @ basis.T).square().sum(1))
    return torch.cat(parts) if parts else features.new_zeros(0, dtype=torch.float64)


def _dense(matrix: Float[Tensor, "N N"], nothing: Float[Tensor, " N"], k: int) -> Int[Tensor, " k"]:
    """A Cholesky factorisation that takes the largest pivot each time; up to ``nothing`` a pivot is 0 to rounding."""
    left = matrix.diagonal().clone()
    factor = matrix.new_zeros(k, len(matrix))
    items = torch.zeros(k, dtype=torch.int64, device=matrix.device)
    for step in range(k):
        left[left <= nothing] = -1.0
        item = left.argmax()
        if float(left[item]) < 0.0:
            raise _singular(step, k)
        factor[step] = (matrix[item] - factor[:step, item] @ factor[:step]) / left[item].sqrt()
        left = left - factor[step].square()
        left[item] = -1.0
        items[step] = item
    return items


def _singular(done: int, k: int) -> InputError:
    return InputError(
        f"k is {k}, and after {done} items every other one makes the determinant 0: ask for at most {done}"
    )
