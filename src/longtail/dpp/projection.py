r"""Sets from the projection onto chosen eigenvectors: as many items as vectors, P(Y) = det((V_J V_J^T)_Y).

Items come one at a time, each with probability proportional to its squared distance from the span of those already
drawn, where item i is the row v_i of V_J: the chain rule of the determinant. Two ways to draw them:

* ``chain`` keeps the distance of every item up to date, O(N k^2);
* ``rejection`` proposes items by their leverage |v_i|^2, which is their distance before anything is drawn, and accepts
  one with probability distance / leverage. The leverages add up to k and the distances, after t items, to k - t, so
  k / (k - t) proposals are needed on average, k (1 + 1/2 + ... + 1/k) in all, however the leverages are distributed.

A proposal takes one of the k eigenvectors, uniformly, and then an item by the square of its entry, through sums over
blocks of 16 items that are the same for every draw: its cost does not grow with N but for the search among the blocks.

Barthelmé, Tremblay & Amblard, *A faster sampler for discrete determinantal point processes*, AISTATS 2023.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from longtail.dpp.spectral import ROWS, Spectrum
from longtail.shapes import Bool, Float, Int

__all__ = ["Blocks", "blocks", "chain", "rejection", "rejection_is_cheaper"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

BLOCK = 16  # items; the sums take 1 / BLOCK of the memory of V


@dataclasses.dataclass(frozen=True, eq=False)
class Blocks:
    """Where the squared entries of each eigenvector lie, block of items by block."""

    # (r * blocks,), ascending: the cumulative share of eigenvector n is in [n, n + 1) times 2^bits, in integers, since
    # floating point numbers would lose digits to n.
    cumulative: npt.NDArray[np.int64]
    bits: int


def blocks(spectrum: Spectrum) -> Blocks:
    """One pass over the items, O(N D r)."""
    count, width = len(spectrum.rows), len(spectrum.values)
    share = torch.empty(width, -(-count // BLOCK), dtype=torch.float64, device=spectrum.values.device)
    for start in range(0, count, ROWS):
        squares = spectrum.vectors(slice(start, start + ROWS)).square()
        short = -len(squares) % BLOCK
        if short:
            squares = torch.nn.functional.pad(squares, (0, 0, 0, short))
        sums = squares.view(-1, BLOCK, width).sum(1)
        share[:, start // BLOCK : start // BLOCK + len(sums)] = sums.T
    torch.cumsum(share, 1, out=share)
    bits = 62 - width.bit_length()
    share *= float(1 << bits) / share[:, -1:]
    cumulative = share.to(torch.int64)
    cumulative[:, -1] = 1 << bits
    cumulative += torch.arange(width, device=share.device)[:, None] << bits
    return Blocks(cumulative.view(-1).cpu().numpy(), bits)


def rejection_is_cheaper(count: int, width: int, k: int, draws: int) -> bool:
    """Whether ``rejection`` is expected to be the quicker, for ``draws`` sets of k out of ``count`` items.

    ``chain`` takes k steps, all draws together, and in each touches N k numbers a draw. ``rejection`` makes its
    proposals in about three pools, all draws together, reading 16 rows of ``width`` numbers for each, and takes k steps
    for each draw, in which it touches the numbers of some 2 k proposals.
    """
    proposals = k * (math.log(max(k, 1)) + 0.6)
    by_chain = k * (CHAIN_STEP + draws * count * k * CHAIN_NUMBER)
    numbers = proposals * (BLOCK + k) * width + k * 2 * k * k
    by_rejection = 3 * POOL + draws * (k * REJECTION_STEP + numbers * REJECTION_NUMBER)
    return by_rejection < by_chain


# Seconds, measured by benchmarks/dpp_variants.py on one core; only their proportions matter.
CHAIN_STEP, CHAIN_NUMBER = 250e-6, 3.3e-9
REJECTION_STEP, REJECTION_NUMBER, POOL = 18e-6, 1.2e-9, 150e-6


def chain(
    columns: Float[Tensor, "B N m"], sizes: Int[Tensor, " B"], generator: torch.Generator | None
) -> Bool[Tensor, "B N"]:
    """One set for each batch entry, from all the items.

    Args:
        columns: orthonormal columns in the first ``sizes`` places, 0 in the others; rows of 0 are no items.
        sizes: how many.
        generator: on the device of ``columns``.
    """
    batch, _, most = columns.shape
    left = columns.square().sum(2)
    basis = columns.new_zeros(batch, most, most)
    drawn = torch.zeros_like(left, dtype=torch.bool)
    row = torch.arange(batch, device=columns.device)
    for step in range(most):
        going = step < sizes
        item = _weighted(left, generator)
        drawn[row, item] |= going
        direction = columns[row, item]
        for _ in range(2):  # the second time for what rounding left of the first
            known = torch.bmm(basis[:, :step], direction[:, :, None])
            direction = direction - torch.bmm(known.mT, basis[:, :step]).squeeze(1)
        scale = direction.square().sum(1).clamp(min=torch.finfo(left.dtype).tiny).rsqrt()
        direction = direction * torch.where(going, scale, 0.0)[:, None]
        basis[:, step] = direction
        left = (left - torch.bmm(columns, direction[:, :, None]).squeeze(2).square_()).clamp_(min=0.0)
        left[row, item] = 0.0
    return drawn


def rejection(
    spectrum: Spectrum, table: Blocks, chosen: Bool[Tensor, "B r"], rng: np.random.Generator
) -> list[Int[Tensor, " m"]]:
    """One set for each row of ``chosen``, from proposals by leverage.

    Args:
        spectrum: the eigenvectors.
        table: their ``blocks``.
        chosen: the eigenvectors of each set.
        rng: makes the proposals.

    Returns:
        The items of each set, in ascending order, on the device of the spectrum.
    """
    picked = chosen.cpu().numpy()
    sizes = picked.sum(1)
    order = np.argsort(~picked, axis=1, kind="stable")[:, : int(sizes.max(initial=0))]
    source = _Source.of(spectrum, table)
    sets = [_Set(size, np.empty(size, dtype=np.int64), np.empty((size, size))) for size in sizes.tolist()]
    waiting = np.flatnonzero(sizes)
    while len(waiting):
        most = order.shape[1]
        need = max(sets[i].size - sets[i].taken for i in waiting)
        pool = min(2 * most, int(most * (math.log(need) + 1.0))) + 8
        items, rows = source.propose(order[waiting], sizes[waiting], pool, rng)
        for i, own, vectors in zip(waiting.tolist(), items, rows, strict=True):
            _accept(sets[i], own, vectors[:, : sets[i].size], rng)
        waiting = np.array([i for i in waiting.tolist() if sets[i].taken < sets[i].size], dtype=np.int64)
    device = spectrum.rows.device
    return [torch.from_numpy(np.sort(one.items)).to(device) for one in sets]


@dataclasses.dataclass(eq=False)
class _Set:
    """A set under way."""

    size: int
    items: Indices  # (m,)
    basis: Floats  # (m, m): orthonormal rows that span the items taken so far
    taken: int = 0


def _accept(one: _Set, items: Indices, rows: Floats, rng: np.random.Generator) -> None:
    """Take what can be taken from a pool of proposals, one after another: each is looked at once."""
    left = np.einsum("mk,mk->m", rows, rows)
    bar = rng.random(len(left)) * left
    if one.taken:
        left -= np.square(rows @ one.basis[: one.taken].T).sum(1)
    while one.taken < one.size:
        good = left > bar
        first = int(good.argmax())
        if not good[first]:
            return
        direction, known = rows[first], one.basis[: one.taken]
        before = direction.dot(direction)
        direction = direction - (known @ direction) @ known
        after = direction.dot(direction)
        if after < 0.1 * before:  # rounding has left a part in the span that matters
            direction -= (known @ direction) @ known
            after = direction.dot(direction)
        direction /= math.sqrt(after)
        one.basis[one.taken] = direction
        one.items[one.taken] = items[first]
        one.taken += 1
        # What was refused before it is gone, too.
        items, rows, bar = items[first + 1 :], rows[first + 1 :], bar[first + 1 :]
        left = left[first + 1 :] - np.square(rows @ direction)
        if not len(left):
            return


@dataclasses.dataclass(frozen=True, eq=False)
class _Source:
    """Proposals, with rows of V where they are needed, as NumPy arrays wherever the features are."""

    spectrum: Spectrum
    table: Blocks
    windows: npt.NDArray[Any] | None  # (N - BLOCK + 1, BLOCK, C), runs of rows, where the memory is the processor's
    turned: Floats | None  # (r, C)

    @classmethod
    def of(cls, spectrum: Spectrum, table: Blocks) -> _Source:
        count, width = spectrum.rows.shape
        turned = None if spectrum.turn is None else np.ascontiguousarray(spectrum.turn.T.cpu().numpy())
        if spectrum.rows.device.type != "cpu":
            return cls(spectrum, table, None, turned)
        rows = spectrum.rows.numpy()
        length = min(BLOCK, count)
        shape, strides = (count - length + 1, length, width), (rows.strides[0], *rows.strides)
        return cls(spectrum, table, np.lib.stride_tricks.as_strided(rows, shape, strides, writeable=False), turned)

    def fetch(self, first: Indices, length: int) -> Floats:
        """Runs of rows of what V is made from, (P, length, C)."""
        if self.windows is not None:
            return self.windows[first].astype(np.float64, copy=False)
        there = torch.from_numpy(first[:, None] + np.arange(length)).to(self.spectrum.rows.device)
        fetched: Floats = self.spectrum.rows[there].to(torch.float64).cpu().numpy()
        return fetched

    def propose(
        self, columns: Indices, sizes: npt.NDArray[np.int64], pool: int, rng: np.random.Generator
    ) -> tuple[Indices, Floats]:
        """For each set ``pool`` items by leverage, (B, pool), and their rows of V_J, (B, pool, m)."""
        batch, count = len(columns), len(self.spectrum.rows)
        bits = self.table.bits
        each = np.arange(batch * pool)
        which = (rng.random((batch, pool)) * sizes[:, None]).astype(np.int64)
        column = columns[np.arange(batch)[:, None], which].reshape(-1)
        place = (column << bits) + rng.integers(0, 1 << bits, len(each))
        block = np.searchsorted(self.table.cumulative, place, side="right") - column * -(-count // BLOCK)
        # A run of BLOCK items, which in the last block begins before it.
        length = min(BLOCK, count)
        first = np.minimum(block * BLOCK, count - length)
        rows = self.fetch(first, length)
        turned = self.turned
        weight = np.square(rows[each, :, column] if turned is None else (rows @ turned[column][:, :, None])[:, :, 0])
        if count % BLOCK:
            weight[first[:, None] + np.arange(length) < block[:, None] * BLOCK] = 0.0
        cumulative = weight.cumsum(1)
        total = cumulative[:, -1:]
        within = (cumulative <= rng.random((len(each), 1)) * total).sum(1)
        within = np.minimum(within, (cumulative < total).sum(1))  # never one that weighs nothing
        own = rows[each, within].reshape(batch, pool, -1)
        items = (first + within).reshape(batch, pool)
        if turned is None:
            return items, own[np.arange(batch)[:, None, None], np.arange(pool)[:, None], columns[:, None, :]]
        return items, own @ turned[columns].transpose(0, 2, 1)


def _weighted(weight: Float[Tensor, "B N"], generator: torch.Generator | None) -> Int[Tensor, " B"]:
    """One item per row, by weight; rounding cannot lead to one that weighs nothing."""
    cumulative = weight.cumsum(1)
    total = cumulative[:, -1:]
    place = torch.rand(total.shape, dtype=total.dtype, device=total.device, generator=generator) * total
    last = torch.searchsorted(cumulative, total.contiguous())
    return (
        torch.minimum(torch.searchsorted(cumulative, place, right=True), last).squeeze(1).clamp(max=weight.shape[1] - 1)
    )
