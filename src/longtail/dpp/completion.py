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

A coin is thrown with one random byte, to be compared with floor(256 pi_j / b); only where the two are equal (1 in 256)
does the rest of the probability decide. A large candidate set is not listed: positions are tried until m candidates
are found.

The decomposition is Bassino & Sportiello's (linear-time exact sampling of sum-constrained random variables).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from longtail.dpp.tilt import BLOCK, tilt

__all__ = ["Prepared", "draw", "prepare", "prepare_unsized", "subset"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_SMALL = 1 << 14  # ground sets up to here are listed outright


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
    # Masks to write candidates into: taken out for the time of a draw, so that draws in several threads do not meet.
    masks: list[Mask] = dataclasses.field(default_factory=list)


def prepare(d: Floats, u: Floats | None, k: int, *, least: float, most: float) -> Prepared:
    """Find the tilt and the thresholds for k-subsets, which must be neither forced nor impossible.

    Args:
        d: (N,), not negative.
        u: (N,), or None where it is 0.
        k: the size, a mark included; at most the number of positive d.
        least: the smallest d.
        most: the largest d.
    """
    t = tilt(d, u, k, finest=16)
    for _ in range(3):
        smallest, largest = least * t / (1.0 + least * t), most * t / (1.0 + most * t)
        # A trial is accepted with probability sqrt(m (1 - b) / variance), up to a constant; the complement is worth its
        # longer lists only when it halves the trials.
        outside = 4.0 * k / (1.0 + most * t) < (len(d) - k) * smallest
        bound = 1.0 / (1.0 + least * t) if outside else largest
        scan = _scan(d, u, t, bound, outside)
        gap = k - scan.mean
        if abs(gap) <= 0.7 * math.sqrt(scan.variance):
            break
        # Every 16th item told too little: one step of Newton's method, or all of them.
        t = t * math.exp(gap / scan.variance) if abs(gap) < 0.1 * scan.variance else tilt(d, u, k)
    sizes = [len(d) - k] if outside else [k] if u is None else [k, k - 1]
    ceiling = max(_log_binomial(min(int(m / bound), len(d)), bound, m) for m in sizes)
    return Prepared(d, u, t, k, outside, bound, ceiling, scan.threshold, scan.weight)


def prepare_unsized(d: Floats, u: Floats | None) -> Prepared:
    """The thresholds for subsets of any size: one thinning with b = 1, always accepted."""
    scan = _scan(d, u, 1.0, 1.0, False)
    return Prepared(d, u, 1.0, None, False, 1.0, 0.0, scan.threshold, scan.weight)


def draw(prepared: Prepared, rng: np.random.Generator) -> Indices:
    """One set, in ascending order."""
    try:
        candidates = prepared.masks.pop()
    except IndexError:
        candidates = np.empty(len(prepared.d), dtype=np.bool_)
    items = _draw(prepared, candidates, rng)
    prepared.masks.append(candidates)
    return items


def _draw(prepared: Prepared, candidates: Mask, rng: np.random.Generator) -> Indices:
    while True:
        mark = _mark(prepared, rng)
        _throw(prepared, candidates, rng)
        if prepared.k is None:
            if mark >= 0:
                candidates[mark] = True
            return np.flatnonzero(candidates)
        if mark >= 0:
            candidates[mark] = False
        size = int(np.count_nonzero(candidates))
        m = len(candidates) - prepared.k if prepared.outside else prepared.k - (mark >= 0)
        if -rng.standard_exponential() < _log_binomial(size, prepared.bound, m) - prepared.ceiling:
            break
    if prepared.outside:
        # Of the candidates m stay outside, so the others come in, beside all that were no candidates.
        enter = _choose(candidates, size, size - m, rng)
        inside = np.logical_not(candidates, out=candidates)
        inside[enter] = True
        return np.flatnonzero(inside)
    chosen = _choose(candidates, size, m, rng)
    return chosen if mark < 0 else np.insert(chosen, np.searchsorted(chosen, mark), mark)


def subset(n: int, m: int, rng: np.random.Generator) -> Indices:
    """A uniformly random m-subset of range(n), in ascending order."""
    if m == 0:
        return np.empty(0, dtype=np.int64)
    if 2 * m > n:
        kept = np.ones(n, dtype=np.bool_)
        kept[subset(n, n - m, rng)] = False
        return np.flatnonzero(kept)
    if n <= _SMALL:
        return np.sort(rng.choice(n, m, replace=False, shuffle=False))
    return _tossed(n, None, n, m, rng)


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


class _Scan(NamedTuple):
    threshold: npt.NDArray[np.uint8]
    weight: Floats
    mean: float  # of |Y|
    variance: float  # of the number of heads


def _scan(d: Floats, u: Floats | None, t: float, bound: float, outside: bool) -> _Scan:
    """What needs one pass over the items."""
    threshold = np.empty(len(d), dtype=np.uint8)
    weights = np.zeros(-(-len(d) // BLOCK) if u is not None else 0)
    buffers = np.empty((2, min(len(d), BLOCK)))
    absent = squares = first = 0.0
    for block, start in enumerate(range(0, len(d), BLOCK)):
        part = d[start : start + BLOCK]
        r = _absence(part, t, out=buffers[0, : len(part)])
        absent += float(r.sum())
        squares += float(r.dot(r))
        if u is not None:
            s = u[start : start + BLOCK]
            w = np.multiply(s, s, out=buffers[1, : len(part)])
            w *= r
            weights[block] = t * w.sum()
            first += t * float(w.dot(r))
        coin = _coin(part, r, t, bound, outside)
        np.minimum(coin, 255.0, out=coin)
        np.copyto(threshold[start : start + BLOCK], coin, casting="unsafe")
    mean = len(d) - absent + first / (1.0 + float(weights.sum()))
    return _Scan(threshold, np.cumsum(weights), mean, max(absent - squares, 0.0))


def _mark(prepared: Prepared, rng: np.random.Generator) -> int:
    """The special item, or -1: "none" has weight 1, item i has w_i = t u_i^2 / (1 + t d_i)."""
    if prepared.u is None:
        return -1
    place = rng.random() * (1.0 + prepared.weight[-1]) - 1.0
    if place < 0.0:
        return -1
    block = _place(prepared.weight, place)
    here = slice(block * BLOCK, (block + 1) * BLOCK)
    w = prepared.u[here] ** 2
    w *= _absence(prepared.d[here], prepared.t)
    w *= prepared.t
    before = prepared.weight[block - 1] if block else 0.0
    return block * BLOCK + _place(np.cumsum(w), place - before)


def _place(cumulative: Floats, place: float) -> int:
    """The first entry whose cumulative weight exceeds ``place``; rounding cannot lead to one that weighs nothing."""
    last = cumulative.searchsorted(cumulative[-1], side="left")
    return int(min(cumulative.searchsorted(place, side="right"), last))


def _throw(prepared: Prepared, heads: Mask, rng: np.random.Generator) -> None:
    """Throw every item's coin into ``heads``, (N,): true with probability coin / b."""
    threshold = prepared.threshold
    tied = []
    for start in range(0, len(threshold), 8 * BLOCK):
        here = threshold[start : start + 8 * BLOCK]
        coins = _bytes(len(here), rng)
        np.less(coins, here, out=heads[start : start + len(here)])
        tied.append(np.flatnonzero(coins == here) + start)
    ties = np.concatenate(tied)
    d = prepared.d[ties]
    coin = _coin(d, _absence(d, prepared.t), prepared.t, prepared.bound, prepared.outside)
    heads[ties] = rng.random(len(ties)) < coin - threshold[ties]


def _log_binomial(n: int, b: float, m: int) -> float:
    """Log of Bin(n, b; m), the probability of m heads in n coins b."""
    if not 0 <= m <= n:
        return -math.inf
    tails = 0.0 if n == m else (n - m) * math.log1p(-b) if b < 1.0 else -math.inf
    heads = m * math.log(b) if m else 0.0
    return math.lgamma(n + 1.0) - math.lgamma(m + 1.0) - math.lgamma(n - m + 1.0) + heads + tails


def _choose(candidates: Mask, size: int, m: int, rng: np.random.Generator) -> Indices:
    """A uniformly random m-subset of the ``size`` candidates, in ascending order."""
    rate = _rate(size, m)
    if len(candidates) <= _SMALL or rate > 0.4:
        return np.flatnonzero(candidates)[subset(size, m, rng)]
    # To list all the candidates would take longer than to toss for positions and see which of them are candidates.
    return _tossed(len(candidates), candidates, size, m, rng)


def _rate(n: int, m: int) -> float:
    """The coin that shows at least m heads in n throws almost always."""
    return (m + 4.0 * math.sqrt(m) + 8.0) / max(n, 1)


def _tossed(n: int, candidates: Mask | None, size: int, m: int, rng: np.random.Generator) -> Indices:
    """A uniformly random m-subset of the candidates among n positions: toss until m show heads, and forget the rest."""
    rate = _rate(size, m)
    # The memory for the result is all that is taken; it is taken once.
    found = np.empty(int(rate * size + 6.0 * math.sqrt(rate * size)) + 8, dtype=np.int64)
    count = -1
    while not m <= count <= len(found):
        count = 0
        for part in _positions(n, rate, rng):
            heads = part if candidates is None else part.compress(candidates[part])
            if count + len(heads) <= len(found):
                found[count : count + len(heads)] = heads
            count += len(heads)
    forgotten = subset(count, count - m, rng)
    kept = start = 0
    for block in range(0, count, BLOCK):
        part = found[block : min(block + BLOCK, count)]
        stop = int(forgotten.searchsorted(block + len(part)))
        stays = np.ones(len(part), dtype=np.bool_)
        stays[forgotten[start:stop] - block] = False
        found[kept : kept + len(part) - (stop - start)] = part.compress(stays)
        kept, start = kept + len(part) - (stop - start), stop
    return found[:m]


def _bytes(count: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    words: npt.NDArray[np.uint64] = rng.bit_generator.random_raw(-(-count // 8))
    return words.view(np.uint8)[:count]


def _positions(n: int, rate: float, rng: np.random.Generator) -> Iterator[Indices]:
    """The positions of heads among n coins, in ascending parts, by their gaps, which are geometric."""
    gaps = np.empty(min(BLOCK, int(n * rate + 5.0 * math.sqrt(n * rate)) + 16))
    last = -1
    while True:
        rng.random(out=gaps)
        np.log(np.subtract(1.0, gaps, out=gaps), out=gaps)  # 1 - u is exact, and never 0
        gaps *= 1.0 / math.log1p(-rate)
        steps = gaps.astype(np.int64)
        steps += 1
        steps[0] += last
        np.cumsum(steps, out=steps)
        last = int(steps[-1])
        if last >= n:
            yield steps[: steps.searchsorted(n)]
            return
        yield steps
