"""The sum of det(L_Y) over all k-subsets, and what follows from it, for diag(d) + u u^T: O(N), exact to rounding.

With the tilt t the generating function of the sizes, prod_i (1 + z t d_i) (1 + sum_i z t u_i^2 / (1 + z t d_i)), is,
on the unit circle, the characteristic function of |Y| under t L, times its value at z = 1. The size of a determinantal
process is a sum of independent coins (its eigenvalues lambda / (1 + lambda)), so

* the trapezoid rule with M nodes is off by P(|Y| = k + M), P(|Y| = k - M), ...: beyond Bernstein's bound these are 0 to
  rounding, hence some 9 standard deviations of nodes are enough;
* the modulus at angle a is at most exp(-Var (1 - cos a)): all but a few dozen nodes are 0 to rounding.

So one coefficient takes a few dozen sums over the items, whatever N and k, and nothing overflows or cancels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from longtail.dpp.tilt import moments, tilt
from longtail.shapes import Float

__all__ = ["inclusion", "log_determinant", "log_normalizer"]

_CHUNK = 1 << 15  # items at a time: nodes times this many complex numbers are in memory at once


def log_determinant(d: Float[Tensor, "*batch k"], u: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch"]:
    """Log of det(diag(d) + u u^T), -inf where it is singular."""
    zero = d == 0
    safe = torch.where(zero, 1.0, d)
    base = safe.log().sum(-1)
    regular = base + torch.log1p((u * u / safe).sum(-1))
    single = base + torch.where(zero, u * u, 0.0).sum(-1).log()
    count = zero.sum(-1)
    return torch.where(count == 0, regular, torch.where(count == 1, single, -torch.inf))


def log_normalizer(d: Float[Tensor, " N"], u: Float[Tensor, " N"], k: int) -> Float[Tensor, ""]:
    """Log of the sum of det(L_Y) over all Y with |Y| = k; -inf when none has mass. Differentiable in d and u."""
    forced = _forced(d, u, k)
    if forced is not None:
        return forced[0]
    most = float(d.detach().max())
    circle = _circle(d / most, u * u / most, k)
    return circle.log_one + torch.log1p(circle.weight) + circle.mass.log() - k * math.log(circle.t / most)


def inclusion(d: Float[Tensor, " N"], u: Float[Tensor, " N"], k: int) -> Float[Tensor, " N"]:
    """P(i in Y) under the k-DPP, for every item; the k-DPP must have mass."""
    forced = _forced(d, u, k)
    if forced is not None:
        return forced[1]
    d, u2 = d / d.max(), u * u / d.max()
    circle = _circle(d, u2, k)
    parts = []
    for start in range(0, len(d), _CHUNK):
        _, pi, w, f = _items(d, u2, circle.t, circle.z, start)
        # z times the other coins' factors times: i a coin and anything special, or i special.
        with_item = circle.z * (pi * (1.0 + circle.special[:, None]) + w * (1.0 - pi) / f) / f
        parts.append((circle.share[:, None] * (circle.coins[:, None] * with_item).real).sum(0))
    return (torch.cat(parts) / ((1.0 + circle.weight) * circle.mass)).clamp(0.0, 1.0)


def _forced(d: Float[Tensor, " N"], u: Float[Tensor, " N"], k: int) -> tuple[Tensor, Tensor] | None:
    """Log normaliser and inclusion where the items with d > 0 are all in or k is extreme; None otherwise."""
    positive = d > 0
    count = int(positive.sum())
    loose = torch.where(positive, 0.0, u * u)  # such an item can only be the special one
    rest = float(loose.detach().sum())
    if k == 0:
        return d.new_zeros(()), torch.zeros_like(d)
    if count + (rest > 0) < k:
        return d.new_full((), -torch.inf), torch.full_like(d, torch.nan)
    if k == count and rest == 0:
        return log_determinant(d[positive], u[positive]), positive.to(d.dtype)
    if k == count + 1:
        log = torch.where(positive, d, 1.0).log().sum() + loose.sum().log()
        return log, torch.where(positive, 1.0, loose / rest)
    return None


class _Circle(NamedTuple):
    """The generating function of |Y| under t L on the unit circle, at the nodes where it is not 0 to rounding."""

    t: float
    z: Tensor  # (M, 1), the upper half of the circle; the lower one is its conjugate
    share: Tensor  # (M,), what each node counts for
    coins: Tensor  # (M,), z^-k times the product of the coins' factors
    special: Tensor  # (M,), what the special item adds to 1
    weight: Tensor  # W, the same at z = 1
    log_one: Tensor  # log prod (1 + t d)
    mass: Tensor  # P(|Y| = k)


def _circle(d: Float[Tensor, " N"], u2: Float[Tensor, " N"], k: int) -> _Circle:
    d_array, u_array = d.detach().cpu().numpy(), u2.detach().sqrt().cpu().numpy()
    t = tilt(d_array, u_array, k)
    _, variance = moments(t, d_array, u_array)
    # P(| |Y| - k | >= reach) < 2 exp(-40) by Bernstein's inequality.
    reach = 40.0 / 3.0 + math.sqrt((40.0 / 3.0) ** 2 + 80.0 * variance)
    # An odd number of nodes leaves out z = -1, where the factor of a coin 1/2 is 0.
    nodes = 2 * (int(min(reach, len(d))) // 2 + 1) + 1
    angle = 2.0 * math.pi / nodes * torch.arange(nodes // 2 + 1, dtype=torch.float64, device=d.device)
    angle = angle[variance * (1.0 - angle.cos()) <= 45.0]
    z = torch.polar(torch.ones_like(angle), angle)
    share = (2.0 - (angle == 0).to(angle.dtype)) / nodes

    log, special = torch.zeros_like(z), torch.zeros_like(z)
    weight, log_one, present = d.new_zeros(()), d.new_zeros(()), d.new_zeros(())
    for start in range(0, len(d), _CHUNK):
        x, pi, w, f = _items(d, u2, t, z[:, None], start)
        # Each coin's mean is taken out of its phase, so that large phases do not eat the digits.
        log = log + (f.log() - 1j * angle[:, None] * pi).sum(1)
        special = special + z * (w / f).sum(1)
        weight, log_one, present = weight + w.sum(), log_one + torch.log1p(x).sum(), present + pi.sum()
    coins = torch.exp(log + 1j * angle * (present - k))
    mass = (share * (coins * (1.0 + special)).real).sum() / (1.0 + weight)
    return _Circle(t, z[:, None], share, coins, special, weight, log_one, mass)


def _items(
    d: Float[Tensor, " N"], u2: Float[Tensor, " N"], t: float, z: Tensor, start: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The products t d, the coin pi, the special weight w and the factor 1 - pi + pi z of the items of one chunk."""
    here = slice(start, start + _CHUNK)
    x = t * d[here]
    absent = 1.0 / (1.0 + x)
    pi = x * absent
    return x, pi, t * u2[here] * absent, absent + pi * z
