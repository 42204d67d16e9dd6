"""Many k-DPPs in one pass: mark, thin and complete (see ``completion``) over segments, vectorised, on any device.

A segment is a run of items with its own size k: one class among thousands, or one of many draws from the same kernel.
Each round of marking and thinning serves every segment that has not been accepted yet.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from longtail.dpp.kernels import check_generator
from longtail.errors import InputError
from longtail.shapes import Bool, Float, Int

__all__ = ["Segments", "beside", "draw", "largest", "prepare", "total", "uniform"]


@dataclasses.dataclass(frozen=True, eq=False)
class Segments:
    """G runs of items, one after another, and for each what does not change from draw to draw."""

    lengths: Int[Tensor, " G"]
    k: Int[Tensor, " G"]
    coin: Float[Tensor, " M"]  # coin / b: the probability of being a candidate
    weight: Float[Tensor, " M"]  # of being the mark, where "none" weighs 1
    bound: Float[Tensor, " G"]  # b
    ceiling: Float[Tensor, " G"]  # log of the largest Bin(S, b; m)
    outside: Bool[Tensor, " G"]  # it is the complement that is drawn

    def repeat(self, times: int) -> Segments:
        """The same segments ``times`` over: as many independent draws."""
        return Segments(*(getattr(self, field.name).repeat(times) for field in dataclasses.fields(self)))


def prepare(
    d: Float[Tensor, " M"], u2: Float[Tensor, " M"], lengths: Int[Tensor, " G"], k: Int[Tensor, " G"]
) -> Segments:
    """Tilt every segment to E|Y| = k and compute its coins.

    Args:
        d: the diagonals, one segment after another, float64, not negative.
        u2: the squared factors.
        lengths: items of each segment, at least 1.
        k: the sizes, 0 < k < lengths, at most the number of positive d, and not forced (see ``process``).

    Raises:
        InputError: no multiple of a kernel has k items on average, within the range of float64.
    """
    segment = torch.repeat_interleave(lengths)
    scale = 1.0 / largest(d, lengths).clamp(min=1e-300)
    d, u2 = d * scale[segment], u2 * scale[segment]
    size = lengths.to(torch.float64)
    log_t = (k / (size - k + 1.0) / (total(d, lengths) / size)).log()
    low, high = torch.full_like(log_t, -torch.inf), torch.full_like(log_t, torch.inf)
    for _ in range(60):
        mean, variance = _moments(log_t.exp()[segment], d, u2, lengths)
        gap = k - mean
        done = gap.abs() <= 0.1 * variance.clamp(min=0.0).sqrt()
        if bool(done.all()):
            break
        low, high = torch.where(gap > 0, log_t, low), torch.where(gap > 0, high, log_t)
        proposal = log_t + (gap / variance.clamp(min=1e-300)).clamp(-8.0, 8.0)
        astray = (proposal <= low) | (proposal >= high)
        proposal = torch.where(astray, 0.5 * (low + high), proposal).clamp(-700.0, 700.0)
        log_t = torch.where(done, log_t, proposal)
    near = gap.abs() <= 0.5 + 10.0 * variance.clamp(min=0.0).sqrt()
    if not bool(near.all()):  # nor is a gap that is no number
        raise InputError("diagonal and squared factor span more orders of magnitude than float64 can even out")
    t = log_t.exp()
    x = t[segment] * d
    absent = 1.0 / (1.0 + x)
    present = x * absent
    most, least = largest(present, lengths), -largest(-present, lengths)
    outside = k / (1.0 + t) < (size - k) * least  # the largest d is 1; see ``completion.prepare``
    coin = torch.where(outside[segment], absent, present)
    bound = torch.where(outside, largest(absent, lengths), most)
    weight = t[segment] * u2 * absent
    sizes = torch.where(outside, lengths - k, k)
    ceiling = _ceiling(sizes, bound, lengths)
    beside = _ceiling(torch.where(outside, sizes, sizes - 1).clamp(min=0), bound, lengths)
    marked = total(weight, lengths) > 0
    ceiling = torch.where(marked, torch.maximum(ceiling, beside), ceiling)
    return Segments(lengths, k, coin / bound[segment], weight, bound, ceiling, outside)


def draw(segments: Segments, generator: torch.Generator | None = None) -> Bool[Tensor, " M"]:
    """One set from every segment: true where an item is in its segment's set."""
    lengths, k, outside = segments.lengths, segments.k, segments.outside
    device = lengths.device
    candidate = torch.zeros(len(segments.coin), dtype=torch.bool, device=device)
    marked = torch.zeros_like(candidate)
    needed = torch.zeros_like(k)
    waiting = torch.arange(len(lengths), device=device)
    items = torch.arange(len(segments.coin), device=device)
    while len(waiting):
        mark, has_mark = _marks(segments.weight[items], lengths[waiting], generator)
        heads = _random(items, generator) < segments.coin[items]
        heads[mark] &= ~has_mark
        found = total(heads.to(torch.float64), lengths[waiting])
        m = torch.where(outside[waiting], lengths[waiting] - k[waiting], k[waiting] - has_mark.to(k.dtype))
        logit = _log_binomial(found, segments.bound[waiting], m) - segments.ceiling[waiting]
        accepted = _random(waiting, generator).log() < logit
        in_accepted = torch.repeat_interleave(accepted, lengths[waiting])
        candidate[items[in_accepted]] = heads[in_accepted]
        marked[items[mark[accepted & has_mark]]] = True
        needed[waiting[accepted]] = m[accepted]
        waiting, items = waiting[~accepted], items[~in_accepted]
    places = candidate.nonzero().squeeze(1)
    found = _count(candidate, lengths)
    chosen = torch.zeros_like(candidate)
    chosen[places[uniform(found, needed, generator)]] = True
    return torch.where(torch.repeat_interleave(outside, lengths), ~chosen, chosen | marked)


def uniform(
    lengths: Int[Tensor, " G"], k: Int[Tensor, " G"], generator: torch.Generator | None = None
) -> Bool[Tensor, " M"]:
    """A uniformly random k-subset of every segment."""
    count = int(lengths.sum())
    bits = 62 - max(1, len(lengths) - 1).bit_length()
    key = torch.randint(0, 1 << bits, (count,), generator=generator, device=lengths.device)
    return smallest(key + (torch.repeat_interleave(lengths) << bits), lengths, k)


def smallest(key: Int[Tensor, " M"], lengths: Int[Tensor, " G"], k: Int[Tensor, " G"]) -> Bool[Tensor, " M"]:
    """The k items of every segment with the smallest keys; keys must not decrease from segment to segment."""
    order = key.argsort()
    start = lengths.cumsum(0) - lengths
    rank = torch.arange(len(key), device=key.device) - torch.repeat_interleave(start, lengths)
    chosen = torch.zeros(len(key), dtype=torch.bool, device=key.device)
    chosen[order] = rank < torch.repeat_interleave(k, lengths)
    return chosen


def beside(generator: torch.Generator | None, device: torch.device) -> torch.Generator | None:
    """``generator``, or one on ``device`` that continues it."""
    check_generator(generator)
    if generator is None or generator.device.type == device.type:
        return generator
    seed = int(torch.randint(0, (1 << 63) - 1, (), generator=generator, device=generator.device))
    return torch.Generator(device).manual_seed(seed)


def total(values: Float[Tensor, " M"], lengths: Int[Tensor, " G"]) -> Float[Tensor, " G"]:
    """The sum of every segment."""
    return torch.segment_reduce(values, "sum", lengths=lengths, initial=0.0)


def _count(values: Bool[Tensor, " M"], lengths: Int[Tensor, " G"]) -> Int[Tensor, " G"]:
    return total(values.to(torch.float64), lengths).to(lengths.dtype)


def largest(values: Float[Tensor, " M"], lengths: Int[Tensor, " G"]) -> Float[Tensor, " G"]:
    """The largest of every segment; no segment may be empty."""
    return torch.segment_reduce(values, "max", lengths=lengths)


def _random(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(len(like), dtype=torch.float64, device=like.device, generator=generator)


def _moments(
    t: Float[Tensor, " M"], d: Float[Tensor, " M"], u2: Float[Tensor, " M"], lengths: Int[Tensor, " G"]
) -> tuple[Float[Tensor, " G"], Float[Tensor, " G"]]:
    """Mean and variance of |Y| by segment; ``tilt.moments`` says how."""
    r = 1.0 / (1.0 + t * d)
    w = t * u2 * r
    first = w * r
    norm = 1.0 + total(w, lengths)
    share = total(first, lengths) / norm
    mean = lengths - total(r, lengths) + share
    variance = total(r * (1.0 - r), lengths) + total(first * (2.0 * r - 1.0), lengths) / norm - share * share
    return mean, variance


def _marks(
    weight: Float[Tensor, " M"], lengths: Int[Tensor, " G"], generator: torch.Generator | None
) -> tuple[Int[Tensor, " G"], Bool[Tensor, " G"]]:
    """For every segment an item drawn by weight, and whether it beats "none", which weighs 1."""
    weights = total(weight, lengths)
    place = _random(lengths, generator) * (1.0 + weights) - 1.0
    # Each segment adds 1 to the running sum: in a sum of the weights a heavy one would eat the digits of the next.
    scale = torch.where(weights > 0, weights, 1.0)
    cumulative = (weight / torch.repeat_interleave(scale, lengths)).cumsum(0)
    end = lengths.cumsum(0)
    start = end - lengths
    before = torch.where(start > 0, cumulative[(start - 1).clamp(min=0)], 0.0)
    mark = torch.searchsorted(cumulative, before + place.clamp(min=0.0) / scale, right=True)
    last = torch.searchsorted(cumulative, cumulative[end - 1])  # rounding leads to none that weighs nothing
    return torch.maximum(torch.minimum(mark, last), start), place >= 0.0


def _log_binomial(n: Float[Tensor, " G"], b: Float[Tensor, " G"], m: Int[Tensor, " G"]) -> Float[Tensor, " G"]:
    """Log of Bin(n, b; m); -inf where m > n."""
    rest = (n - m).clamp(min=0.0)
    choose = torch.lgamma(n + 1.0) - torch.lgamma(m + 1.0) - torch.lgamma(rest + 1.0)
    log = choose + torch.special.xlogy(m, b) + torch.special.xlog1py(rest, -b)
    return torch.where(m <= n, log, -torch.inf)


def _ceiling(m: Int[Tensor, " G"], b: Float[Tensor, " G"], lengths: Int[Tensor, " G"]) -> Float[Tensor, " G"]:
    """The largest Bin(S, b; m) over S: at S = floor(m / b), or at S = N where that is beyond."""
    return _log_binomial(torch.minimum((m / b).floor(), lengths.to(b.dtype)), b, m)
