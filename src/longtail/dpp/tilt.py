"""The tilt t: a k-DPP with kernel t L has the same law for every t > 0, so take the t that makes E|Y| = k."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from longtail.errors import InputError

__all__ = ["moments", "tilt"]

Floats = npt.NDArray[np.float64]

# Items at a time: what one pass touches stays in the second-level cache, and no temporary is so large that its memory
# is fetched from the system, and paid for page by page, each time.
BLOCK = 15 << 10
# Up to here Newton's method works on all items at once.
SMALL = 1 << 14


def moments(t: float, d: Floats, u: Floats | None, copies: float = 1.0) -> tuple[float, float]:
    """Mean and variance of |Y| for the un-sized DPP with kernel t (diag(d) + u u^T), each item standing for ``copies``.

    With r_i = 1 / (1 + t d_i), w_i = t u_i^2 r_i, W = sum w and Z(t) = prod(1 + t d_i) (1 + W), the mean is
    d log Z / d log t and the variance its derivative.
    """
    absent = squares = weight = first = second = 0.0
    for start in range(0, len(d), BLOCK):
        r = d[start : start + BLOCK] * t
        r += 1.0
        np.divide(1.0, r, out=r)
        absent += float(r.sum())
        squares += float(r.dot(r))
        if u is not None:
            w = np.square(u[start : start + BLOCK])
            w *= r
            weight += float(w.sum())
            first += float(w.dot(r))
            r *= r
            second += float(w.dot(r))
    scale = copies * t
    share = scale * first / (1.0 + scale * weight)
    mean = copies * (len(d) - absent) + share
    variance = copies * (absent - squares) + scale * (2.0 * second - first) / (1.0 + scale * weight) - share * share
    return mean, variance


@np.errstate(over="ignore", invalid="ignore")
def tilt(d: Floats, u: Floats | None, k: int, *, finest: int = 1) -> float:
    """The t > 0 with E|Y| = k to a tenth of a standard deviation: any t is exact, and nearer is no faster.

    A large ground set is solved for every 64th and every 16th item first.

    Args:
        d: (N,), not negative.
        u: (N,), or None where it is 0.
        k: positive and below the largest possible mean.
        finest: stop at every ``finest``-th item, and unchecked, for a caller that looks at the rest itself.

    Raises:
        InputError: there is no such t within the range of float64.
    """
    t = k / (len(d) - k + 1.0) / max(float(d[:: max(1, len(d) // 1024)].mean()), 1e-300)
    strides = [stride for stride in (64, 16, 1) if stride >= finest] if len(d) > SMALL else [1]
    for stride in strides:
        part = np.ascontiguousarray(d[::stride])
        special = None if u is None else np.ascontiguousarray(u[::stride])
        t, near = _newton(t, part, special, k, len(d) / len(part), checked=finest == 1)
    if finest == 1 and not near:
        diagonal = f"the diagonal, from {float(d[d > 0].min()):.3g} to {float(d.max()):.3g}, spans"
        what = diagonal if u is None or not u.any() else "diagonal and squared factor span"
        raise InputError(f"{what} more orders of magnitude than float64 can even out for sets of {k} items")
    return t


def _newton(t: float, d: Floats, u: Floats | None, k: int, copies: float, *, checked: bool) -> tuple[float, bool]:
    """Newton's method on log t, inside the bracket that the signs seen so far allow; and whether it came near."""
    low, high = -math.inf, math.inf
    log_t = math.log(t)
    for _ in range(100):
        mean, variance = moments(math.exp(log_t), d, u, copies)
        gap, deviation = k - mean, math.sqrt(max(variance, 0.0))
        if abs(gap) <= 0.1 * deviation:
            break
        low, high = (log_t, high) if gap > 0 else (low, log_t)
        step = gap / variance if variance > 0 else math.copysign(8.0, gap)
        proposal = log_t + min(max(step, -8.0), 8.0)
        if not low < proposal < high:
            proposal = 0.5 * (low + high)
        if not abs(proposal) < 700.0:
            break
        log_t = proposal
        # The next gap would be of the order of variance step^2 / 2.
        if not checked and variance * step * step <= 0.5 * deviation:
            break
    return math.exp(log_t), abs(gap) <= 0.5 + 10.0 * deviation
