"""One set at a time on the CPU: mark, thin, complete. Exact, O(N) time, and no table that could overflow.

By the matrix determinant lemma a k-subset Y of a diagonal-plus-rank-one kernel has

    det(L_Y) = prod_{i in Y} d_i + sum_{i in Y} u_i^2 prod_{j in Y, j != i} d_j                            (1)

either nothing is special, or one item i is. Given that choice the others are independent coins conditioned on their
number. A tilt t > 0 multiplies every k-subset by t^k and so changes nothing; with pi_i = t d_i / (1 + t d_i):

1. mark: "none" has weight 1, item i has weight w_i = t u_i^2 / (1 + t d_i);
2. thin: a candidate set C of independent coins pi_j / b, b = max pi, without the mark; S = |C|;
3. accept with probability Bin(S, b; m) / max Bin, where m = k, or k - 1 beside a mark;
4. complete: m of the S candidates, uniformly. Had each candidate been kept with probability b, the kept ones would be
   the coins pi_j; they are exchangeable, so given that m were kept they are a uniform m-subset, and step 3 has already
   paid for the probability of that m.

When the coins are mostly heads it is the complement that is built so, with 1 - pi_j and the mark barred from it.

Steps 2 to 4 read one random byte an item; only where it equals the byte of the threshold (1 in 256) does the rest of
the threshold decide. The decomposition is Bassino & Sportiello's (linear-time exact sampling of sum-constrained random
variables).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from longtail.dpp.tilt import LARGE, tilt

__all__ = ["Prepared", "draw", "prepare", "prepare_unsized", "subset"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_BLOCK = 1 << 14  # items at a time: what one pass touches stays in the second-level cache
_SMALL = 1 << 12  # ground sets up to here are listed outright


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """What does not change from draw to draw."""

    d: Floats  # (N,)
    u: Floats | None  # (N,), None where it is 0
    t: float
    k: int | None  # None: un-sized, every candidate set is accepted whole
    outside: bool  # it is the complement that is drawn
    bound: float  # b, the largest coin
    ceiling: float  # log of the largest Bin(S, b; m)
    threshold: npt.NDArray[np.uint8]  # (N,), floor(256 coin / b), at most 255
    weight: Floats  # cumulative weight of the marks, block by block


def prepare(d: Floats, u: Floats | None, k: int, *, least: float, most: float) -> Prepared:
    """Find the tilt and the thresholds for k-subsets, which must be neither forced nor impossible.

    Args:
        d: (N,), in [0, 1].
        u: (N,), or None where it is 0.
        k: the size, a mark included; at most the number of positive d.
        least: the smallest d.
        most: the largest d.
    """
    t = tilt(d, u, k)
    while True:
        smallest, largest = least * t / (1.0 + least * t), most * t / (1.0 + most * t)
        outside = k / (1.0 + most * t) < (len(d) - k) * smallest
        bound = 1.0 / (1.0 + least * t) if outside else largest
        threshold, weight, mean, variance = _scan(d, u, t, bound, outside)
        gap = k - mean
        if len(d) <= LARGE or abs(gap) <= 0.7 * math.sqrt(variance):
            break
        t *= math.exp(min(max(gap / variance, -8.0), 8.0))  # the strided subset misled: one more step of Newton
    sizes = [len(d) - k] if outside else [k] if u is None else [k, k - 1]
    ceiling = max(_log_binomial(min(int(m / bound), len(d)), bound, m) for m in sizes)
    return Prepared(d, u, t, k, outside, bound, ceiling, threshold, weight)


def prepare_unsized(d: Floats, u: Floats | None) -> Prepared:
    """The thresholds for subsets of any size: one thinning with b = 1, always accepted."""
    threshold, weight, _, _ = _scan(d, u, 1.0, 1.0, False)
    return Prepared(d, u, 1.0, None, False, 1.0, 0.0, threshold, weight)


def draw(prepared: Prepared, rng: np.random.Generator) -> Indices:
    """One set, in ascending order."""
    while True:
        mark = _mark(prepared, rng)
        candidates = _thin(prepared, rng)
        if mark >= 0:
            candidates[mark] = False
        if prepared.k is None:
            if mark >= 0:
                candidates[mark] = True
            return np.flatnonzero(candidates)
        size = int(np.count_nonzero(candidates))
        m = len(candidates) - prepared.k if prepared.outside else prepared.k - (mark >= 0)
        if -rng.standard_exponential() < _log_binomial(size, prepared.bound, m) - prepared.ceiling:
            break
    chosen = _complete(candidates, size, m, rng)
    if prepared.outside:
        kept = np.ones(len(candidates), dtype=np.bool_)
        kept[chosen] = False
        return np.flatnonzero(kept)
    return chosen if mark < 0 else np.insert(chosen, np.searchsorted(chosen, mark), mark)


def subset(n: int, m: int, rng: np.random.Generator) -> Indices:
    """A uniformly random m-subset of range(n), in ascending order."""
    if 2 * m > n:
        kept = np.ones(n, dtype=np.bool_)
        kept[subset(n, n - m, rng)] = False
        return np.flatnonzero(kept)
    rate = _rate(n, m)
    if n <= _SMALL or rate > 0.5:
        return np.sort(rng.choice(n, m, replace=False, shuffle=False)) if m else np.empty(0, dtype=np.int64)
    while True:
        positions = _coins(n, rate, rng)
        if len(positions) >= m:
            return _drop(positions, m, rng)


def _coin(d: Floats, r: Floats, t: float, bound: float, outside: bool) -> Floats:
    """256 coin / b, written over r = 1 / (1 + t d)."""
    if outside:
        r *= 256.0 / bound
    else:
        r *= d
        r *= 256.0 / bound * t
    return r


def _absence(d: Floats, t: float, out: Floats | None = None) -> Floats:
    """1 / (1 + t d), the probability that an item's coin shows tails."""
    r = np.multiply(d, t, out=out)
    r += 1.0
    return np.divide(1.0, r, out=r)


def _scan(
    d: Floats, u: Floats | None, t: float, bound: float, outside: bool
) -> tuple[npt.NDArray[np.uint8], Floats, float, float]:
    """Thresholds, cumulative weight of the marks by block, and mean and variance of |Y|, in one pass."""
    threshold = np.empty(len(d), dtype=np.uint8)
    weights = np.zeros(-(-len(d) // _BLOCK) if u is not None else 0)
    buffers = np.empty((2, min(len(d), _BLOCK)))
    absent = squares = first = 0.0
    for block, start in enumerate(range(0, len(d), _BLOCK)):
        part = d[start : start + _BLOCK]
        r = _absence(part, t, out=buffers[0, : len(part)])
        absent += r.sum()
        squares += r.dot(r)
        if u is not None:
            s = u[start : start + _BLOCK]
            w = np.multiply(s, s, out=buffers[1, : len(part)])
            w *= r
            weights[block] = t * w.sum()
            first += t * w.dot(r)
        coin = _coin(part, r, t, bound, outside)
        np.minimum(coin, 255.0, out=coin)
        np.copyto(threshold[start : start + _BLOCK], coin, casting="unsafe")
    mean = len(d) - absent + first / (1.0 + weights.sum())
    return threshold, np.cumsum(weights), float(mean), float(absent - squares)


def _mark(prepared: Prepared, rng: np.random.Generator) -> int:
    """The special item, or -1: "none" has weight 1, item i has w_i = t u_i^2 / (1 + t d_i)."""
    if prepared.u is None:
        return -1
    place = rng.random() * (1.0 + prepared.weight[-1]) - 1.0
    if place < 0.0:
        return -1
    block = _place(prepared.weight, place)
    here = slice(block * _BLOCK, (block + 1) * _BLOCK)
    w = prepared.u[here] ** 2
    w *= _absence(prepared.d[here], prepared.t)
    w *= prepared.t
    before = prepared.weight[block - 1] if block else 0.0
    return block * _BLOCK + _place(np.cumsum(w), place - before)


def _place(cumulative: Floats, place: float) -> int:
    """The first entry whose cumulative weight exceeds ``place``; rounding cannot lead to one that weighs nothing."""
    last = cumulative.searchsorted(cumulative[-1], side="left")
    return int(min(cumulative.searchsorted(place, side="right"), last))


def _thin(prepared: Prepared, rng: np.random.Generator) -> Mask:
    """Independent coins, (N,): heads with probability coin / b."""
    threshold = prepared.threshold
    words: npt.NDArray[np.uint64] = rng.bit_generator.random_raw(-(-len(threshold) // 8))
    coins = words.view(np.uint8)[: len(threshold)]
    heads: Mask = coins < threshold
    ties = np.flatnonzero(coins == threshold)
    d = prepared.d[ties]
    bound = prepared.bound
    remainder = _coin(d, _absence(d, prepared.t), prepared.t, bound, prepared.outside) - threshold[ties]
    heads[ties] = rng.random(len(ties)) < remainder
    return heads


def _log_binomial(n: int, b: float, m: int) -> float:
    """Log of Bin(n, b; m), the probability of m heads in n coins b."""
    if not 0 <= m <= n:
        return -math.inf
    tails = 0.0 if n == m else (n - m) * math.log1p(-b) if b < 1.0 else -math.inf
    heads = m * math.log(b) if m else 0.0
    return math.lgamma(n + 1.0) - math.lgamma(m + 1.0) - math.lgamma(n - m + 1.0) + heads + tails


def _complete(candidates: Mask, size: int, m: int, rng: np.random.Generator) -> Indices:
    """A uniformly random m-subset of the ``size`` candidates, in ascending order."""
    rate = _rate(size, m)
    if len(candidates) <= _SMALL or rate > 0.4:
        return np.flatnonzero(candidates)[subset(size, m, rng)]
    # Listing all the candidates would cost more than trying a few positions.
    while True:
        positions = _coins(len(candidates), rate, rng)
        positions = positions[candidates[positions]]
        if len(positions) >= m:
            return _drop(positions, m, rng)


def _rate(n: int, m: int) -> float:
    """The coin that gives at least m heads among n almost always."""
    return (m + 4.0 * math.sqrt(m) + 8.0) / max(n, 1)


def _coins(n: int, rate: float, rng: np.random.Generator) -> Indices:
    """The positions of heads among n coins, by their gaps, which are geometric."""
    count = int(n * rate + 5.0 * math.sqrt(n * rate)) + 16
    positions = np.empty(0, dtype=np.int64)
    last = -1
    while last < n:
        gaps = rng.standard_exponential(count)
        gaps *= -1.0 / math.log1p(-rate)
        steps = gaps.astype(np.int64)
        steps += 1
        steps[0] += last
        steps = np.cumsum(steps)
        last = int(steps[-1])
        positions = np.concatenate([positions, steps]) if len(positions) else steps
    return positions[: positions.searchsorted(n)]


def _drop(positions: Indices, m: int, rng: np.random.Generator) -> Indices:
    """Forget all but m of the positions, uniformly."""
    excess = len(positions) - m
    return (
        np.delete(positions, rng.choice(len(positions), excess, replace=False, shuffle=False)) if excess else positions
    )
