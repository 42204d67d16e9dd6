"""The sum of det(L_Y) over all k-subsets, and what follows from it, for diag(d) + u u^T: O(N), exact to rounding.

With the tilt t the generating function of the sizes, prod_i (1 + z t d_i) (1 + sum_i z t u_i^2 / (1 + z t d_i)), is,
on the unit circle, the characteristic function of |Y| under t L, times its value at z = 1. The size of a determinantal
process is a sum of independent coins (its eigenvalues lambda / (1 + lambda)), so

* the trapezoid rule with M nodes is off by P(|Y| = k + M), P(|Y| = k - M), ...: beyond Bernstein's bound these are 0 to
  rounding, hence some 9 standard deviations of nodes are enough;
* the modulus at angle a is at most exp(-Var (1 - cos a)): all but a few dozen nodes are 0 to rounding.

So one coefficient takes a few dozen sums over the items, whatever N and k, and nothing overflows or cancels. They are
taken in real arithmetic: with the coin pi and the node z = exp(i a) the factor f = 1 - pi + pi z has the modulus |f|,
|f|^2 = 1 - 2 pi (1 - pi) (1 - cos a), and the sums over 1 / f = conj(f) / |f|^2 are matrix products.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longtail.dpp.tilt import moments, tilt
from longtail.shapes import Float

__all__ = ["inclusion", "log_determinant", "log_normalizer"]

_CHUNK = 1 << 12  # items at a time: nodes times this many numbers stay in the cache


def log_determinant(d: Float[Tensor, "*batch k"], u: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch"]:
    """Log of det(diag(d) + u u^T), -inf where it is singular.

    With the smallest d_m the determinant is the product of the others times d_m + sum_i u_i^2 d_m / d_i, where the term
    of m itself is u_m^2: d_m may be 0, and u_i^2 / d_i beyond the range of float64.
    """
    if d.shape[-1] == 0:
        return d.sum(-1)
    least, place = d.min(-1, keepdim=True)
    itself = torch.zeros_like(d, dtype=torch.bool).scatter(-1, place, True)
    zero = (d == 0) & ~itself
    others = torch.where(itself | zero, 1.0, d)
    part = u / others.sqrt()
    rest = (least + (part * torch.where(itself, 1.0, least) * part).sum(-1, keepdim=True)).squeeze(-1)
    singular = zero.any(-1) | (rest <= 0)
    return torch.where(singular, -torch.inf, others.log().sum(-1) + torch.where(singular, 1.0, rest).log())


def log_normalizer(d: Float[Tensor, " N"], u: Float[Tensor, " N"], k: int) -> Float[Tensor, ""]:
    """Log of the sum of det(L_Y) over all Y with |Y| = k; -inf when none has mass. Differentiable in d and u.

    Where k is the largest size that has mass, the derivative is that in which entries of d that are 0 stay 0.
    """
    forced = _forced(d, u, k)
    if forced is not None:
        return forced[0]
    total: Tensor = _LogNormalizer.apply(d, u, k)
    return total


def inclusion(d: Float[Tensor, " N"], u: Float[Tensor, " N"], k: int) -> Float[Tensor, " N"]:
    """P(i in Y) under the k-DPP, for every item, to an absolute error of some 1e-13; the k-DPP must have mass."""
    forced = _forced(d, u, k)
    if forced is not None:
        return forced[1]
    d, u2 = d / d.max(), u * u / d.max()
    circle = _circle(d, u2, k)
    coins, z = circle.share * circle.coins, circle.z
    first, second = coins * z * (1.0 + circle.special), coins * z
    parts = []
    for here in _chunks(d):
        items = _items(d[here], u2[here], circle)
        # i a coin and anything special, or i special: z times the other coins' factors.
        with_item = items.pi * items.over(first) + items.w * (1.0 - items.pi) * items.over_square(second)
        parts.append(with_item)
    return (torch.cat(parts) / ((1.0 + circle.weight) * circle.mass)).clamp(0.0, 1.0)


class _LogNormalizer(torch.autograd.Function):
    """The logarithm, with derivatives that take one more pass over the items.

    That by d_i is the mean of z t r (1 + S) / f - z^2 t r w / f^2, that by u_i^2 the mean of z t r / f, both over the
    mass. The means are over the circle, weighted with the coins' factors; S is the special item's part and
    r = 1 / (1 + t d_i).
    """

    @staticmethod
    def forward(ctx: Any, d: Tensor, u: Tensor, k: int) -> Tensor:
        most = float(d.max())
        circle = _circle(d / most, u * u / most, k)
        ctx.save_for_backward(d, u)
        ctx.circle, ctx.most = circle, most
        log: Tensor = circle.log_one + torch.log1p(circle.weight) + circle.mass.log()
        return log - k * (math.log(circle.t) - math.log(most))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        d, u = ctx.saved_tensors
        circle, most = ctx.circle, ctx.most
        coins, z = circle.share * circle.coins, circle.z
        by_d, by_u2 = [], []
        for here in _chunks(d):
            items = _items(d[here] / most, u[here].square() / most, circle)
            scale = circle.t / most * items.absent
            coin = items.over(coins * z * (1.0 + circle.special))
            by_d.append(scale * (coin - items.w * items.over_square(coins * z * z)))
            by_u2.append(scale * items.over(coins * z))
        factor = gradients[0] / ((1.0 + circle.weight) * circle.mass)
        return factor * torch.cat(by_d), 2.0 * factor * u * torch.cat(by_u2), None


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
    angle: Tensor  # (M,), the upper half of the circle; the lower one is its conjugate
    z: Tensor  # (M,)
    share: Tensor  # (M,), what each node counts for
    coins: Tensor  # (M,), z^-k times the product of the coins' factors
    special: Tensor  # (M,), what the special item adds to 1
    weight: Tensor  # W, the same at z = 1
    log_one: Tensor  # log prod (1 + t d)
    mass: Tensor  # P(|Y| = k)


class _Items(NamedTuple):
    """What the items of one chunk have at every node."""

    absent: Tensor  # (C,), 1 / (1 + t d)
    pi: Tensor  # (C,), the coin
    w: Tensor  # (C,), the weight of being special
    inverse: Tensor  # (M, C), 1 / |f|^2
    a: Tensor  # (M,), 1 - cos of the angle
    s: Tensor  # (M,), its sine

    def over(self, c: Tensor) -> Tensor:
        """The real part of the sum of c / f over the nodes, (C,)."""
        sums = torch.stack([c.real, self.s * c.imag - self.a * c.real]) @ self.inverse
        return sums[0] + self.pi * sums[1]

    def over_square(self, c: Tensor) -> Tensor:
        """The real part of the sum of c / f^2 over the nodes, (C,)."""
        a, s = self.a, self.s
        rows = [c.real, 2.0 * (s * c.imag - a * c.real), (a * a - s * s) * c.real - 2.0 * a * s * c.imag]
        sums = torch.stack(rows) @ self.inverse.square()
        return sums[0] + self.pi * (sums[1] + self.pi * sums[2])


def _circle(d: Float[Tensor, " N"], u2: Float[Tensor, " N"], k: int) -> _Circle:
    d_array, u_array = d.cpu().numpy(), u2.sqrt().cpu().numpy()
    t = tilt(d_array, u_array, k)
    _, variance = moments(t, d_array, u_array)
    # P(| |Y| - k | >= reach) < 2 exp(-40) by Bernstein's inequality.
    reach = 40.0 / 3.0 + math.sqrt((40.0 / 3.0) ** 2 + 80.0 * variance)
    # An odd number of nodes leaves out z = -1, where the factor of a coin 1/2 is 0.
    nodes = 2 * (int(min(reach, len(d))) // 2 + 1) + 1
    angle = 2.0 * math.pi / nodes * torch.arange(nodes // 2 + 1, dtype=torch.float64, device=d.device)
    angle = angle[variance * (1.0 - angle.cos()) <= 45.0]
    none = torch.zeros_like(angle)
    z = torch.polar(torch.ones_like(angle), angle)
    share = (2.0 - (angle == 0).to(angle.dtype)) / nodes
    circle = _Circle(t, angle, z, share, z, z, none[0], none[0], none[0])

    modulus, phase, plain, crossed = none, none, none, none
    weight, log_one, present = none[0], none[0], none[0]
    for here in _chunks(d):
        items = _items(d[here], u2[here], circle)
        pi, w, a, s = items.pi, items.w, items.a[:, None], items.s[:, None]
        modulus = modulus - 0.5 * items.inverse.log().sum(1)
        # Each coin's mean is taken out of its phase, so that large phases do not eat the digits.
        phase = phase + (torch.atan2(s * pi, 1.0 - a * pi) - angle[:, None] * pi).sum(1)
        plain, crossed = plain + items.inverse @ w, crossed + items.inverse @ (w * pi)
        weight, log_one, present = weight + w.sum(), log_one - items.absent.log().sum(), present + pi.sum()
    special = z * torch.complex(plain - items.a * crossed, -items.s * crossed)
    coins = torch.polar(modulus.exp(), phase + angle * (present - k))
    mass = (share * (coins * (1.0 + special)).real).sum() / (1.0 + weight)
    return circle._replace(coins=coins, special=special, weight=weight, log_one=log_one, mass=mass)


def _items(d: Float[Tensor, " C"], u2: Float[Tensor, " C"], circle: _Circle) -> _Items:
    x = circle.t * d
    absent = 1.0 / (1.0 + x)
    pi = x * absent
    a, s = 2.0 * (0.5 * circle.angle).sin().square(), circle.angle.sin()
    inverse = torch.outer(-2.0 * a, pi * absent).add_(1.0).reciprocal_()
    return _Items(absent, pi, circle.t * u2 * absent, inverse, a, s)


def _chunks(d: Float[Tensor, " N"]) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, len(d), _CHUNK)]
